//! Hypervisor calls and RTAS.

use core::arch::asm;

/// Writes to the terminal.
pub const PUT_TERM_CHAR: u64 = 0x58;
/// Reads from it.
pub const GET_TERM_CHAR: u64 = 0x54;
/// Sets the interrupt priority.
pub const CPPR: u64 = 0x68;
/// Registers a virtual processor area.
pub const REGISTER_VPA: u64 = 0xdc;
/// Gives time away.
pub const CONFER: u64 = 0xe4;
/// Waits for an interrupt.
pub const CEDE: u64 = 0xe0;
/// Wakes a vCPU.
pub const PROD: u64 = 0xe8;
/// A random number.
pub const RANDOM: u64 = 0x300;
/// What the processor has and needs against leaks by speculation.
pub const GET_CPU_CHARACTERISTICS: u64 = 0x1c8;
/// How interrupts come, breakpoints.
pub const SET_MODE: u64 = 0x31c;
/// XIVE: pages of a source.
pub const INT_GET_SOURCE_INFO: u64 = 0x3a8;
/// XIVE: routes a source.
pub const INT_SET_SOURCE_CONFIG: u64 = 0x3ac;
/// XIVE: gives a queue its page.
pub const INT_SET_QUEUE_CONFIG: u64 = 0x3b8;
/// XIVE: loads or stores in a source's page.
pub const INT_ESB: u64 = 0x3c8;
/// XIVE: all sources off, no queues.
pub const INT_RESET: u64 = 0x3d0;
/// A number that no call has.
pub const NOTHING: u64 = 0xfff8;
/// RTAS.
const RTAS: u64 = 0xf000;

/// What a call answers: status, and r4 to r6.
pub type Answer = (i64, [u64; 3]);

/// Makes a call with up to five arguments.
pub fn hypervisor(token: u64, arguments: &[u64]) -> Answer {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    let (mut r3, mut r4, mut r5, mut r6) = (token, at(0), at(1), at(2));
    // SAFETY: a call changes registers that are volatile in the ABI, and memory
    // only where it was given an address.
    unsafe {
        asm!(
            "sc 1",
            inout("3") r3,
            inout("4") r4,
            inout("5") r5,
            inout("6") r6,
            inout("7") at(3) => _,
            inout("8") at(4) => _,
            out("0") _, out("9") _, out("10") _, out("11") _, out("12") _,
            out("ctr") _, out("xer") _,
            out("cr0") _, out("cr1") _, out("cr5") _, out("cr6") _, out("cr7") _,
        );
    }
    (r3 as i64, [r4, r5, r6])
}

/// Calls RTAS with these arguments; fills in what it answers.
pub fn rtas(token: u32, arguments: &[u32], answers: &mut [u32]) {
    let mut words = [0u32; 32];
    words[0] = token;
    words[1] = arguments.len() as u32;
    words[2] = answers.len() as u32;
    let first = 3 + arguments.len();
    words[3..first].copy_from_slice(arguments);
    hypervisor(RTAS, &[words.as_mut_ptr() as u64]);
    for (answer, word) in answers.iter_mut().zip(&words[first..]) {
        // SAFETY: a word of the array, which the call has written.
        *answer = unsafe { core::ptr::from_ref(word).read_volatile() };
    }
}
