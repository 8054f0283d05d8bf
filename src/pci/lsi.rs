//! Interrupt pins: four lines per PHB, shared by whoever is wired to them.

use super::group::{GroupIndex, GroupKind, Groups};
use super::topology::{BusKind, FunctionIndex, Topology};
use alloc::vec::Vec;

/// The PHB's line, 0 to 3, that a function's pin arrives at; `None` without a
/// pin. Each bridge rotates the pins by the device number (PCI Express 4.0,
/// 2.2.8.1), and so does skiboot when it builds `interrupt-map`.
pub fn line(topology: &Topology, at: FunctionIndex) -> Option<u8> {
    let function = &topology[at];
    let mut line = function.pin.checked_sub(1)?;
    let mut below = at;
    while topology[topology[below].bus].kind != BusKind::Root {
        line = (line + topology[below].id.bdfn.device()) % 4;
        below = topology.above(below)?;
    }
    Some(line)
}

/// Which groups would use each line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    users: [Vec<GroupIndex>; 4],
}

impl Lines {
    /// Counts the active functions of groups that can be assigned. Bridges keep
    /// their pins quiet.
    pub fn new(
        topology: &Topology,
        groups: &Groups,
        active: impl Fn(FunctionIndex) -> bool,
    ) -> Self {
        let mut lines = Self::default();
        for (at, _) in topology
            .iter()
            .filter(|(at, it)| !it.is_bridge() && active(*at))
        {
            let group = groups.of(at);
            let Some(line) = line(topology, at) else {
                continue;
            };
            let users = &mut lines.users[usize::from(line)];
            if groups.get(group).kind == GroupKind::Endpoint && !users.contains(&group) {
                users.push(group);
            }
        }
        lines
    }

    /// The groups on a line; more than one means that none gets it, as one
    /// could keep it asserted and starve the others.
    pub fn users(&self, line: u8) -> &[GroupIndex] {
        self.users.get(usize::from(line)).map_or(&[], Vec::as_slice)
    }

    /// The line that `at` may use: the one it is wired to, if no other group is.
    pub fn grant(&self, topology: &Topology, groups: &Groups, at: FunctionIndex) -> Option<u8> {
        line(topology, at).filter(|line| self.users(*line) == [groups.of(at)])
    }
}
