//! The tool behind `cargo xtask`.
fn main() {}
