//! Stands between firmware and the image in emulator tests: hands over another
//! device tree, or enters the image the way kexec-lite leaves a machine.
//!
//! `cargo xtask test` fills in the settings at +0x100 and puts the image and
//! the tree behind this program.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("entry.s"));

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the trampoline runs on emulated boards: `cargo xtask test`");
    std::process::exit(2);
}
