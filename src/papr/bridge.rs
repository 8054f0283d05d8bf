//! A host bridge of a partition, in its device tree: one for each group of
//! functions (LoPAR 2.9, "PCI Host Bridge Nodes"; Linux's side is
//! `arch/powerpc/platforms/pseries/{setup,iommu}.c`).

use super::ddw::Described;
use super::messages::Limits;
use super::rtas::Function as Service;
use super::tree::{CONTROLLER, TreeError};
use super::writer::Writer;
use super::xive::Lisn;
use crate::addr::{BusAddr, HostAddr};
use crate::pci::Bdfn;
use alloc::vec::Vec;

/// Registers of a function that the partition reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Base address register, 0 to 5.
    pub bar: u8,
    /// At a 64-bit address.
    pub wide: bool,
    /// Reads have no side effects.
    pub prefetchable: bool,
    /// Where it is on the bus.
    pub bus: BusAddr,
    /// Where the processor sees it, the partition's too.
    pub host: HostAddr,
    /// Bytes.
    pub bytes: u64,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `bus << 16 | device << 11 | function << 8`.
    pub config: u32,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code, 24 bits.
    pub class: u32,
    /// Its memory.
    pub spaces: Vec<Space>,
    /// Messages that it can send.
    pub messages: Limits,
    /// Its line, if the partition has it.
    pub line: Option<Line>,
}

/// The line that a function's pin is wired to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The pin, 1 to 4.
    pub pin: u8,
    /// The line's source.
    pub source: Lisn,
}

/// What names the host bridge of a partition's group number `index`.
pub const fn buid(index: u32) -> u64 {
    0x0800_0000_2000_0000 | index as u64
}

/// How a partition names functions, which are given in the order of their routing
/// ids: as the machine does if they are on one bus, as its host bridge has no more.
/// Else they are counted; what is beyond a bus is left out.
pub fn numbers(functions: &[Bdfn]) -> impl Iterator<Item = u32> + '_ {
    let bus = functions.first().map_or(0, |first| first.bus());
    let is_one = functions.iter().all(|it| it.bus() == bus);
    let all = functions.iter().zip(0..=u8::MAX);
    all.map(move |(it, count)| {
        let devfn = if is_one { it.devfn() } else { count };
        u32::from(bus) << 16 | u32::from(devfn) << 8
    })
}

/// A host bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// What names it in RTAS calls.
    pub buid: u64,
    /// Its default window.
    pub window: Described,
    /// Its functions, all of one bus.
    pub functions: Vec<Function>,
}

/// Words of an address in `reg`, `assigned-addresses` and `ranges` (IEEE 1275's
/// PCI binding): memory at 32 and at 64 bits, prefetchable, not relocatable.
const MEMORY_32: u32 = 0x0200_0000;
const MEMORY_64: u32 = 0x0300_0000;
const PREFETCHABLE: u32 = 0x4000_0000;
const FIXED: u32 = 0x8000_0000;

/// First base address register in configuration space.
const FIRST_BAR: u32 = 0x10;

const fn halves(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}

impl Space {
    /// Not in the PHB's 32-bit window.
    fn is_high(&self) -> bool {
        self.bus.get() >> 32 != 0
    }

    fn kind(&self) -> u32 {
        let kind = if self.wide { MEMORY_64 } else { MEMORY_32 };
        kind | if self.prefetchable { PREFETCHABLE } else { 0 }
    }
}

impl Bridge {
    pub(super) fn write(&self, tree: &mut Writer) -> Result<(), TreeError> {
        let name = alloc::format!("pci@{:x}", self.buid);
        let bus = self.functions.first().map_or(0, |first| first.config >> 16);
        tree.node(&name, |tree| {
            tree.texts("device_type", &["pci"]);
            tree.texts("compatible", &["IBM,Logical_PHB"]);
            tree.cells("#address-cells", &[3]);
            tree.cells("#size-cells", &[2]);
            tree.numbers("reg", &[self.buid, 0]);
            tree.cells("bus-range", &[bus, bus]);
            tree.cells("ibm,pci-config-space-type", &[1]);
            let ranges = [MEMORY_64 | PREFETCHABLE, MEMORY_32];
            let ranges = ranges.map(|kind| self.ranges(kind));
            let ranges: Vec<u32> = ranges.into_iter().flatten().flatten().collect();
            tree.cells("ranges", &ranges);
            self.windows(tree);
            self.interrupts(tree);
            let mut functions = self.functions.iter();
            functions.try_for_each(|function| function.write(tree))
        })
    }

    /// Entries of `ranges` for the registers of a kind. Kernels take three memory
    /// entries at most, so neighbours at one offset are in one, as all of a PHB's
    /// window are: between the group's registers nothing is mapped.
    fn ranges(&self, kind: u32) -> Vec<[u32; 7]> {
        let is_wide = kind & MEMORY_64 == MEMORY_64;
        let spaces = self.functions.iter().flat_map(|it| &it.spaces);
        let spaces = spaces.filter(|it| it.is_high() == is_wide);
        let mut spaces: Vec<Range> = spaces.map(Range::of).collect();
        spaces.sort_unstable_by_key(|it| it.bus);
        let mut ranges: Vec<Range> = Vec::new();
        for space in spaces {
            match ranges.last_mut() {
                Some(last) if last.offset() == space.offset() => last.reach(space),
                _ => ranges.push(space),
            }
        }
        ranges.into_iter().map(|it| it.cells(kind)).collect()
    }

    /// How many messages its functions can have together, as kernels ask for powers
    /// of two, and where the pins of those go that have a line.
    fn interrupts(&self, tree: &mut Writer) {
        let all = self.functions.iter();
        let messages = all.map(|it| match it.messages.msi.max(it.messages.msix) {
            0 => 0,
            most => u32::from(most).next_power_of_two(),
        });
        tree.cells("ibm,pe-total-#msi", &[messages.sum()]);
        let lines = self.functions.iter().filter_map(|it| Some((it, it.line?)));
        let map: Vec<u32> = lines
            .flat_map(|(it, line)| {
                let (pin, source) = (line.pin.into(), line.source.get());
                [it.config, 0, 0, pin, CONTROLLER, source, LEVEL]
            })
            .collect();
        if !map.is_empty() {
            tree.cells("#interrupt-cells", &[1]);
            tree.cells("interrupt-map-mask", &MAP_MASK);
            tree.cells("interrupt-map", &map);
        }
    }

    fn windows(&self, tree: &mut Writer) {
        let window = &self.window;
        let ([base, low], [size, rest]) = (halves(window.base.get()), halves(window.bytes));
        tree.cells("ibm,dma-window", &[window.liobn.0, base, low, size, rest]);
        tree.cells("ibm,#dma-address-cells", &[2]);
        tree.cells("ibm,#dma-size-cells", &[2]);
        let calls = [
            Service::QueryWindow,
            Service::CreateWindow,
            Service::RemoveWindow,
        ];
        tree.cells("ibm,ddw-applicable", &calls.map(Service::token));
        // Two extensions: the call that resets, and the long answer of a query.
        let extensions = [2, Service::ResetWindow.token(), 1];
        tree.cells("ibm,ddw-extensions", &extensions);
    }
}

/// Of an address and a pin, what `interrupt-map` goes by: bus, device, function,
/// pin.
const MAP_MASK: [u32; 4] = [0x00ff_ff00, 0, 0, 7];

/// A source of a level, in the second cell of its number.
const LEVEL: u32 = 1;

/// An entry of `ranges`: addresses that the processor sees at one offset.
#[derive(Clone, Copy)]
struct Range {
    bus: BusAddr,
    host: HostAddr,
    bytes: u64,
}

impl Range {
    fn of(space: &Space) -> Self {
        Self {
            bus: space.bus,
            host: space.host,
            bytes: space.bytes,
        }
    }

    fn offset(&self) -> u64 {
        self.host.get().wrapping_sub(self.bus.get())
    }

    /// With those of a higher one.
    fn reach(&mut self, other: Self) {
        let end = other.bus.get().saturating_add(other.bytes);
        self.bytes = self.bytes.max(end.saturating_sub(self.bus.get()));
    }

    /// Address on the bus, for the processor, bytes.
    fn cells(self, kind: u32) -> [u32; 7] {
        let [[bus, bus_low], [host, host_low], [size, size_low]] =
            [self.bus.get(), self.host.get(), self.bytes].map(halves);
        [kind, bus, bus_low, host, host_low, size, size_low]
    }
}

impl Function {
    fn write(&self, tree: &mut Writer) -> Result<(), TreeError> {
        let (device, function) = (self.config >> 11 & 0x1f, self.config >> 8 & 7);
        let name = match function {
            0 => alloc::format!("device@{device:x}"),
            _ => alloc::format!("device@{device:x},{function:x}"),
        };
        tree.node(&name, |tree| {
            let mut reg = alloc::vec![self.config, 0, 0, 0, 0];
            let mut assigned = Vec::new();
            for space in &self.spaces {
                let register = FIRST_BAR + 4 * u32::from(space.bar);
                let kind = self.config | space.kind() | register;
                let ([bus, bus_low], [size, size_low]) =
                    (halves(space.bus.get()), halves(space.bytes));
                reg.extend([kind, 0, 0, size, size_low]);
                assigned.extend([kind | FIXED, bus, bus_low, size, size_low]);
            }
            tree.cells("reg", &reg);
            tree.cells("assigned-addresses", &assigned);
            tree.cells("vendor-id", &[self.vendor.into()]);
            tree.cells("device-id", &[self.device.into()]);
            tree.cells("revision-id", &[self.revision.into()]);
            tree.cells("class-code", &[self.class]);
            let Limits { msi, msix } = self.messages;
            for (name, count) in [("ibm,req#msi", msi), ("ibm,req#msi-x", msix)] {
                if count > 0 {
                    tree.cells(name, &[count.into()]);
                }
            }
            if let Some(line) = self.line {
                tree.cells("interrupts", &[line.pin.into()]);
            }
            Ok(())
        })
    }
}
