//! A partition of the self-test's, and what the machine has used up.

use super::super::devices;
use super::super::roster::{self, Place};
use super::super::{Defined, PartitionError, Plan, control};
use crate::addr::{BusAddr, GuestAddr};
use crate::boot::pci::device::Buffer;
use crate::boot::pci::platform::Platform;
use crate::boot::pci::{self, windows};
use crate::boot::{heap, runtime};
use crate::drivers::DmaMemory;
use crate::memory::ledger::Holdings;
use crate::partition::life::{Then, Verb};
use crate::partition::manifest::DeviceName;
use crate::pci::steps::Step;
use crate::seam::PeId;
use crate::tce::Access;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// IO pages of a partition's first window, as a base-2 logarithm.
pub(super) const PAGE_SHIFT: u32 = 12;

/// Bytes of memory that are filled or looked at together.
const LINE: usize = 256;

/// Table memory of a partition, in bytes.
const DMA_LIMIT: u64 = 1 << 20;

pub(super) fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// What partitions use of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    frames: u64,
    heap: usize,
    owners: usize,
    regions: usize,
    windows: usize,
    partitions: usize,
    /// Message vectors that are nobody's.
    vectors: u32,
}

impl Counts {
    /// As it is now.
    pub(super) fn now() -> Result<Self, String> {
        let (_, ledger) = roster::machinery().map_err(text)?;
        // Lists of windows and partitions are copied: not while the heap is read.
        let (windows, partitions) = (windows::all().len(), roster::all().len());
        // Lists of them are made once.
        let vectors = pci::vectors::free();
        let (owners, regions) = ledger.counts();
        Ok(Self {
            frames: runtime::frames().0,
            heap: heap::usage().0,
            owners,
            regions,
            windows,
            partitions,
            vectors,
        })
    }

    /// That it is so again, but for the heap, whose lists grow when something is
    /// done for the first time.
    pub(super) fn memory_is_back(mut self) -> Result<(), String> {
        self.heap = heap::usage().0;
        self.are_back()
    }

    /// That it is so again.
    pub(super) fn are_back(&self) -> Result<(), String> {
        let now = Self::now()?;
        match now == *self {
            true => Ok(()),
            false => Err(format!("before: {self:?}; now: {now:?}")),
        }
    }
}

/// Pins of all regions of an owner.
pub(super) fn pins(holdings: &Holdings<Platform>) -> u64 {
    let regions = (0..).map_while(|index| holdings.region(index));
    regions.map(|region| region.pins).sum()
}

/// The names of all members of a group: it is given as a whole.
pub(super) fn members(place: Place) -> Vec<DeviceName> {
    let mut offers = roster::offers("").into_iter();
    let offer = offers.find(|offer| offer.key == place);
    let members = offer.map(|offer| offer.members).unwrap_or_default();
    let names = members.into_iter().map(|member| DeviceName::At(member.id));
    names.collect()
}

/// Lets the functions of a group master the bus, as those would that do not obey,
/// or ends that.
pub(super) fn disobey(place: Place, on: bool) -> Result<(), String> {
    let host = pci::host(place.0).ok_or("no such PHB")?;
    let mut steps = match on {
        true => host.setup().start(place.1),
        false => host.setup().stop(place.1),
    };
    steps.retain(|step| matches!(step, Step::Command { .. }));
    host.run(&steps)
        .map_err(|(step, error)| format!("{step:?}: {error}"))
}

/// A partition that has no kernel: its devices are driven by the self-test.
pub(super) struct Subject {
    defined: Arc<Defined>,
}

impl Subject {
    /// Defines a partition, and destroys it whatever `act` says.
    pub(super) fn with<T>(
        name: &str,
        bytes: u64,
        devices: &[DeviceName],
        act: impl FnOnce(&Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let plan = Plan {
            name: name.into(),
            bytes,
            vcpus: 1,
            kernel: None,
            initrd: None,
            bootargs: String::new(),
            shares: false,
        };
        let defined = roster::define(plan, DMA_LIMIT, devices, true).map_err(text)?;
        let subject = Self { defined };
        let done = act(&subject);
        let destroyed = subject.destroy();
        let done = done?;
        destroyed.map(|()| done)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.defined.name()
    }

    /// Takes all that a run has: LPID, address space, interrupts. Then it gives all
    /// back, as there is no kernel.
    pub(super) fn begin_in_vain(&self) -> Result<(), String> {
        match control::prepare(&self.defined) {
            Err(PartitionError::Load(_)) => Ok(()),
            Err(why) => Err(text(why)),
            Ok(_) => Err("it starts without a kernel".into()),
        }
    }

    /// As a start does, but for vCPUs: its devices may do DMA.
    pub(super) fn start(&self) -> Result<(), String> {
        self.defined.life().apply(Verb::Start).map_err(text)?;
        devices::open_all(&self.defined).map_err(text)
    }

    /// As a stop does, behind the last vCPU's leaving.
    pub(super) fn stop(&self) -> Result<(), String> {
        self.defined.life().apply(Verb::Stop).map_err(text)?;
        match control::end(&self.defined, Then::Stopped) {
            true => Ok(()),
            false => Err("it is stuck".into()),
        }
    }

    fn destroy(self) -> Result<(), String> {
        let name = String::from(self.name());
        self.defined.life().apply(Verb::Destroy).map_err(text)?;
        control::remove(self.defined);
        match roster::find(&name) {
            Err(_) => Ok(()),
            Ok(_) => Err(format!("{name} is still there")),
        }
    }

    /// Its memory in the ledger. Not to be kept: memory that somebody refers to is
    /// not given back.
    pub(super) fn holdings(&self) -> Arc<Holdings<Platform>> {
        Arc::clone(self.defined.domain().memory().holdings())
    }

    /// Maps memory of it from `guest` on, at that same bus address.
    pub(super) fn map(&self, pe: PeId, guest: u64, pages: u64) -> Result<Buffer, String> {
        let (engine, _) = roster::machinery().map_err(text)?;
        let window = self.defined.domain().window(pe);
        let window = window.ok_or("it has no such device")?;
        let bus = BusAddr::new(guest);
        let bytes = pages << PAGE_SHIFT;
        let host = self.defined.map().host(GuestAddr::new(guest), bytes);
        let host = host.ok_or("pages outside of its memory")?;
        engine
            .map(&window, bus, host, pages, Access::ReadWrite)
            .map_err(text)?;
        self.memory(guest, bytes)
    }

    /// A piece of its memory, as its devices see it where it is mapped.
    pub(super) fn memory(&self, guest: u64, bytes: u64) -> Result<Buffer, String> {
        let host = self.defined.map().host(GuestAddr::new(guest), bytes);
        let host = host.ok_or("a piece outside of its memory, or in two regions")?;
        // SAFETY: the partition has no vCPUs, and this self-test reaches its
        // memory by such buffers only.
        Ok(unsafe { Buffer::new(host, BusAddr::new(guest), bytes as usize) })
    }

    /// Pins of all its memory.
    pub(super) fn pins(&self) -> u64 {
        pins(&self.holdings())
    }

    /// Fills all of its memory.
    pub(super) fn fill(&self, byte: u8) -> Result<(), String> {
        let line = [byte; LINE];
        for piece in self.defined.map().pieces() {
            let mut memory = self.memory(piece.guest.get(), piece.bytes)?;
            for at in (0..memory.size()).step_by(LINE) {
                memory.write(at, &line);
            }
        }
        Ok(())
    }

    /// That all of its memory is this byte.
    pub(super) fn is_all(&self, byte: u8) -> Result<(), String> {
        let mut line = [0; LINE];
        for piece in self.defined.map().pieces() {
            let memory = self.memory(piece.guest.get(), piece.bytes)?;
            for at in (0..memory.size()).step_by(LINE) {
                memory.read(at, &mut line);
                let Some((offset, read)) = (at..).zip(line).find(|(_, read)| *read != byte) else {
                    continue;
                };
                let at = piece.guest.get() + offset as u64;
                return Err(format!(
                    "byte {at:#x} of {} is {read:#04x}, not {byte:#04x}",
                    self.name()
                ));
            }
        }
        Ok(())
    }
}
