//! QEMU's edu as a device that does what it likes: it tries DMA at any address,
//! whoever has it and whatever it was told. No reset ends what it has begun.

use super::super::roster::Place;
use super::subject::text;
use crate::addr::BusAddr;
use crate::boot::pci::check::candidates;
use crate::boot::pci::check::edu::is_edu;
use crate::boot::pci::device::{Bar, Order};
use crate::drivers::edu::{Direction, Edu};
use crate::pci::FunctionId;
use crate::seam::PeId;
use alloc::string::String;

/// Bytes of a transfer: the emulator complains about each few that are refused.
pub(super) const SMALL: u64 = 16;

/// Such a device, and its group.
pub(super) struct Attacker {
    pub(super) id: FunctionId,
    pub(super) place: Place,
    pub(super) pe: PeId,
    edu: Edu<Bar>,
}

impl Attacker {
    /// The first one that is nobody's.
    pub(super) fn find() -> Result<Option<Self>, String> {
        let Some(found) = candidates::functions(is_edu).find(|found| found.resets) else {
            return Ok(None);
        };
        // Awake: it is used while locks are held.
        let edu = Edu::new(found.bar(Order::Big).awake()).map_err(text)?;
        Ok(Some(Self {
            id: found.id,
            place: (found.phb, found.group),
            pe: found.pe,
            edu,
        }))
    }

    /// Tries to read memory into the Nth piece of its buffer.
    pub(super) fn read(&mut self, piece: u64, bus: u64) -> Result<(), String> {
        let (way, bus) = (Direction::FromMemory, BusAddr::new(bus));
        let offset = piece * SMALL;
        self.edu
            .transfer(way, offset, bus, SMALL, false)
            .map_err(text)
    }

    /// Tries to write the Nth piece of its buffer to memory.
    pub(super) fn write(&mut self, piece: u64, bus: u64) -> Result<(), String> {
        let (way, bus) = (Direction::ToMemory, BusAddr::new(bus));
        let offset = piece * SMALL;
        self.edu
            .transfer(way, offset, bus, SMALL, false)
            .map_err(text)
    }

    /// As [`Attacker::write`]; the transfer is under way when this returns, and
    /// takes place 100 ms later.
    pub(super) fn begin_write(&mut self, piece: u64, bus: u64) -> Result<(), String> {
        let (way, bus) = (Direction::ToMemory, BusAddr::new(bus));
        let offset = piece * SMALL;
        self.edu.begin(way, offset, bus, SMALL, false).map_err(text)
    }
}
