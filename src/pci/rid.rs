//! RIDs as OPAL's SET_PE compares them.

use super::address::Bdfn;
use super::group::{Group, Reason};
use super::topology::Topology;
use alloc::vec::Vec;
use core::fmt;

/// A set of RIDs that one SET_PE call maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RidMatch {
    /// This function.
    Function(Bdfn),
    /// All functions of this bus.
    Bus(u8),
    /// All RIDs of the PHB: the reserved PE's, before anything else.
    All,
}

impl RidMatch {
    /// The arguments `bdfn`, `bcompare`, `dcompare`, `fcompare` of SET_PE.
    pub const fn arguments(self) -> (u16, u8, u8, u8) {
        match self {
            Self::Function(bdfn) => (bdfn.rid(), 7, 1, 1),
            Self::Bus(bus) => ((bus as u16) << 8, 7, 0, 0),
            Self::All => (0, 0, 0, 0),
        }
    }

    /// Whether a RID is in the set.
    pub const fn contains(self, bdfn: Bdfn) -> bool {
        match self {
            Self::Function(one) => one.rid() == bdfn.rid(),
            Self::Bus(bus) => bus == bdfn.bus(),
            Self::All => true,
        }
    }
}

impl fmt::Display for RidMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(bdfn) => write!(f, "{bdfn}"),
            Self::Bus(bus) => write!(f, "{bus:02x}:*"),
            Self::All => f.write_str("all"),
        }
    }
}

/// What maps a group's RIDs: whole buses behind a bridge to conventional PCI
/// (which sends as `secondary bus:00.0`), single functions elsewhere. Functions
/// left alone are mapped too when they cannot be told apart, and only then.
pub fn matches(
    topology: &Topology,
    group: &Group,
    is_active: impl Fn(super::FunctionIndex) -> bool,
    is_active_virtual: impl Fn(super::VirtualIndex) -> bool,
) -> Vec<RidMatch> {
    let mut found: Vec<RidMatch> = Vec::new();
    for reason in &group.reasons {
        let Reason::SharedRid { bridge } = reason else {
            continue;
        };
        let below = topology
            .find(bridge.bdfn)
            .and_then(|at| topology[at].bridge?.below);
        if let Some(bus) = below.map(|below| &topology[below]) {
            let buses = (bus.number..=bus.last).map(RidMatch::Bus);
            buses.for_each(|it| {
                if !found.contains(&it) {
                    found.push(it)
                }
            });
        }
    }
    let functions = group.functions.iter().filter(|at| is_active(**at));
    let virtuals = group.virtuals.iter().filter(|at| is_active_virtual(**at));
    let rids = functions
        .map(|at| topology[*at].id.bdfn)
        .chain(virtuals.map(|at| topology.virtuals[at.get()].bdfn));
    for bdfn in rids {
        if !found.iter().any(|it| it.contains(bdfn)) {
            found.push(RidMatch::Function(bdfn));
        }
    }
    found
}
