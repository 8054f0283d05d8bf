//! A partition of a few kilobytes: it exercises hypervisor calls, looks whether
//! any register changes across exits, and powers itself off. It is also the
//! example of a program that runs on Pinion without an operating system.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod call;
#[cfg(target_os = "none")]
mod checks;
#[cfg(target_os = "none")]
mod cost;
#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod edu;
#[cfg(target_os = "none")]
mod ends;
#[cfg(target_os = "none")]
mod hostile;
#[cfg(target_os = "none")]
mod nvme;
#[cfg(target_os = "none")]
mod print;
#[cfg(target_os = "none")]
mod random;
#[cfg(target_os = "none")]
mod signals;
#[cfg(target_os = "none")]
mod state;
#[cfg(target_os = "none")]
mod traps;
#[cfg(target_os = "none")]
mod tree;
#[cfg(target_os = "none")]
mod vectors;
#[cfg(target_os = "none")]
mod words;
#[cfg(target_os = "none")]
mod xive;

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("entry.s"));

/// First Rust code; `tree` is the partition's device tree.
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
extern "C" fn probe_main(tree: u64) -> ! {
    println!("probe: a partition of its own, tree at {tree:#x}");
    ends::if_told(tree);
    // For a measurement alone.
    let failed = match words::told(tree, "probe=cost") {
        true => 0,
        false => checks::run(tree),
    };
    cost::measure(tree);
    println!("bench: done");
    println!("probe: done, {failed} failed");
    call::rtas(3, &[0, 0], &mut [0]);
    println!("probe: still here after power-off");
    loop {}
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("probe: {info}");
    loop {}
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the probe runs in a partition: `cargo xtask test probe`");
    std::process::exit(2);
}
