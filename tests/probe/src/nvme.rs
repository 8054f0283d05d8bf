//! An NVMe drive, far enough to let it fetch a command and write an answer (NVM
//! Express 1.4, 3.1 and 5.15).

use crate::checks::{Outcome, pause, want};
use crate::device::{BOTH, BUFFERS, Device, PAGE, READ};
use crate::println;
use core::arch::asm;

const CONFIGURATION: u64 = 0x14;
const STATUS: u64 = 0x1c;
const QUEUE_SIZES: u64 = 0x24;
const COMMANDS: u64 = 0x28;
const COMPLETIONS: u64 = 0x30;
const DOORBELL: u64 = 0x1000;

/// Enabled; entries of 64 and 16 bytes.
const ENABLE: u32 = 6 << 16 | 4 << 20 | 1;

pub fn is_one(device: &Device) -> bool {
    device.bridge.class == 0x01_0802
}

/// Registers of PCI are little-endian.
fn load(address: u64) -> u32 {
    let value: u64;
    // SAFETY: a register of this partition's device.
    unsafe { asm!("sync", "lwz {0}, 0({1})", out(reg) value, in(reg) address, options(nostack)) };
    (value as u32).swap_bytes()
}

fn store(address: u64, value: u32) {
    let value = value.swap_bytes();
    // SAFETY: as above.
    unsafe { asm!("sync", "stw {0}, 0({1})", in(reg) value, in(reg) address, options(nostack)) };
}

fn store_wide(address: u64, value: u64) {
    store(address, value as u32);
    store(address + 4, (value >> 32) as u32);
}

/// Words of memory that the device reads and writes.
fn word(at: u64) -> u32 {
    // SAFETY: memory of this partition that nothing else uses.
    unsafe { (at as *const u32).read_volatile() }.swap_bytes()
}

fn set_word(at: u64, value: u32) {
    // SAFETY: as above.
    unsafe { (at as *mut u32).write_volatile(value.swap_bytes()) };
}

/// Pages of the window: commands, completions, data.
const AT: [u64; 3] = [16, 17, 18];

fn buffer(index: usize) -> u64 {
    BUFFERS + index as u64 * PAGE
}

fn ready(registers: u64, wanted: u32) -> Outcome {
    for _ in 0..200 {
        if load(registers + STATUS) & 1 == wanted {
            return Ok(());
        }
        pause(10);
    }
    Err("the drive is not ready")
}

/// Sends command number `at`, an identification of the controller, and waits for
/// its completion, if it comes.
pub fn identify(registers: u64, at: u32) -> bool {
    let command = buffer(0) + 64 * u64::from(at);
    for offset in (0..64).step_by(4) {
        set_word(command + offset, 0);
    }
    set_word(command, 6 | at << 16);
    set_word(command + 24, (AT[2] * PAGE) as u32);
    set_word(command + 40, 1);
    store(registers + DOORBELL, at + 1);
    for _ in 0..30 {
        let status = word(buffer(1) + 16 * u64::from(at) + 12);
        if status & 1 << 16 != 0 {
            return status >> 17 == 0 && status & 0xffff == at;
        }
        pause(10);
    }
    false
}

/// Lets the drive fetch commands.
pub fn start(device: &Device) -> Outcome {
    let registers = device.bridge.registers.0;
    for offset in (0..3 * PAGE).step_by(4) {
        set_word(BUFFERS + offset, 0);
    }
    for (index, rights) in [(0, READ), (1, BOTH), (2, BOTH)] {
        want(
            device.put(AT[index], buffer(index) | rights) == 0,
            "H_PUT_TCE fails",
        )?;
    }
    stop(device)?;
    store(registers + QUEUE_SIZES, 15 << 16 | 15);
    store_wide(registers + COMMANDS, AT[0] * PAGE);
    store_wide(registers + COMPLETIONS, AT[1] * PAGE);
    store(registers + CONFIGURATION, ENABLE);
    ready(registers, 1)
}

/// It does nothing any more.
pub fn stop(device: &Device) -> Outcome {
    let registers = device.bridge.registers.0;
    store(registers + CONFIGURATION, 0);
    ready(registers, 0)
}

/// The drive fetches commands, and writes data and completions; then it cannot
/// any more.
pub fn exercise(device: &Device) -> Outcome {
    start(device)?;
    let registers = device.bridge.registers.0;
    want(identify(registers, 0), "the drive does not say who it is")?;
    // SAFETY: the serial number, bytes 4 to 23 of the data.
    let serial = unsafe { core::slice::from_raw_parts((buffer(2) + 4) as *const u8, 20) };
    let serial = core::str::from_utf8(serial).unwrap_or("?");
    println!("probe: drive {}", serial.trim_end());
    want(
        word(buffer(2)) & 0xffff == device.bridge.identity & 0xffff,
        "the drive tells another vendor",
    )?;
    // Nowhere to write to.
    for offset in (0..PAGE).step_by(4) {
        set_word(buffer(2) + offset, 0);
    }
    want(device.put(AT[2], 0) == 0, "H_PUT_TCE fails")?;
    identify(registers, 1);
    let untouched = (0..PAGE)
        .step_by(4)
        .all(|offset| word(buffer(2) + offset) == 0);
    want(untouched, "the drive writes unmapped memory")?;
    stop(device)
}
