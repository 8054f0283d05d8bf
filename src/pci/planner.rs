//! Makes a plan: places registers, numbers PEs, leaves out what does not fit.

use super::address::PeNumber;
use super::allot::{self, Allotment};
use super::bar::{Bar, BarKind};
use super::group::{GroupIndex, GroupKind, Groups, VfSplit, VirtualIndex};
use super::layout::{self, Owner, Piece, Placed, Room, TooMuch, What};
use super::lsi::Lines;
use super::phb::{PhbInfo, Window};
use super::plan::{BarPlan, BridgePlan, GroupPlan, M64Plan, Plan, Space, is_active};
use super::problem::{Fault, Problem};
use super::rid;
use super::topology::{FunctionIndex, Topology};
use alloc::vec::Vec;

/// Plans one PHB.
///
/// Whatever does not fit is named in [`Plan::problems`] and left alone: the
/// largest go first, as the most others fit in their place.
pub fn plan(topology: &Topology, phb: &PhbInfo, groups: &Groups) -> Plan {
    let mut planner = Planner {
        topology,
        phb,
        groups,
        excluded: alloc::vec![false; topology.functions.len()],
        virtuals_off: alloc::vec![false; topology.functions.len()],
        problems: Vec::new(),
        rounds: 0,
    };
    loop {
        // Each failed attempt leaves at least one more function out.
        if let Some(plan) = planner.attempt() {
            return plan;
        }
    }
}

pub(super) struct Planner<'a> {
    pub(super) topology: &'a Topology,
    pub(super) phb: &'a PhbInfo,
    pub(super) groups: &'a Groups,
    pub(super) excluded: Vec<bool>,
    pub(super) virtuals_off: Vec<bool>,
    pub(super) problems: Vec<Problem>,
    rounds: u32,
}

impl Planner<'_> {
    fn attempt(&mut self) -> Option<Plan> {
        let m32 = self.place(Space::M32)?;
        let m64 = self.place(Space::M64)?;
        let allotment = allot::allot(self, &m64)?;
        let mut plan = Plan {
            groups: alloc::vec![GroupPlan::default(); self.groups.len()],
            bars: Vec::new(),
            bridges: Vec::new(),
            m64: Vec::new(),
            lines: Lines::new(self.topology, self.groups, |at| {
                is_active(self.topology, &self.excluded, at)
            }),
            problems: core::mem::take(&mut self.problems),
            excluded: self.excluded.clone(),
            virtuals_off: self.virtuals_off.clone(),
        };
        if let Some(split) = self.phb.m64() {
            plan.m64.push(M64Plan {
                number: split.bar,
                base: split.window.host,
                size: split.window.size,
            });
        }
        self.record_windows(&mut plan, &m32, &m64);
        self.record_bars(&mut plan, Space::M32, &m32, &allotment);
        self.record_bars(&mut plan, Space::M64, &m64, &allotment);
        self.record_groups(&mut plan, allotment);
        Some(plan)
    }

    /// Places one space, or leaves someone out and returns `None`.
    fn place(&mut self, space: Space) -> Option<Vec<Placed>> {
        let Some(room) = self.room(space) else {
            return Some(Vec::new());
        };
        let largest = room.end - room.start;
        let too_large: Vec<_> = self
            .active()
            .filter(|at| self.demand(space, *at) > largest)
            .collect();
        if !too_large.is_empty() {
            too_large.into_iter().for_each(|at| self.exclude(space, at));
            return None;
        }
        let outcome = layout::place(self.topology, room, |at, pieces| {
            self.pieces(space, at, pieces)
        });
        match outcome {
            Ok(placed) => Some(placed),
            Err(TooMuch { end }) => {
                let excess = end.map_or(u64::MAX, |end| end - room.end);
                self.leave_out(space, excess);
                None
            }
        }
    }

    fn room(&self, space: Space) -> Option<Room> {
        match space {
            Space::M32 => {
                let segment = self.phb.m32_segment();
                Some(Room {
                    start: 0,
                    end: u64::from(self.phb.m32_segments()) * segment,
                    segment,
                })
            }
            Space::M64 => {
                let split = self.phb.m64()?;
                // The reserved PE's segment stays empty: use the longer side of it.
                let (pes, reserved) = (
                    u64::from(self.phb.pes()),
                    u64::from(self.phb.reserved().get()),
                );
                let (start, end) = if reserved >= pes / 2 {
                    (0, reserved)
                } else {
                    (reserved + 1, pes)
                };
                let segment = split.segment;
                Some(Room {
                    start: start * segment,
                    end: end * segment,
                    segment,
                })
            }
        }
    }

    pub(super) fn active(&self) -> impl Iterator<Item = FunctionIndex> + '_ {
        let all = (0..self.topology.functions.len()).map(FunctionIndex);
        all.filter(|at| is_active(self.topology, &self.excluded, *at))
    }

    pub(super) fn has_virtuals(&self, at: FunctionIndex) -> bool {
        self.topology[at].virtuals.is_some() && !self.virtuals_off[at.0]
    }

    fn space_of(&self, at: FunctionIndex, kind: BarKind) -> Space {
        let wide = matches!(kind, BarKind::Memory64 { prefetchable: true });
        if wide && self.phb.m64().is_some() && super::group::takes_m64(self.topology, at) {
            Space::M64
        } else {
            Space::M32
        }
    }

    fn pieces(&self, space: Space, at: FunctionIndex, pieces: &mut Vec<Piece>) {
        if !is_active(self.topology, &self.excluded, at) {
            return;
        }
        let function = &self.topology[at];
        let here = |bar: &&Bar| bar.kind.is_memory() && self.space_of(at, bar.kind) == space;
        for bar in function.bars.iter().flatten().filter(here) {
            let owner = Owner::One(self.groups.of(at));
            pieces.push(Piece {
                what: What::Bar(at, bar.index),
                size: bar.size,
                align: bar.size,
                owner,
            });
        }
        let Some(set) = function.virtuals.filter(|_| self.has_virtuals(at)) else {
            return;
        };
        for bar in set.bars.iter().flatten().filter(here) {
            let (size, owner) = self.virtual_piece(space, at, bar, set.range.count);
            let align = match (space, owner) {
                // The block of an M64 BAR is aligned to itself.
                (Space::M64, _) if self.groups.split(at) == VfSplit::Each => size,
                _ => bar.size,
            };
            pieces.push(Piece {
                what: What::VirtualBar(at, bar.index),
                size,
                align,
                owner,
            });
        }
    }

    fn virtual_piece(
        &self,
        space: Space,
        at: FunctionIndex,
        bar: &Bar,
        count: u16,
    ) -> (u64, Owner) {
        let own = Owner::One(self.groups.of(at));
        let first = self
            .topology
            .virtuals
            .iter()
            .position(|it| it.physical == at);
        let theirs = first.map_or(own, |first| {
            Owner::One(self.groups.of_virtual(VirtualIndex(first)))
        });
        match (self.groups.split(at), space) {
            (VfSplit::Together, _) => (bar.size.saturating_mul(count.into()), theirs),
            // Each fills whole segments of its own.
            (VfSplit::Each, Space::M32) => (bar.size.saturating_mul(count.into()), Owner::Many),
            // As large as one register for each PE: segment n is then PE n's.
            (VfSplit::Each, Space::M64) => (bar.size.saturating_mul(self.phb.pes().into()), own),
        }
    }

    /// Bytes that a function asks for in a space.
    fn demand(&self, space: Space, at: FunctionIndex) -> u64 {
        let mut pieces = Vec::new();
        self.pieces(space, at, &mut pieces);
        pieces
            .iter()
            .fold(0, |sum: u64, piece| sum.saturating_add(piece.size))
    }

    /// Leaves out the largest until they make up for the excess.
    fn leave_out(&mut self, space: Space, excess: u64) {
        let segment = self.room(space).map_or(1, |room| room.segment);
        let round = |bytes: u64| bytes.checked_next_multiple_of(segment).unwrap_or(u64::MAX);
        let mut users: Vec<_> = self
            .active()
            .map(|at| (round(self.demand(space, at)), at))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        users.sort_by(|a, b| b.cmp(a));
        // What each frees is a guess, since groups share segments: the least
        // number doubles, so that the rounds stay few.
        let least = 1usize << self.rounds.min(16);
        self.rounds += 1;
        let mut freed = 0u64;
        for (count, (bytes, at)) in users.into_iter().enumerate() {
            if count >= least && freed >= excess {
                break;
            }
            freed = freed.saturating_add(bytes);
            self.exclude(space, at);
        }
    }

    fn exclude(&mut self, space: Space, at: FunctionIndex) {
        let bytes = self.demand(space, at);
        let space = if space == Space::M32 { "M32" } else { "M64" };
        self.leave_alone(at, Fault::NoRoom { bytes, space });
    }

    pub(super) fn leave_alone(&mut self, at: FunctionIndex, fault: Fault) {
        if !core::mem::replace(&mut self.excluded[at.0], true) {
            self.problems.push(Problem {
                function: self.topology[at].id,
                fault,
            });
        }
    }

    fn record_windows(&self, plan: &mut Plan, m32: &[Placed], m64: &[Placed]) {
        let range = |space: Space, placed: &[Placed], below| {
            let found = placed
                .iter()
                .find(|it| it.what == What::Window(below) && it.size > 0)?;
            Some((
                self.window(space)?.bus.checked_add(found.offset)?,
                found.size,
            ))
        };
        for at in self.active() {
            let Some(below) = self.topology[at].bridge.map(|it| it.below) else {
                continue;
            };
            plan.bridges.push(BridgePlan {
                bridge: at,
                memory: below.and_then(|below| range(Space::M32, m32, below)),
                prefetch: below.and_then(|below| range(Space::M64, m64, below)),
            });
        }
    }

    fn window(&self, space: Space) -> Option<Window> {
        match space {
            Space::M32 => Some(self.phb.m32()),
            Space::M64 => self.phb.m64().map(|split| split.window),
        }
    }

    fn record_bars(&self, plan: &mut Plan, space: Space, placed: &[Placed], allotment: &Allotment) {
        let Some(window) = self.window(space) else {
            return;
        };
        let mut next_bar = self.phb.vf_bars().start;
        for it in placed {
            let (function, bar, virtuals) = match it.what {
                What::Window(_) => continue,
                What::Bar(at, index) => (at, self.topology[at].bars[usize::from(index)], 0),
                What::VirtualBar(at, index) => {
                    let set = self.topology[at].virtuals;
                    let count = set.map_or(0, |set| set.range.count);
                    (at, set.and_then(|set| set.bars[usize::from(index)]), count)
                }
            };
            let Some(bar) = bar else { continue };
            let mut offset = it.offset;
            if virtuals > 0 && space == Space::M64 && self.groups.split(function) == VfSplit::Each {
                let Some(base) = window.host.checked_add(offset) else {
                    continue;
                };
                plan.m64.push(M64Plan {
                    number: next_bar,
                    base,
                    size: it.size,
                });
                next_bar += 1;
                offset += u64::from(allotment.first_pe(function)) * bar.size;
            }
            let (Some(address), Some(host)) = (
                window.bus.checked_add(offset),
                window.host.checked_add(offset),
            ) else {
                continue;
            };
            plan.bars.push(BarPlan {
                function,
                bar,
                virtuals,
                space,
                address,
                host,
            });
        }
    }

    fn record_groups(&self, plan: &mut Plan, allotment: Allotment) {
        for (at, group) in self.groups.iter() {
            let Some(pe) = allotment.pe(at) else { continue };
            let active = |at| plan.is_active(self.topology, at);
            let active_virtual = |at| plan.is_active_virtual(self.topology, at);
            let rids = rid::matches(self.topology, group, active, active_virtual);
            let parents = self.parents(at, &allotment);
            plan.groups[at.0] = GroupPlan {
                pe: Some(pe),
                companions: allotment.companions(at),
                m32: Vec::new(),
                rids,
                parents,
            };
        }
        let segment = self.phb.m32_segment();
        for bar in plan.bars.iter().filter(|bar| bar.space == Space::M32) {
            let start = bar.address.get() - self.phb.m32().bus.get();
            let count = u64::from(bar.virtuals.max(1));
            for number in 0..count {
                let first = start + number * bar.bar.size;
                let last = first + bar.bar.size - 1;
                let group = self.owner(bar, number as u16);
                let segments = &mut plan.groups[group.0].m32;
                // Below 512 by construction of the window.
                segments.extend((first / segment..=last / segment).map(|it| it as u16));
                segments.sort_unstable();
                segments.dedup();
            }
        }
    }

    fn owner(&self, bar: &BarPlan, number: u16) -> GroupIndex {
        let virtuals = &self.topology.virtuals;
        let found = virtuals
            .iter()
            .position(|it| it.physical == bar.function && it.number == number);
        match found.filter(|_| bar.virtuals > 0) {
            Some(found) => self.groups.of_virtual(VirtualIndex(found)),
            None => self.groups.of(bar.function),
        }
    }

    /// PEs of the bridges above any member, and of the physical function.
    fn parents(&self, at: GroupIndex, allotment: &Allotment) -> Vec<PeNumber> {
        let group = self.groups.get(at);
        let physical = group
            .virtuals
            .iter()
            .map(|it| self.topology.virtuals[it.0].physical);
        let mut found = Vec::new();
        for member in group.functions.iter().copied().chain(physical.clone()) {
            let above = physical.clone().filter(|it| *it == member);
            for ancestor in above.chain(self.topology.ancestors(member)) {
                let parent = self.groups.of(ancestor);
                if let Some(pe) = allotment.pe(parent).filter(|_| parent != at)
                    && !found.contains(&pe)
                {
                    found.push(pe);
                }
            }
        }
        found
    }

    pub(super) fn wants_pe(&self, at: GroupIndex) -> Option<GroupKind> {
        let group = self.groups.get(at);
        let active = group
            .functions
            .iter()
            .any(|it| is_active(self.topology, &self.excluded, *it));
        let virtuals = group.virtuals.iter().any(|it| {
            let physical = self.topology.virtuals[it.0].physical;
            self.has_virtuals(physical) && is_active(self.topology, &self.excluded, physical)
        });
        (active || virtuals).then_some(group.kind)
    }
}
