//! The plan of a PHB: PE numbers, segments, addresses, bridge windows.

use super::address::PeNumber;
use super::bar::Bar;
use super::group::{GroupIndex, VirtualIndex};
use super::lsi::Lines;
use super::problem::Problem;
use super::rid::RidMatch;
use super::topology::{FunctionIndex, Topology};
use crate::addr::{BusAddr, HostAddr};
use alloc::vec::Vec;

/// Which of the PHB's memory spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Below 4 GB; any segment belongs to any PE.
    M32,
    /// The split M64 window; segment n belongs to PE n.
    M64,
}

/// Where a BAR goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarPlan {
    /// The (physical) function.
    pub function: FunctionIndex,
    /// The register with its size, or one virtual function's.
    pub bar: Bar,
    /// How many virtual functions' registers lie here one after the other; 0
    /// for the function's own BAR.
    pub virtuals: u16,
    /// The space.
    pub space: Space,
    /// What is written into the register.
    pub address: BusAddr,
    /// Where the processor sees that.
    pub host: HostAddr,
}

impl BarPlan {
    /// Bytes that are decoded.
    pub fn bytes(&self) -> u64 {
        self.bar.size * u64::from(self.virtuals.max(1))
    }
}

/// A bridge's windows, as first address and bytes; `None` is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgePlan {
    /// The bridge.
    pub bridge: FunctionIndex,
    /// Non-prefetchable: M32.
    pub memory: Option<(BusAddr, u64)>,
    /// Prefetchable: M64.
    pub prefetch: Option<(BusAddr, u64)>,
}

/// An M64 BAR of the PHB, split among all PEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct M64Plan {
    /// Its number.
    pub number: u16,
    /// First address, aligned to the size; the same on the bus.
    pub base: HostAddr,
    /// Bytes, a power of two.
    pub size: u64,
}

/// What a group gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPlan {
    /// Its PE; `None` if nothing of it is enabled, or for a bridge when PEs are
    /// scarce.
    pub pe: Option<PeNumber>,
    /// PEs whose M64 segments it has beside its own: frozen and thawed with it,
    /// never given a RID.
    pub companions: Vec<PeNumber>,
    /// Its M32 segments, ascending.
    pub m32: Vec<u16>,
    /// Its RIDs.
    pub rids: Vec<RidMatch>,
    /// PEs of the bridges above, nearest first: their errors freeze it too.
    pub parents: Vec<PeNumber>,
}

/// The plan of one PHB. [`super::validate::validate`] checks it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) groups: Vec<GroupPlan>,
    /// Where BARs go.
    pub bars: Vec<BarPlan>,
    /// What bridges pass.
    pub bridges: Vec<BridgePlan>,
    /// The PHB's M64 BARs; the first splits the whole window, the others split
    /// virtual functions' registers and win over it.
    pub m64: Vec<M64Plan>,
    /// Interrupt pins.
    pub lines: Lines,
    /// What could not be placed.
    pub problems: Vec<Problem>,
    pub(super) excluded: Vec<bool>,
    pub(super) virtuals_off: Vec<bool>,
}

impl Plan {
    /// What a group gets.
    pub fn group(&self, at: GroupIndex) -> &GroupPlan {
        &self.groups[at.0]
    }

    /// Whether a function is to be enabled: healthy, placed, and below bridges
    /// that are.
    pub fn is_active(&self, topology: &Topology, at: FunctionIndex) -> bool {
        is_active(topology, &self.excluded, at)
    }

    /// Whether a virtual function is.
    pub fn is_active_virtual(&self, topology: &Topology, at: VirtualIndex) -> bool {
        self.has_virtuals(topology, topology.virtuals[at.get()].physical)
    }

    /// Whether the virtual functions of `physical` are to be enabled.
    pub fn has_virtuals(&self, topology: &Topology, physical: FunctionIndex) -> bool {
        !self.virtuals_off[physical.0] && self.is_active(topology, physical)
    }

    /// The BARs of a function, without those of its virtual ones.
    pub fn bars_of(&self, at: FunctionIndex) -> impl Iterator<Item = &BarPlan> {
        self.bars
            .iter()
            .filter(move |it| it.function == at && it.virtuals == 0)
    }

    /// Registers of one virtual function: BAR number, address, where the
    /// processor sees it, bytes.
    pub fn bars_of_virtual<'a>(
        &'a self,
        topology: &'a Topology,
        at: VirtualIndex,
    ) -> impl Iterator<Item = (u8, BusAddr, HostAddr, u64)> + 'a {
        let it = topology.virtuals[at.get()];
        let all = self
            .bars
            .iter()
            .filter(move |bar| bar.function == it.physical && bar.virtuals > it.number);
        all.filter_map(move |bar| {
            let offset = u64::from(it.number) * bar.bar.size;
            let address = bar.address.checked_add(offset)?;
            Some((
                bar.bar.index,
                address,
                bar.host.checked_add(offset)?,
                bar.bar.size,
            ))
        })
    }
}

pub(super) fn is_active(topology: &Topology, excluded: &[bool], at: FunctionIndex) -> bool {
    let fine = |at: FunctionIndex| topology[at].usable && !excluded[at.0];
    fine(at) && topology.ancestors(at).all(fine)
}
