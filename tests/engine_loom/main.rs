//! Interleavings, explored by loom. Run with
//! `RUSTFLAGS="--cfg loom -C debug-assertions" cargo test --release --target-dir target/loom --test engine_loom`:
//! with assertions, as only the engine's own see a pin that is removed twice, and
//! locks out of order.
#![cfg(loom)]

mod explored;
mod world;

mod barriers;
mod dirty;
mod failures;
mod gate;
mod leaving;
mod mapping;
mod trace;
mod turns;
