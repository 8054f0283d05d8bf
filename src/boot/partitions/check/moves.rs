//! A device moves from one running partition to another, with a transfer under
//! way: the first one's memory is out of its reach, and the second never sees
//! anything of the first.

use super::super::devices;
use super::attacker::{Attacker, SMALL};
use super::subject::{Counts, PAGE_SHIFT, Subject, members, text};
use crate::boot::pci::check::edu::{holds, put};
use crate::boot::pci::check::expect;
use crate::cpu;
use crate::partition::manifest::DeviceName;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Pages of both partitions, and bus addresses of theirs: what the first keeps
/// to itself, what both map, and what the device's buffer is looked at in.
const SECRET: u64 = 0;
const SHARED: u64 = 1 << PAGE_SHIFT;
const SHOWN: u64 = 2 << PAGE_SHIFT;
const BYTES: u64 = 64 << 10;

const OF_SECRET: u8 = 0x71;
const OF_SHARED: u8 = 0x31;

/// A transfer of the device's is over by then.
const OVER_MS: u64 = 120;

/// How often it goes there and back.
const TIMES: u32 = 3;

/// The self-test's part `move`.
pub fn check() -> Result<String, String> {
    let Some(mut attacker) = Attacker::find()? else {
        return Ok("left out: there is no edu that is nobody's".into());
    };
    let devices = members(attacker.place);
    // Lists grow once.
    round(&mut attacker, &devices)?;
    let before = Counts::now()?;
    for _ in 0..TIMES {
        round(&mut attacker, &devices)?;
        before.are_back()?;
    }
    Ok(format!(
        "{} moved between running partitions {TIMES} times: the first out of reach, the second all zero",
        attacker.id
    ))
}

fn round(attacker: &mut Attacker, devices: &[DeviceName]) -> Result<(), String> {
    Subject::with("first", BYTES, devices, |first| {
        Subject::with("second", BYTES, &[], |second| {
            first.start()?;
            second.start()?;
            moved(attacker, devices, first, second)
        })
    })?;
    // The memory of both, of which the device wrote some.
    Subject::with("third", 2 * BYTES, &[], |third| third.is_all(0))
}

fn moved(
    attacker: &mut Attacker,
    devices: &[DeviceName],
    first: &Subject,
    second: &Subject,
) -> Result<(), String> {
    let names: Vec<String> = devices.iter().map(ToString::to_string).collect();
    let names = names.join(",");
    first.map(attacker.pe, 0, 3)?;
    put(&mut first.memory(SECRET, SMALL)?, OF_SECRET);
    put(&mut first.memory(SHARED, SMALL)?, OF_SHARED);
    // It works, and has both in its buffer.
    attacker.read(0, SECRET)?;
    attacker.read(1, SHARED)?;
    attacker.write(0, SHOWN)?;
    let shown = first.memory(SHOWN, SMALL)?;
    expect(holds(&shown, OF_SECRET), "the device does not work")?;

    let refused = devices::attach(&names, second.name());
    expect(refused.is_err(), "a device was given to two partitions")?;
    attacker.begin_write(0, SHARED)?;
    devices::detach(&attacker.id.to_string()).map_err(text)?;
    expect(first.pins() == 0, "pins hold the first one's memory")?;
    devices::attach(&names, second.name()).map_err(text)?;
    second.map(attacker.pe, SHARED, 2)?;
    cpu::wait_ms(OVER_MS);
    let kept = |at, seed| Ok::<bool, String>(holds(&first.memory(at, SMALL)?, seed));
    expect(
        kept(SHARED, OF_SHARED)?,
        "the transfer under way arrived in the first",
    )?;
    second.is_all(0)?;

    // What both map is the second's own, and zero; the rest is nothing.
    attacker.read(2, SHARED)?;
    attacker.write(2, SHOWN)?;
    second.is_all(0)?;
    attacker.write(0, SECRET)?;
    attacker.read(3, SECRET)?;
    attacker.write(3, SHOWN)?;
    second.is_all(0)?;
    attacker.write(1, SHARED)?;
    let written = second.memory(SHARED, SMALL)?;
    expect(
        holds(&written, OF_SHARED),
        "the device does not work in the second",
    )?;
    let is_whole = kept(SECRET, OF_SECRET)? && kept(SHARED, OF_SHARED)?;
    expect(is_whole, "the first one's memory was written")
}
