//! The tree of buses and functions below one PHB, as a scan found it.

use super::address::{Bdfn, FunctionId, PhbId};
use super::bar::Bar;
use super::capability::{Capabilities, PortType};
use super::class::ClassCode;
use super::problem::Problem;
use super::sriov::VfRange;
use alloc::vec::Vec;
use core::ops::Index;

/// A function's place in [`Topology::functions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionIndex(pub(super) usize);

impl FunctionIndex {
    /// As a plain number, for tables beside the topology's.
    pub fn get(self) -> usize {
        self.0
    }
}

/// A bus's place in [`Topology::buses`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusIndex(pub(super) usize);

/// How the functions of a bus reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BusKind {
    /// Bus 0 inside the PHB: holds the root port.
    Root,
    /// A PCI Express link: one device, number 0.
    Link,
    /// The bus inside a switch: its devices are downstream ports.
    Switch,
    /// Conventional PCI: everything on it sees everything.
    Conventional,
}

/// One bus.
#[derive(Clone, Debug)]
pub struct Bus {
    /// Its number.
    pub number: u8,
    /// Highest number below it, its own included.
    pub last: u8,
    /// How functions reach each other.
    pub kind: BusKind,
    /// The bridge above; the root bus has none.
    pub bridge: Option<FunctionIndex>,
    /// What is on it, in order of device and function.
    pub functions: Vec<FunctionIndex>,
}

/// What a bridge's prefetchable window can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrefetchWindow {
    /// Not implemented.
    Absent,
    /// 32-bit addresses.
    Bits32,
    /// 64-bit addresses: what M64 needs.
    Bits64,
}

/// What only bridges have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The bus below, if it could be numbered.
    pub below: Option<BusIndex>,
    /// Its prefetchable window.
    pub prefetch: PrefetchWindow,
}

/// The virtual functions that a physical function is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VfSet {
    /// Their RIDs.
    pub range: VfRange,
    /// What each of them decodes.
    pub bars: [Option<Bar>; 6],
    /// The control register's ARI bit, to be kept when enabling.
    pub ari: bool,
}

/// One physical function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub id: FunctionId,
    /// The bus it is on.
    pub bus: BusIndex,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code.
    pub class: ClassCode,
    /// Interrupt pin: 0 for none, 1 to 4 for INTA to INTD.
    pub pin: u8,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Base address registers by number.
    pub bars: [Option<Bar>; 6],
    /// Expansion ROM, kept disabled.
    pub rom: Option<Bar>,
    /// Present if the function is a bridge.
    pub bridge: Option<Bridge>,
    /// ACS bits that are on, as read back.
    pub acs: u16,
    /// Virtual functions, if some were asked for and can be had.
    pub virtuals: Option<VfSet>,
    /// False once a fatal problem was found: it is never enabled.
    pub usable: bool,
}

impl Function {
    /// The port type, for PCI Express functions.
    pub fn port(&self) -> Option<PortType> {
        self.capabilities.express.map(|express| express.port)
    }

    /// Whether it is a bridge of any kind.
    pub fn is_bridge(&self) -> bool {
        self.bridge.is_some()
    }

    /// What resets this function alone, best first.
    pub fn reset(&self) -> ResetMethod {
        let capabilities = &self.capabilities;
        match (
            capabilities.express,
            capabilities.advanced_flr,
            capabilities.power,
        ) {
            (Some(express), ..) if express.flr => ResetMethod::Express {
                offset: express.offset,
            },
            (_, Some(offset), _) => ResetMethod::Advanced { offset },
            (.., Some(power)) if power.resets => ResetMethod::Power {
                offset: power.offset,
            },
            _ => ResetMethod::Bus,
        }
    }
}

/// How a function is reset. Offsets are those of the capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetMethod {
    /// Function level reset by the PCI Express capability; done after 100 ms.
    Express {
        /// Bytes.
        offset: u16,
    },
    /// Function level reset by the advanced features capability; 100 ms.
    Advanced {
        /// Bytes.
        offset: u16,
    },
    /// D3hot and back, 10 ms each way.
    Power {
        /// Bytes.
        offset: u16,
    },
    /// Only with the whole bus, by the bridge above.
    Bus,
}

/// A virtual function, known by its RID before it is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Virtual {
    /// Whose it is.
    pub physical: FunctionIndex,
    /// 0 for the first.
    pub number: u16,
    /// Its RID.
    pub bdfn: Bdfn,
}

/// All below one PHB. Buses and functions are in the order of a depth-first
/// walk: a bridge comes before whatever is below it.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The PHB.
    pub phb: PhbId,
    /// Buses; the first is the root bus.
    pub buses: Vec<Bus>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Virtual functions, by physical function and number.
    pub virtuals: Vec<Virtual>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Topology {
    /// All functions with their indices.
    pub fn iter(&self) -> impl Iterator<Item = (FunctionIndex, &Function)> {
        self.functions
            .iter()
            .enumerate()
            .map(|(at, function)| (FunctionIndex(at), function))
    }

    /// All buses with their indices.
    pub fn iter_buses(&self) -> impl DoubleEndedIterator<Item = (BusIndex, &Bus)> {
        self.buses
            .iter()
            .enumerate()
            .map(|(at, bus)| (BusIndex(at), bus))
    }

    /// The bridge above a function, or `None` on the root bus.
    pub fn above(&self, function: FunctionIndex) -> Option<FunctionIndex> {
        self[self[function].bus].bridge
    }

    /// The bridges above a function, nearest first.
    pub fn ancestors(&self, function: FunctionIndex) -> impl Iterator<Item = FunctionIndex> + '_ {
        core::iter::successors(self.above(function), |bridge| self.above(*bridge))
    }

    /// All functions below `bridge`, at any depth.
    pub fn below(&self, bridge: FunctionIndex) -> impl Iterator<Item = FunctionIndex> + '_ {
        // Depth-first order: the subtree is contiguous from the bridge's bus.
        let first = self[bridge].bridge.and_then(|it| it.below);
        first.into_iter().flat_map(move |first| {
            self.buses[first.0..]
                .iter()
                .enumerate()
                .take_while(move |(at, bus)| {
                    *at == 0 || bus.bridge.is_some_and(|above| self[above].bus >= first)
                })
                .flat_map(|(_, bus)| bus.functions.iter().copied())
        })
    }

    /// The function with this name.
    pub fn find(&self, bdfn: Bdfn) -> Option<FunctionIndex> {
        self.functions
            .iter()
            .position(|it| it.id.bdfn == bdfn)
            .map(FunctionIndex)
    }
}

impl Index<FunctionIndex> for Topology {
    type Output = Function;

    fn index(&self, at: FunctionIndex) -> &Function {
        &self.functions[at.0]
    }
}

impl Index<BusIndex> for Topology {
    type Output = Bus;

    fn index(&self, at: BusIndex) -> &Bus {
        &self.buses[at.0]
    }
}
