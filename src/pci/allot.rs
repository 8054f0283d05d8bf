//! Who gets which PE number.

use super::address::PeNumber;
use super::group::{GroupIndex, GroupKind, VfSplit, VirtualIndex};
use super::layout::{Placed, What};
use super::planner::Planner;
use super::problem::{Fault, Problem};
use super::sriov::VfFault;
use super::topology::FunctionIndex;
use alloc::vec::Vec;

/// PE numbers by group.
#[derive(Clone, Debug)]
pub struct Allotment {
    /// Owner of each PE; index is the PE number.
    owners: Vec<Option<GroupIndex>>,
    /// The PE with a group's RIDs.
    own: Vec<Option<PeNumber>>,
    first: Vec<(FunctionIndex, u16)>,
}

impl Allotment {
    /// The PE with a group's RIDs.
    pub fn pe(&self, at: GroupIndex) -> Option<PeNumber> {
        self.own[at.0]
    }

    /// Further PEs, whose M64 segments the group has.
    pub fn companions(&self, at: GroupIndex) -> Vec<PeNumber> {
        let all = self
            .owners
            .iter()
            .zip(0u16..)
            .filter(|(owner, _)| **owner == Some(at));
        all.map(|(_, number)| PeNumber::new(number))
            .filter(|pe| Some(*pe) != self.own[at.0])
            .collect()
    }

    /// The PE of the first virtual function of `physical`; the others follow.
    pub fn first_pe(&self, physical: FunctionIndex) -> u16 {
        let found = self.first.iter().find(|(at, _)| *at == physical);
        found.map_or(0, |(_, first)| *first)
    }

    fn take(&mut self, number: u16, group: GroupIndex) {
        self.owners[usize::from(number)] = Some(group);
        self.own[group.0].get_or_insert(PeNumber::new(number));
    }
}

/// Numbers PEs: where M64 segments force a number, those first, then runs for
/// virtual functions, then endpoints, then bridges as far as they go round.
///
/// `None` if there are too few; someone was then left out.
pub(super) fn allot(planner: &mut Planner<'_>, m64: &[Placed]) -> Option<Allotment> {
    let mut allotment = Allotment {
        owners: alloc::vec![None; usize::from(planner.phb.pes())],
        own: alloc::vec![None; planner.groups.len()],
        first: Vec::new(),
    };
    take_segments(planner, m64, &mut allotment);
    for at in planner.active().collect::<Vec<_>>() {
        if planner.has_virtuals(at) && planner.groups.split(at) == VfSplit::Each {
            take_run(planner, at, &mut allotment)?;
        }
    }
    let pes = planner.phb.pes();
    let (mut excess, mut physicals) = (Vec::new(), Vec::new());
    for kind in [GroupKind::Endpoint, GroupKind::Fabric] {
        for (at, group) in planner.groups.iter() {
            if planner.wants_pe(at) != Some(kind) || allotment.own[at.0].is_some() {
                continue;
            }
            let number = free(planner, &allotment).next();
            match number {
                Some(number) => allotment.take(number, at),
                // A bridge does without, unless its own registers need one.
                None if kind == GroupKind::Fabric && !has_registers(planner, at) => {}
                None => {
                    excess.extend(group.functions.iter().copied());
                    physicals.extend(
                        group
                            .virtuals
                            .iter()
                            .map(|it| planner.topology.virtuals[it.get()].physical),
                    );
                }
            }
        }
    }
    if excess.is_empty() && physicals.is_empty() {
        return Some(allotment);
    }
    physicals.sort_unstable();
    physicals.dedup();
    physicals
        .into_iter()
        .for_each(|at| no_virtuals(planner, at));
    excess
        .into_iter()
        .for_each(|at| planner.leave_alone(at, Fault::NoPe { pes }));
    None
}

fn free<'a>(planner: &Planner<'_>, allotment: &'a Allotment) -> impl Iterator<Item = u16> + 'a {
    let reserved = planner.phb.reserved().get();
    let all = allotment.owners.iter().zip(0u16..);
    all.filter(move |(owner, number)| owner.is_none() && *number != reserved)
        .map(|(_, number)| number)
}

fn has_registers(planner: &Planner<'_>, at: GroupIndex) -> bool {
    let members = planner.groups.get(at).functions.iter();
    members
        .flat_map(|it| planner.topology[*it].bars.iter().flatten())
        .any(|bar| bar.kind.is_memory())
}

/// Segment n of M64 belongs to PE n, so whoever lies there has that PE.
fn take_segments(planner: &Planner<'_>, m64: &[Placed], allotment: &mut Allotment) {
    let Some(split) = planner.phb.m64() else {
        return;
    };
    for it in m64 {
        let group = match it.what {
            What::Window(_) => continue,
            What::Bar(at, _) => planner.groups.of(at),
            What::VirtualBar(at, _) if planner.groups.split(at) == VfSplit::Each => {
                planner.groups.of(at)
            }
            What::VirtualBar(at, _) => {
                let first = planner
                    .topology
                    .virtuals
                    .iter()
                    .position(|it| it.physical == at);
                match first {
                    Some(first) => planner.groups.of_virtual(VirtualIndex(first)),
                    None => continue,
                }
            }
        };
        let last = it.offset + it.size - 1;
        for segment in it.offset / split.segment..=last / split.segment {
            // Below the number of PEs, as the layout ends there.
            allotment.take(segment as u16, group);
        }
    }
}

/// Consecutive PEs for the virtual functions of one physical function.
fn take_run(planner: &mut Planner<'_>, at: FunctionIndex, allotment: &mut Allotment) -> Option<()> {
    let groups: Vec<GroupIndex> = (0..planner.topology.virtuals.len())
        .filter(|number| planner.topology.virtuals[*number].physical == at)
        .map(|number| planner.groups.of_virtual(VirtualIndex(number)))
        .collect();
    let numbers: Vec<u16> = free(planner, allotment).collect();
    let consecutive = |run: &&[u16]| run.windows(2).all(|pair| pair[1] == pair[0] + 1);
    // Runs at the top leave the low numbers to what comes after.
    match numbers.windows(groups.len().max(1)).rfind(consecutive) {
        Some(run) => {
            allotment.first.push((at, run[0]));
            groups
                .iter()
                .zip(run)
                .for_each(|(group, number)| allotment.take(*number, *group));
            Some(())
        }
        None => {
            no_virtuals(planner, at);
            None
        }
    }
}

fn no_virtuals(planner: &mut Planner<'_>, at: FunctionIndex) {
    let pes = planner.phb.pes();
    let function = &planner.topology[at];
    let count = function.virtuals.map_or(0, |set| set.range.count);
    let fault = Fault::Virtual(VfFault::NoPes { count, pes });
    planner.virtuals_off[at.0] = true;
    planner.problems.push(Problem {
        function: function.id,
        fault,
    });
}
