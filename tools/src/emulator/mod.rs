//! QEMU: its command line, a running machine, the person's terminal.

pub mod machine;
pub mod qemu;
pub mod qmp;
pub mod selftest;
pub mod terminal;
