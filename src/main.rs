//! The image.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "pinion is an image for OpenPOWER machines: `cargo xtask run` boots it in an emulator"
    );
    std::process::exit(2);
}
