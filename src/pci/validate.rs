//! Checks a plan against the machine, without trusting how it came about.

use super::address::{Bdfn, FunctionId, PeNumber};
use super::group::{GroupIndex, GroupKind, Groups, VirtualIndex};
use super::layout::BRIDGE_UNIT;
use super::phb::{PhbInfo, Window};
use super::plan::{BarPlan, BridgePlan, Plan, Space};
use super::topology::{FunctionIndex, Topology};
use crate::addr::BusAddr;
use alloc::vec::Vec;

/// What is wrong with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// An address is not a multiple of the size.
    #[error("{function}: BAR {bar} at {address} is not aligned to its size {size:#x}")]
    Misaligned {
        /// Whose.
        function: FunctionId,
        /// Register number.
        bar: u8,
        /// Bus address.
        address: BusAddr,
        /// Bytes.
        size: u64,
    },
    /// Outside the PHB's window, or the host address is not the bus address's.
    #[error("{function}: BAR {bar} at {address} lies outside the window")]
    OutsideWindow {
        /// Whose.
        function: FunctionId,
        /// Register number.
        bar: u8,
        /// Bus address.
        address: BusAddr,
    },
    /// A bridge's window is not made of whole megabytes, or is empty.
    #[error("{bridge}: a window of {size:#x} bytes at {address} cannot be set")]
    Window {
        /// The bridge.
        bridge: FunctionId,
        /// Bus address.
        address: BusAddr,
        /// Bytes.
        size: u64,
    },
    /// A bridge above does not pass it.
    #[error("{function}: bridge {bridge} does not pass {address}")]
    NotPassed {
        /// Whose register or window.
        function: FunctionId,
        /// The bridge.
        bridge: FunctionId,
        /// Bus address.
        address: BusAddr,
    },
    /// Two decode the same address.
    #[error("{first} and {second} both decode {address}")]
    Overlap {
        /// One.
        first: FunctionId,
        /// The other.
        second: FunctionId,
        /// Bus address.
        address: BusAddr,
    },
    /// A register lies in a segment of another PE.
    #[error("{function}: segment {segment} does not belong to its PE")]
    ForeignSegment {
        /// Whose register.
        function: FunctionId,
        /// Segment number.
        segment: u64,
    },
    /// Two groups have one PE or segment, or the PE is the reserved one, or
    /// there is no such PE.
    #[error("PE or segment {number} is given away wrongly")]
    Number {
        /// The number.
        number: u16,
    },
    /// A RID is in no PE of the plan, or in two.
    #[error("RID {rid} is mapped {times} times")]
    Rid {
        /// The RID.
        rid: Bdfn,
        /// How often.
        times: usize,
    },
    /// A memory BAR of an active function got no place, or a register that is
    /// to be left alone did.
    #[error("{function}: BAR {bar} is placed {times} times")]
    Placement {
        /// Whose.
        function: FunctionId,
        /// Register number.
        bar: u8,
        /// How often.
        times: usize,
    },
    /// An M64 BAR is not a power of two aligned to itself, leaves the window, or
    /// is used twice.
    #[error("M64 BAR {number} is misplaced")]
    M64 {
        /// Its number.
        number: u16,
    },
}

/// Whether a plan keeps its promises; the first fault otherwise.
pub fn validate(
    topology: &Topology,
    phb: &PhbInfo,
    groups: &Groups,
    plan: &Plan,
) -> Result<(), PlanFault> {
    let check = Check {
        topology,
        phb,
        groups,
        plan,
    };
    check.numbers()?;
    check.m64_bars()?;
    check.placements()?;
    check.bars()?;
    check.bridges()?;
    check.segments()?;
    check.rids()
}

struct Check<'a> {
    topology: &'a Topology,
    phb: &'a PhbInfo,
    groups: &'a Groups,
    plan: &'a Plan,
}

/// First and last address.
type Range = (u64, u64);

fn inside(inner: Range, outer: Range) -> bool {
    inner.0 >= outer.0 && inner.1 <= outer.1
}

fn range(start: BusAddr, bytes: u64) -> Range {
    (
        start.get(),
        start.get().saturating_add(bytes.saturating_sub(1)),
    )
}

impl Check<'_> {
    fn numbers(&self) -> Result<(), PlanFault> {
        let mut pes = alloc::vec![false; usize::from(self.phb.pes())];
        let mut segments = pes.clone();
        for (at, _) in self.groups.iter() {
            let group = self.plan.group(at);
            for pe in group.pe.iter().chain(&group.companions) {
                claim(&mut pes, pe.get(), *pe != self.phb.reserved())?;
            }
            for segment in &group.m32 {
                claim(&mut segments, *segment, *segment < self.phb.m32_segments())?;
            }
        }
        Ok(())
    }

    fn m64_bars(&self) -> Result<(), PlanFault> {
        for (at, bar) in self.plan.m64.iter().enumerate() {
            let fault = PlanFault::M64 { number: bar.number };
            let window = self.phb.m64().ok_or(fault)?;
            let allowed = if at == 0 {
                bar.number == window.bar
            } else {
                self.phb.vf_bars().contains(&bar.number)
            };
            let placed = window
                .window
                .host_of(BusAddr::new(bar.base.get()), bar.size)
                == Some(bar.base);
            let aligned = bar.size.is_power_of_two() && bar.base.get() % bar.size == 0;
            let unique = self.plan.m64[..at].iter().all(|other| {
                let apart = bar.base.get() + bar.size <= other.base.get()
                    || other.base.get() + other.size <= bar.base.get();
                // Only the first may lie below the others.
                other.number != bar.number && (apart || other.number == window.bar)
            });
            if !(allowed
                && placed
                && aligned
                && unique
                && bar.size >= self.phb.generation().smallest_m64())
            {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Each memory BAR of an active function once, anything else not at all.
    fn placements(&self) -> Result<(), PlanFault> {
        for (at, function) in self.topology.iter() {
            let active = self.plan.is_active(self.topology, at);
            for index in 0..6u8 {
                let own = function.bars[usize::from(index)];
                let wanted = active && own.is_some_and(|bar| bar.kind.is_memory());
                self.placed(at, index, wanted, false)?;
                let virtuals = function
                    .virtuals
                    .and_then(|set| set.bars[usize::from(index)]);
                let first = self
                    .topology
                    .virtuals
                    .iter()
                    .position(|it| it.physical == at);
                let on = first.is_some_and(|first| {
                    self.plan
                        .is_active_virtual(self.topology, VirtualIndex(first))
                });
                self.placed(at, index, on && virtuals.is_some(), true)?;
            }
        }
        Ok(())
    }

    fn placed(
        &self,
        at: FunctionIndex,
        index: u8,
        wanted: bool,
        virtuals: bool,
    ) -> Result<(), PlanFault> {
        let same = |bar: &&BarPlan| {
            bar.function == at && bar.bar.index == index && (bar.virtuals > 0) == virtuals
        };
        let times = self.plan.bars.iter().filter(same).count();
        if times != usize::from(wanted) {
            return Err(PlanFault::Placement {
                function: self.topology[at].id,
                bar: index,
                times,
            });
        }
        Ok(())
    }

    fn bars(&self) -> Result<(), PlanFault> {
        let mut decoded: Vec<(Range, FunctionIndex)> = Vec::new();
        for it in &self.plan.bars {
            let (function, bar) = (self.topology[it.function].id, it.bar.index);
            if it.address.get() % it.bar.size != 0 {
                let (address, size) = (it.address, it.bar.size);
                return Err(PlanFault::Misaligned {
                    function,
                    bar,
                    address,
                    size,
                });
            }
            let window = self.window(it.space);
            if window.and_then(|window| window.host_of(it.address, it.bytes())) != Some(it.host) {
                return Err(PlanFault::OutsideWindow {
                    function,
                    bar,
                    address: it.address,
                });
            }
            decoded.push((range(it.address, it.bytes()), it.function));
        }
        self.disjoint(decoded)
    }

    fn window(&self, space: Space) -> Option<Window> {
        match space {
            Space::M32 => Some(self.phb.m32()),
            Space::M64 => self.phb.m64().map(|split| split.window),
        }
    }

    fn disjoint(&self, mut ranges: Vec<(Range, FunctionIndex)>) -> Result<(), PlanFault> {
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            if pair[1].0.0 <= pair[0].0.1 {
                return Err(PlanFault::Overlap {
                    first: self.topology[pair[0].1].id,
                    second: self.topology[pair[1].1].id,
                    address: BusAddr::new(pair[1].0.0),
                });
            }
        }
        Ok(())
    }

    fn window_of(&self, bridge: FunctionIndex, space: Space) -> Option<Range> {
        let found = self.plan.bridges.iter().find(|it| it.bridge == bridge)?;
        let window = if space == Space::M32 {
            found.memory
        } else {
            found.prefetch
        };
        window.map(|(start, bytes)| range(start, bytes))
    }

    /// Registers lie inside all windows above, windows inside windows, and the
    /// windows of one bus apart from each other and from its registers.
    fn bridges(&self) -> Result<(), PlanFault> {
        for space in [Space::M32, Space::M64] {
            let bars = self.plan.bars.iter().filter(|it| it.space == space);
            for it in bars.clone() {
                self.passed(it.function, space, range(it.address, it.bytes()))?;
            }
            for it in &self.plan.bridges {
                self.settable(it)?;
                let Some(window) = self.window_of(it.bridge, space) else {
                    continue;
                };
                self.passed(it.bridge, space, window)?;
            }
            for (at, _) in self.topology.iter_buses() {
                let mut claims: Vec<(Range, FunctionIndex)> = bars
                    .clone()
                    .filter(|it| self.topology[it.function].bus == at)
                    .map(|it| (range(it.address, it.bytes()), it.function))
                    .collect();
                let below = self
                    .plan
                    .bridges
                    .iter()
                    .filter(|it| self.topology[it.bridge].bus == at);
                claims.extend(
                    below.filter_map(|it| Some((self.window_of(it.bridge, space)?, it.bridge))),
                );
                self.disjoint(claims)?;
            }
        }
        Ok(())
    }

    fn settable(&self, it: &BridgePlan) -> Result<(), PlanFault> {
        for (address, size) in it.memory.iter().chain(&it.prefetch) {
            if *size == 0 || size % BRIDGE_UNIT != 0 || address.get() % BRIDGE_UNIT != 0 {
                let bridge = self.topology[it.bridge].id;
                return Err(PlanFault::Window {
                    bridge,
                    address: *address,
                    size: *size,
                });
            }
        }
        Ok(())
    }

    fn passed(&self, at: FunctionIndex, space: Space, what: Range) -> Result<(), PlanFault> {
        for bridge in self.topology.ancestors(at) {
            let window = self.window_of(bridge, space);
            if !window.is_some_and(|window| inside(what, window)) {
                return Err(PlanFault::NotPassed {
                    function: self.topology[at].id,
                    bridge: self.topology[bridge].id,
                    address: BusAddr::new(what.0),
                });
            }
        }
        Ok(())
    }

    /// Every register lies in segments of its own group.
    fn segments(&self) -> Result<(), PlanFault> {
        for it in &self.plan.bars {
            for number in 0..it.virtuals.max(1) {
                let group = self.owner(it, number);
                let start = it.address.get() + u64::from(number) * it.bar.size;
                self.in_segments(it, group, (start, start + it.bar.size - 1))?;
            }
        }
        Ok(())
    }

    fn owner(&self, bar: &BarPlan, number: u16) -> GroupIndex {
        let virtuals = self.topology.virtuals.iter();
        let mut found = virtuals
            .zip(0..)
            .filter(|(it, _)| it.physical == bar.function && it.number == number);
        match found.next().filter(|_| bar.virtuals > 0) {
            Some((_, at)) => self.groups.of_virtual(VirtualIndex(at)),
            None => self.groups.of(bar.function),
        }
    }

    fn in_segments(&self, it: &BarPlan, group: GroupIndex, what: Range) -> Result<(), PlanFault> {
        let plan = self.plan.group(group);
        // The M64 BAR that decides: a lower number wins, the split one is last.
        let deciding = self
            .plan
            .m64
            .iter()
            .rev()
            .find(|bar| inside(what, range(BusAddr::new(bar.base.get()), bar.size)));
        let (base, segment) = match (it.space, deciding) {
            (Space::M32, _) => (self.phb.m32().bus.get(), self.phb.m32_segment()),
            (Space::M64, Some(bar)) => (bar.base.get(), bar.size / u64::from(self.phb.pes())),
            (Space::M64, None) => (0, u64::MAX),
        };
        for number in (what.0 - base) / segment..=(what.1 - base) / segment {
            let pe = PeNumber::new(number as u16);
            let own = match it.space {
                Space::M32 => {
                    plan.pe.is_some() && plan.m32.iter().any(|it| u64::from(*it) == number)
                }
                Space::M64 => plan.pe == Some(pe) || plan.companions.contains(&pe),
            };
            if !own || number >= u64::from(self.phb.pes()) {
                return Err(PlanFault::ForeignSegment {
                    function: self.topology[it.function].id,
                    segment: number,
                });
            }
        }
        Ok(())
    }

    /// Every active function is in exactly one PE, its group's.
    fn rids(&self) -> Result<(), PlanFault> {
        let functions = self.topology.iter().map(|(at, it)| {
            (
                it.id.bdfn,
                self.plan.is_active(self.topology, at),
                self.groups.of(at),
            )
        });
        let virtuals = self.topology.virtuals.iter().zip(0..).map(|(it, at)| {
            let at = VirtualIndex(at);
            (
                it.bdfn,
                self.plan.is_active_virtual(self.topology, at),
                self.groups.of_virtual(at),
            )
        });
        for (rid, active, group) in functions.chain(virtuals) {
            let maps = |(at, _): &(GroupIndex, _)| {
                self.plan.group(*at).rids.iter().any(|it| it.contains(rid))
            };
            let times = self.groups.iter().filter(maps).count();
            let own = self
                .plan
                .group(group)
                .rids
                .iter()
                .any(|it| it.contains(rid));
            // A bridge without a PE is in the reserved one.
            let spare = self.groups.get(group).kind == GroupKind::Fabric
                && self.plan.group(group).pe.is_none();
            let fine = if active && !spare {
                times == 1 && own
            } else {
                times == usize::from(own)
            };
            if !fine {
                return Err(PlanFault::Rid { rid, times });
            }
        }
        Ok(())
    }
}

fn claim(taken: &mut [bool], number: u16, allowed: bool) -> Result<(), PlanFault> {
    let free = taken.get(usize::from(number)) == Some(&false);
    if !free || !allowed {
        return Err(PlanFault::Number { number });
    }
    taken[usize::from(number)] = true;
    Ok(())
}
