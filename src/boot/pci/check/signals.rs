//! Self-test of interrupts below the PHBs with QEMU's edu: by MSI and by line,
//! as often as was asked for, and never after the function is disconnected.

use super::candidates::{self, Candidate};
use super::edu::is_edu;
use super::small::{PAGE_SHIFT, wanted};
use crate::boot::interrupts;
use crate::boot::interrupts::device::Driver;
use crate::boot::pci::device::Order;
use crate::boot::pci::msi::{Connection, Place, Way};
use crate::boot::rig::Rig;
use crate::drivers::edu::{Edu, EduError};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Devices that are tested; more of them show nothing new.
const MOST: usize = 8;

/// Times that each is told to interrupt.
const TIMES: u32 = 3;

struct Device(Candidate);

fn text(error: impl fmt::Display) -> String {
    format!("{error}")
}

fn devices() -> Vec<Device> {
    let found = candidates::functions(is_edu).filter(|found| found.resets);
    found.map(Device).collect()
}

/// Part `signals` of the self-test.
pub fn check() -> Result<String, String> {
    let devices = devices();
    if devices.is_empty() {
        return Ok("left out: there is no edu".into());
    }
    let (mut messages, mut lines, mut shared) = (0, 0, 0);
    for device in devices.iter().take(MOST) {
        let told = |why| format!("{}: {why}", device.0.id);
        device.test(Way::Capability).map_err(told)?;
        messages += 1;
        if device.place().has_line() {
            device.test(Way::Line).map_err(told)?;
            lines += 1;
        } else {
            device.is_refused().map_err(told)?;
            shared += 1;
        }
    }
    Ok(format!(
        "{messages} edu by MSI, {lines} by line, {shared} refused a line that others share; silent afterwards"
    ))
}

impl Device {
    fn place(&self) -> Place {
        Place {
            phb: self.0.phb,
            at: self.0.at,
            driver: Driver::Edu,
            registers: self.0.registers,
        }
    }

    fn test(&self, way: Way) -> Result<(), String> {
        let wanted = wanted(0, PAGE_SHIFT)?;
        let rig = Rig::started(self.0.pe, self.0.group, &wanted)?.ok_or("no memory")?;
        let tested = self.signal(way);
        let closed = rig.close();
        tested.and(closed).and(self.place().is_silent())
    }

    /// A line that another group could hold is nobody's.
    fn is_refused(&self) -> Result<(), String> {
        match self.place().connect(Way::Line) {
            Err(_) => Ok(()),
            Ok(connection) => {
                connection.disconnect()?;
                Err("a line was granted that is not its group's own".into())
            }
        }
    }

    fn signal(&self, way: Way) -> Result<(), String> {
        let connection = self.place().connect(way)?;
        let bar = self
            .0
            .bar(Order::Big)
            .with_interrupts(connection.desk().count());
        let mut edu = match Edu::new(bar) {
            Ok(edu) => edu,
            Err(error) => {
                connection.disconnect()?;
                return Err(text(error));
            }
        };
        let came = (1..=TIMES).try_for_each(|why| edu.interrupt(why).map_err(text));
        let counted = came.and_then(|()| connection.counted());
        let before = spurious();
        let gone = Connection::disconnect(connection);
        let late = edu.interrupt(TIMES + 1);
        match (counted?, gone?) {
            (count, ()) if count == u64::from(TIMES) => {}
            (count, ()) => return Err(format!("{count} interrupts by {way}, not {TIMES}")),
        }
        match late {
            Err(EduError::NoInterrupt { .. }) if spurious() == before => Ok(()),
            _ => Err(format!("it still interrupts by {way} after its end")),
        }
    }
}

/// Interrupts that nobody had asked for.
fn spurious() -> u64 {
    interrupts::delivery().map_or(0, |it| it.spurious())
}
