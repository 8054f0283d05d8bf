//! Interrupts, and the end of everything: a fault or a panic in Pinion itself.
//!
//! A crash is reported once, by the first thread; a second fault while it is
//! reported cuts the report short, a third ends without a word. Whatever
//! happens, the machine stops in a way that whoever watches it can see.

use super::runtime::OPAL;
use super::{events, interrupts, runtime, terminals};
use crate::console::log::{self, LOG_SIZE};
use crate::console::ring::Ring;
use crate::cpu::{self, attn};
use crate::crash::{Cause, EPITAPH_MAGIC, Epitaph, Frame, cause, vector_name};
use crate::machine::CrashAction;
use crate::opal::Reboot;
use crate::processor::Generation;
use crate::{error, println};
use core::cell::UnsafeCell;
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// Where the epitaph is left; a memory dump is searched for this symbol.
#[repr(transparent)]
pub struct EpitaphCell(UnsafeCell<Epitaph>);

// SAFETY: written only by the thread that `claim_report` let through.
unsafe impl Sync for EpitaphCell {}

/// The epitaph.
#[unsafe(no_mangle)]
pub static PINION_EPITAPH: EpitaphCell = EpitaphCell(UnsafeCell::new(Epitaph::empty()));

/// The last lines; a memory dump is searched for this symbol.
#[unsafe(no_mangle)]
pub static PINION_LOG: Mutex<Ring<LOG_SIZE>> = Mutex::new(Ring::new());

/// Crashes so far, on all threads.
static CRASHES: AtomicU64 = AtomicU64::new(0);

/// PIR + 1 of the thread that reports a crash; 0 while there is none.
static REPORTER: AtomicU64 = AtomicU64::new(0);

/// Deepest backtrace.
const MAX_CALLS: usize = 32;

/// Time for the last words, in milliseconds.
const DRAIN_MS: u64 = 3000;

/// Where all interrupts of Pinion's own arrive. Returns 1 if the interrupted
/// code goes on by HSRR0/1, 0 if by SRR0/1.
#[unsafe(no_mangle)]
extern "C" fn pinion_interrupt(frame: &mut Frame) -> u64 {
    frame.resolve();
    match frame.vector {
        0x100 => system_reset(frame),
        0x200 => machine_check(frame),
        // Timers and doorbells only end the sleep: see cpu::idle.
        0x900 | 0x980 | 0xe80 => {}
        0xe60 => events::maintenance(),
        0x500 | 0xea0 => {
            if !interrupts::take() {
                // Nobody can end it: the window closes, or it would come again
                // for ever.
                frame.msr &= !cpu::msr::EE;
            }
        }
        _ => die(frame),
    }
    u64::from(frame.uses_hsrr())
}

/// A wake-up of a napping POWER8 thread (SRR1 bits 46:47 are not 0), or a call
/// for help.
fn system_reset(frame: &mut Frame) {
    // Bits 42 to 45: 4 is a system reset that found the thread asleep.
    if frame.msr & (3 << 16) != 0
        && frame.msr >> 18 & 15 != 4
        && let Some((resume, stack)) = cpu::idle::end_nap()
    {
        frame.nip = resume;
        frame.msr = cpu::msr::HOST;
        frame.gpr[1] = stack;
        return;
    }
    // Where only firmware reaches a port, as on POWER8, no word of a report comes
    // out from inside it: a first reset that comes there is taken when firmware
    // returns, a second one at once.
    let is_mute = !terminals::has_emergency();
    if is_mute && frame.msr & cpu::msr::RI != 0 && cpu::area().postpone_reset() {
        return;
    }
    die(frame)
}

/// Firmware is not entered from here: what is left is kept in the epitaph, and
/// the report is made outside. If firmware is what was interrupted, the report
/// does not enter it either: see `may_call_firmware`.
fn machine_check(frame: &mut Frame) {
    let area = cpu::area();
    area.enter_machine_check();
    if super::selftest::expects_machine_check(frame) {
        area.leave_machine_check();
        return;
    }
    claim_report();
    if area.has_crashed() {
        // While a crash is reported: no more than its mark.
        die(frame);
    }
    write_epitaph(Some(frame), format_args!("{}", cause_of(frame)));
    if frame.msr & cpu::msr::RI == 0 {
        // The interrupted code had live state that is gone, so firmware, which
        // may have been it, cannot be entered any more.
        die(frame);
    }
    // SAFETY: the thread reports and stops; nothing of its stack is needed but
    // what the frame, on another stack, has.
    unsafe { cpu::leave_machine_check(report_machine_check) }
}

extern "C" fn report_machine_check() -> ! {
    // SAFETY: written by this thread, just before.
    let frame = unsafe { (*PINION_EPITAPH.0.get()).frame };
    die(&frame)
}

fn known_generation() -> Generation {
    runtime::generation().unwrap_or(Generation::Power10)
}

fn cause_of(frame: &Frame) -> Cause {
    cause(frame, known_generation())
}

fn write_epitaph(frame: Option<&Frame>, text: fmt::Arguments<'_>) {
    // SAFETY: `claim_report` lets one thread through, for good.
    let epitaph = unsafe { &mut *PINION_EPITAPH.0.get() };
    epitaph.pir = cpu::pir();
    epitaph.timebase = cpu::timebase();
    epitaph.frame = frame.copied().unwrap_or_default();
    epitaph.set_text(text);
    epitaph.magic = EPITAPH_MAGIC;
    epitaph.crashes = CRASHES.load(Ordering::Relaxed);
}

/// A fault that nothing can be done about.
fn die(frame: &Frame) -> ! {
    begin(Some(frame), format_args!("{}", cause_of(frame)));
    error!(
        "{} interrupt ({:#x}) on thread {:#x}",
        vector_name(frame.vector),
        frame.vector,
        cpu::pir()
    );
    error!("{}", cause_of(frame));
    if frame.vector == 0x100 && cpu::area().reset_waited() {
        error!("it came inside firmware and waited for its return");
    }
    println!("{}", frame.registers());
    print_backtrace(Some((frame.nip, frame.lr)), frame.gpr[1]);
    finish()
}

/// An orderly stop with a failure: no registers, since nothing is broken.
pub fn stop(why: fmt::Arguments<'_>) -> ! {
    claim_report();
    write_epitaph(None, why);
    finish()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // The place first: showing the message may fault again.
    match info.location() {
        Some(location) => {
            begin(None, format_args!("panic at {location}"));
            error!("panic on thread {:#x} at {location}", cpu::pir());
        }
        None => begin(None, format_args!("panic")),
    }
    error!("{}", info.message());
    write_epitaph(None, format_args!("{info}"));
    print_backtrace(None, stack_pointer());
    finish()
}

/// Lets the first thread that crashes report; any other stays here.
fn claim_report() {
    let me = cpu::pir() + 1;
    let before = REPORTER.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire);
    if before.is_err_and(|other| other != me) {
        loop {
            core::hint::spin_loop();
        }
    }
}

/// Counts the crash, and decides how much can still be said.
fn begin(frame: Option<&Frame>, text: fmt::Arguments<'_>) {
    CRASHES.fetch_add(1, Ordering::Relaxed);
    let before = cpu::area().count_crash();
    claim_report();
    match before {
        0 => write_epitaph(frame, text),
        // A fault while reporting one.
        1 => {
            break_locks();
            choose_sink();
            error!("a second fault while the first was reported: {text}");
            finish()
        }
        _ => attn(runtime::generation()),
    }
    break_locks();
    choose_sink();
}

/// Takes the locks of whoever was interrupted, so that what follows is said.
fn break_locks() {
    // SAFETY: whoever holds a lock was interrupted on this thread and goes
    // nowhere, or runs on another and at worst mixes its line with these. The
    // machine is about to stop.
    unsafe {
        log::output_lock().force_unlock();
        PINION_LOG.force_unlock();
        super::heap::break_lock();
        terminals::break_lock();
    }
    runtime::firmware().gate().break_open();
}

/// Where firmware cannot be entered: a UART, or nothing.
fn choose_sink() {
    if !cpu::area().may_call_firmware() {
        log::replace_sink(terminals::emergency());
    }
}

fn stack_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads r1.
    unsafe { core::arch::asm!("mr {}, 1", out(reg) value, options(nomem, nostack)) };
    value
}

/// The calls that led here, as offsets into the image, which is linked at 0.
/// `cargo xtask run` and `cargo xtask symbolize` turn them into names.
fn print_backtrace(from: Option<(u64, u64)>, stack: u64) {
    let (start, end) = cpu::image_range();
    let mut number = 0;
    println!("backtrace (image at {start:#x})");
    let mut call = |address: u64| {
        if (start..end).contains(&address) {
            println!(" #{number} +{:#x}", address - start);
        } else {
            println!(" #{number} {address:#x} (not in the image)");
        }
        number += 1;
    };
    // A function without a frame of its own has its caller in LR only; one with
    // a frame has it there too, or has another address there by now.
    let mut leaf_caller = None;
    if let Some((nip, lr)) = from {
        call(nip);
        leaf_caller = (start..end).contains(&lr).then_some(lr);
    }
    let ranges = cpu::area().stack_ranges();
    let mut at = stack;
    for _ in 0..MAX_CALLS {
        // A frame: back chain at 0, the caller's return address at 16 of the
        // frame above. Only inside one of the thread's own stacks.
        let inside = |at: u64| {
            ranges
                .iter()
                .any(|[low, top]| *low <= at && at + 24 <= *top)
        };
        if !at.is_multiple_of(16) || !inside(at) {
            break;
        }
        // SAFETY: an aligned word of one of the thread's stacks.
        let above = unsafe { *(at as *const u64) };
        if above <= at && inside(above) || !inside(above) || !above.is_multiple_of(16) {
            break;
        }
        // SAFETY: as above.
        let lr = unsafe { *((above + 16) as *const u64) };
        let caller = leaf_caller.take().filter(|&caller| caller != lr);
        if let Some(caller) = caller {
            call(caller);
        }
        // Beside a caller in LR the word may be one that was never written.
        if lr != 0 && (caller.is_none() || (start..end).contains(&lr)) {
            call(lr);
        }
        at = above;
    }
}

/// Says the last line and stops the machine as `crash=` asks.
fn finish() -> ! {
    let machine = runtime::machine();
    let emulated = machine.is_none_or(|machine| machine.is_emulated);
    let default = if emulated {
        CrashAction::Attn
    } else {
        CrashAction::Reboot
    };
    let action = machine
        .and_then(|machine| machine.bootargs.crash)
        .unwrap_or(default);
    let firmware = cpu::area().may_call_firmware();
    let action = match action {
        CrashAction::Reboot if !firmware => CrashAction::Attn,
        other => other,
    };
    match action {
        CrashAction::Attn => println!("Pinion stops here."),
        CrashAction::Halt => println!("Pinion stops here; the machine stays on (crash=halt)."),
        CrashAction::Reboot => println!("Pinion stops here and asks firmware for a reboot."),
    }
    if firmware {
        terminals::drain(DRAIN_MS);
    }
    match action {
        CrashAction::Attn => attn(runtime::generation()),
        CrashAction::Halt => {}
        CrashAction::Reboot => {
            if OPAL.reboot(Reboot::Full).is_err() {
                attn(runtime::generation());
            }
        }
    }
    loop {
        if firmware {
            // A watchdog in firmware wants to be fed; nothing else is left.
            let _ = OPAL.poll_events();
        }
        cpu::wait_ms(100);
    }
}
