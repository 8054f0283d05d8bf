//! QEMU's edu as self-tests use it.

use super::candidates::{self, Candidate};
use crate::addr::BusAddr;
use crate::boot::pci::device::{Bar, Buffer, Order};
use crate::drivers::DmaMemory;
use crate::drivers::edu::{Direction, Edu};
use crate::pci::GroupIndex;
use crate::pci::topology::Function;
use crate::seam::PeId;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Whether a function is one.
pub fn is_edu(function: &Function) -> bool {
    (function.vendor, function.device) == (0x1234, 0x11e8)
}

/// An edu, and the group that it is in.
pub struct Device {
    /// Its function's name.
    pub name: String,
    /// Its group's PE.
    pub pe: PeId,
    /// Its group.
    pub group: GroupIndex,
    edu: Edu<Bar>,
}

/// One edu of each group that can be assigned, and how many of the others there
/// are.
///
/// # Errors
/// An edu whose registers are not an edu's.
pub fn find() -> Result<(Vec<Device>, usize), String> {
    let mut devices: Vec<Device> = Vec::new();
    let mut left_out: Vec<PeId> = Vec::new();
    for found in candidates::functions(is_edu) {
        if devices.iter().any(|it| it.pe == found.pe) || left_out.contains(&found.pe) {
            continue;
        }
        if found.resets {
            devices.push(Device::new(&found)?);
        } else {
            left_out.push(found.pe);
        }
    }
    Ok((devices, left_out.len()))
}

impl Device {
    fn new(found: &Candidate) -> Result<Self, String> {
        let name = found.id.to_string();
        let edu = Edu::new(found.bar(Order::Big)).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self {
            name,
            pe: found.pe,
            group: found.group,
            edu,
        })
    }

    /// Reads `count` bytes at `bus` into its buffer, at `offset`.
    ///
    /// # Errors
    /// What the driver says. A refused transfer is no error: it reads zeros.
    pub fn read(&mut self, offset: u64, bus: BusAddr, count: u64) -> Result<(), String> {
        self.transfer(Direction::FromMemory, offset, bus, count)
    }

    /// Writes `count` bytes of its buffer, at `offset`, to `bus`.
    ///
    /// # Errors
    /// What the driver says. A refused transfer is no error: it is dropped.
    pub fn write(&mut self, offset: u64, bus: BusAddr, count: u64) -> Result<(), String> {
        self.transfer(Direction::ToMemory, offset, bus, count)
    }

    fn transfer(
        &mut self,
        way: Direction,
        offset: u64,
        bus: BusAddr,
        count: u64,
    ) -> Result<(), String> {
        self.edu
            .transfer(way, offset, bus, count, false)
            .map_err(|error| error.to_string())
    }
}

/// Fills memory with bytes that count up from `seed`.
pub fn put(piece: &mut Buffer, seed: u8) {
    for index in 0..piece.size() {
        piece.write(index, &[seed.wrapping_add(index as u8)]);
    }
}

/// Whether memory holds what [`put`] with this `seed` writes.
pub fn holds(piece: &Buffer, seed: u8) -> bool {
    (0..piece.size()).all(|index| {
        let mut byte = [0];
        piece.read(index, &mut byte) && byte[0] == seed.wrapping_add(index as u8)
    })
}
