//! Bits of the machine state register (Power ISA 3.0B, book III, 3.2.1).

/// 64-bit mode.
pub const SF: u64 = 1 << 63;
/// Hypervisor state.
pub const HV: u64 = 1 << 60;
/// External interrupts enabled.
pub const EE: u64 = 1 << 15;
/// Machine checks enabled: without it one is a checkstop.
pub const ME: u64 = 1 << 12;
/// Recoverable interrupt.
pub const RI: u64 = 1 << 1;

/// What the first instructions run with: a machine check has nowhere to go yet.
pub const EARLY: u64 = SF | HV;

/// What Pinion runs with: 64-bit, hypervisor, translation and interrupts off.
pub const HOST: u64 = SF | HV | ME | RI;

/// Vector instructions.
pub const VEC: u64 = 1 << 25;
/// Vector-scalar instructions.
pub const VSX: u64 = 1 << 23;
/// The interrupted code ran in problem state.
pub const PR: u64 = 1 << 14;
/// Floating-point instructions.
pub const FP: u64 = 1 << 13;
/// Translation of instruction and data addresses.
pub const IR_DR: u64 = 0x30;
/// Little-endian.
pub const LE: u64 = 1;
