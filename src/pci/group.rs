//! Groups: which functions share a PE because nothing keeps them apart.

use super::acs::{self, AcsBits};
use super::address::FunctionId;
use super::bar::{Bar, BarKind};
use super::phb::PhbInfo;
use super::topology::{BusKind, Function, FunctionIndex, PrefetchWindow, Topology};
use alloc::vec::Vec;
use core::fmt;

/// A group's place in [`Groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIndex(pub(super) usize);

impl GroupIndex {
    /// As a plain number.
    pub fn get(self) -> usize {
        self.0
    }
}

/// A virtual function's place in [`Topology::virtuals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualIndex(pub(super) usize);

impl VirtualIndex {
    /// As a plain number.
    pub fn get(self) -> usize {
        self.0
    }
}

/// What a group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupKind {
    /// Can be assigned to a partition.
    Endpoint,
    /// A bridge with a PE of its own, so that its errors are told apart. Never
    /// assigned; masters the bus only for those below it.
    Fabric,
    /// All its functions have faults: in the reserved PE, never enabled.
    LeftAlone,
}

/// Why functions are in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Behind a bridge to conventional PCI all requests carry one RID.
    SharedRid {
        /// The bridge.
        bridge: FunctionId,
    },
    /// A switch's port lets requests pass to its siblings or under false RIDs.
    Port {
        /// The port.
        port: FunctionId,
        /// Services that it lacks.
        lacks: AcsBits,
    },
    /// A function of a device reaches the others inside it.
    Device {
        /// The function.
        function: FunctionId,
        /// Services that it lacks.
        lacks: AcsBits,
    },
    /// Virtual functions' registers cannot lie in segments of their own.
    VirtualBars {
        /// The physical function.
        physical: FunctionId,
        /// Number of the BAR.
        bar: u8,
        /// Why not.
        why: Inseparable,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedRid { bridge } => {
                write!(f, "behind PCI bridge {} all have one RID", bridge.bdfn)
            }
            Self::Port { port, lacks } if *lacks == AcsBits::PORT => {
                write!(f, "port {} lacks all of ACS", port.bdfn)
            }
            Self::Port { port, lacks } => write!(f, "port {} lacks {lacks}", port.bdfn),
            Self::Device { function, lacks } => {
                write!(f, "function {} lacks {lacks}", function.bdfn)
            }
            Self::VirtualBars { physical, bar, why } => {
                write!(f, "VF BAR {bar} of {} {why}", physical.bdfn)
            }
        }
    }
}

/// Why virtual functions' registers cannot be separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inseparable {
    /// Not 64-bit prefetchable, and smaller than an M32 segment.
    NotPrefetchable,
    /// A bridge above takes no 64-bit prefetchable memory.
    Bridge,
    /// No M64 BAR is left to split them.
    NoM64Bar,
    /// The M64 BAR would be smaller than it can be, or larger than M64.
    Size,
}

impl fmt::Display for Inseparable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPrefetchable => "is not 64-bit prefetchable and below a segment",
            Self::Bridge => "is behind a bridge without 64-bit prefetchable window",
            Self::NoM64Bar => "finds no free M64 BAR",
            Self::Size => "has a size that no M64 BAR can split",
        })
    }
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What it is for.
    pub kind: GroupKind,
    /// Its physical functions, in order of the scan. Those with faults belong
    /// to it too, but are never enabled.
    pub functions: Vec<FunctionIndex>,
    /// Its virtual functions.
    pub virtuals: Vec<VirtualIndex>,
    /// Why it has more than one member; empty if it has one.
    pub reasons: Vec<Reason>,
}

/// How a physical function's virtual functions are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VfSplit {
    /// Not at all: they are one group.
    Together,
    /// Each in PE number base + n; every BAR in an M64 BAR of its own or, if it
    /// fills them, in M32 segments.
    Each,
}

/// All groups of a PHB: every function is in exactly one.
#[derive(Clone, Debug)]
pub struct Groups {
    groups: Vec<Group>,
    of_function: Vec<GroupIndex>,
    of_virtual: Vec<GroupIndex>,
    splits: Vec<(FunctionIndex, VfSplit)>,
}

impl Groups {
    /// All groups with their indices, ordered by first member.
    pub fn iter(&self) -> impl Iterator<Item = (GroupIndex, &Group)> {
        self.groups
            .iter()
            .enumerate()
            .map(|(at, group)| (GroupIndex(at), group))
    }

    /// The group with this index.
    pub fn get(&self, at: GroupIndex) -> &Group {
        &self.groups[at.0]
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The group of a function.
    pub fn of(&self, function: FunctionIndex) -> GroupIndex {
        self.of_function[function.0]
    }

    /// The group of a virtual function.
    pub fn of_virtual(&self, function: VirtualIndex) -> GroupIndex {
        self.of_virtual[function.0]
    }

    /// The groups of all virtual functions, in the topology's order.
    pub fn of_virtuals(&self) -> impl Iterator<Item = GroupIndex> + '_ {
        self.of_virtual.iter().copied()
    }

    /// How the virtual functions of `physical` are kept apart.
    pub fn split(&self, physical: FunctionIndex) -> VfSplit {
        let found = self.splits.iter().find(|(at, _)| *at == physical);
        found.map_or(VfSplit::Together, |(_, split)| *split)
    }
}

/// Finds the groups of what a scan found.
///
/// Functions are united when one can reach the other, or take on its RID,
/// without passing the PHB; when a bridge hides their RIDs; or when hardware
/// cannot tell their registers apart. Everything else is apart.
pub fn group(topology: &Topology, phb: &PhbInfo) -> Groups {
    let mut builder = Builder {
        topology,
        phb,
        parents: (0..topology.functions.len() + topology.virtuals.len()).collect(),
        reasons: Vec::new(),
        splits: Vec::new(),
        m64_bars: phb.vf_bars().len(),
    };
    for (_, bus) in topology.iter_buses() {
        match (bus.kind, bus.bridge) {
            (BusKind::Conventional, Some(bridge)) => builder.conventional(bridge),
            (BusKind::Switch, Some(_)) => builder.switch(&bus.functions),
            (BusKind::Link, Some(_)) => builder.device(&bus.functions),
            _ => {}
        }
    }
    for (at, function) in topology.iter() {
        if function.virtuals.is_some() {
            builder.virtuals(at, function);
        }
    }
    builder.finish()
}

struct Builder<'a> {
    topology: &'a Topology,
    phb: &'a PhbInfo,
    /// Union-find over functions, then virtual functions.
    parents: Vec<usize>,
    reasons: Vec<(usize, Reason)>,
    splits: Vec<(FunctionIndex, VfSplit)>,
    m64_bars: usize,
}

impl Builder<'_> {
    fn conventional(&mut self, bridge: FunctionIndex) {
        let reason = Reason::SharedRid {
            bridge: self.topology[bridge].id,
        };
        // The bridge too: it may send on its own behalf under either RID, and
        // bridges below it share what they forward.
        let mut members: Vec<usize> = alloc::vec![bridge.0];
        for function in self.topology.below(bridge) {
            members.push(function.0);
            members.extend(self.virtual_nodes(function));
        }
        self.unite(&members, reason);
    }

    fn switch(&mut self, ports: &[FunctionIndex]) {
        for port in ports {
            let function = &self.topology[*port];
            let lacks = acs::missing(function);
            let quiet = function.is_bridge() && self.topology.below(*port).next().is_none();
            if lacks.is_empty() || quiet {
                continue;
            }
            let reason = Reason::Port {
                port: function.id,
                lacks,
            };
            let mut members = Vec::new();
            for sibling in ports {
                members.extend(self.endpoints(*sibling));
            }
            if lacks.contains(AcsBits::SOURCE_VALIDATION) {
                members.extend(self.endpoints(self.validator_above(*port)));
            }
            self.unite(&members, reason);
        }
    }

    fn device(&mut self, functions: &[FunctionIndex]) {
        let lacking = functions
            .iter()
            .find(|at| !acs::missing(&self.topology[**at]).is_empty());
        let Some(lacking) = lacking.filter(|_| functions.len() > 1) else {
            return;
        };
        let function = &self.topology[*lacking];
        let reason = Reason::Device {
            function: function.id,
            lacks: acs::missing(function),
        };
        let mut members = Vec::new();
        for function in functions {
            members.extend(self.endpoints(*function));
        }
        self.unite(&members, reason);
    }

    /// The nearest port above that drops requests with others' RIDs; the
    /// topmost bridge if there is none.
    fn validator_above(&self, port: FunctionIndex) -> FunctionIndex {
        let mut top = port;
        for bridge in self.topology.ancestors(port) {
            top = bridge;
            let function = &self.topology[bridge];
            let switch = self.topology[function.bus].kind == BusKind::Switch;
            if switch
                && AcsBits::from_bits_truncate(function.acs).contains(AcsBits::SOURCE_VALIDATION)
            {
                break;
            }
        }
        top
    }

    /// The function itself with its virtual ones, or all endpoints below it.
    fn endpoints(&self, at: FunctionIndex) -> Vec<usize> {
        let mut found = Vec::new();
        let mut add = |at: FunctionIndex| {
            if !self.topology[at].is_bridge() {
                found.push(at.0);
                found.extend(self.virtual_nodes(at));
            }
        };
        add(at);
        self.topology.below(at).for_each(add);
        found
    }

    fn virtual_nodes(&self, physical: FunctionIndex) -> impl Iterator<Item = usize> + '_ {
        let base = self.topology.functions.len();
        let all = self.topology.virtuals.iter().enumerate();
        all.filter(move |(_, it)| it.physical == physical)
            .map(move |(at, _)| base + at)
    }

    /// Virtual functions without ACS are apart, unlike functions of a device: a
    /// device with SR-IOV that can connect them must have it (SR-IOV 1.1, 3.7.4),
    /// and where their physical function was united with others they are too.
    fn virtuals(&mut self, at: FunctionIndex, function: &Function) {
        let Some(set) = function.virtuals else { return };
        let nodes: Vec<usize> = self.virtual_nodes(at).collect();
        let roots: Vec<usize> = nodes.iter().map(|node| self.root(*node)).collect();
        if roots.windows(2).all(|pair| pair[0] == pair[1]) {
            // One of them, or all united already: no need for M64 BARs.
            self.splits.push((at, VfSplit::Together));
            return;
        }
        let memory: Vec<Bar> = set.bars.into_iter().flatten().collect();
        let wanted = memory.iter().filter(|bar| self.needs_m64_bar(bar)).count();
        let refused = memory.iter().find_map(|bar| {
            self.inseparable(at, bar, wanted)
                .map(|why| (bar.index, why))
        });
        match refused {
            None => {
                self.m64_bars -= wanted;
                self.splits.push((at, VfSplit::Each));
            }
            Some((bar, why)) => {
                let reason = Reason::VirtualBars {
                    physical: function.id,
                    bar,
                    why,
                };
                self.unite(&nodes, reason);
            }
        }
    }

    /// A BAR of a segment's size or more can lie in M32 segments of its own.
    fn needs_m64_bar(&self, bar: &Bar) -> bool {
        let m64 = matches!(bar.kind, BarKind::Memory64 { prefetchable: true });
        m64 || bar.size < self.phb.m32_segment()
    }

    fn inseparable(&self, at: FunctionIndex, bar: &Bar, wanted: usize) -> Option<Inseparable> {
        if !self.needs_m64_bar(bar) {
            return None;
        }
        if !matches!(bar.kind, BarKind::Memory64 { prefetchable: true }) {
            return Some(Inseparable::NotPrefetchable);
        }
        if !takes_m64(self.topology, at) {
            return Some(Inseparable::Bridge);
        }
        let Some(m64) = self.phb.m64() else {
            return Some(Inseparable::NoM64Bar);
        };
        if wanted > self.m64_bars {
            return Some(Inseparable::NoM64Bar);
        }
        let block = bar.size.checked_mul(u64::from(self.phb.pes()));
        let fits = |block: u64| {
            (self.phb.generation().smallest_m64()..=m64.window.size / 2).contains(&block)
        };
        (!block.is_some_and(fits)).then_some(Inseparable::Size)
    }

    fn root(&mut self, node: usize) -> usize {
        let mut at = node;
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    /// Unites; the reason is kept only if it changed something.
    fn unite(&mut self, members: &[usize], reason: Reason) {
        let Some(first) = members.first() else { return };
        let mut changed = false;
        for member in members {
            let (a, b) = (self.root(*first), self.root(*member));
            // The smaller stays root: groups are ordered by first member.
            self.parents[a.max(b)] = a.min(b);
            changed |= a != b;
        }
        if changed {
            self.reasons.push((*first, reason));
        }
    }

    fn finish(mut self) -> Groups {
        let functions = self.topology.functions.len();
        let nodes = self.parents.len();
        let mut index_of_root = alloc::vec![None; nodes];
        let mut groups: Vec<Group> = Vec::new();
        let mut of = Vec::with_capacity(nodes);
        for node in 0..nodes {
            let root = self.root(node);
            let at = *index_of_root[root].get_or_insert_with(|| {
                groups.push(Group {
                    kind: GroupKind::LeftAlone,
                    functions: Vec::new(),
                    virtuals: Vec::new(),
                    reasons: Vec::new(),
                });
                groups.len() - 1
            });
            match node.checked_sub(functions) {
                None => groups[at].functions.push(FunctionIndex(node)),
                Some(number) => groups[at].virtuals.push(VirtualIndex(number)),
            }
            of.push(GroupIndex(at));
        }
        for (node, reason) in core::mem::take(&mut self.reasons) {
            let root = self.root(node);
            if let Some(at) = index_of_root[root] {
                groups[at].reasons.push(reason);
            }
        }
        for group in &mut groups {
            group.kind = kind(self.topology, group);
        }
        let of_virtual = of.split_off(functions);
        Groups {
            groups,
            of_function: of,
            of_virtual,
            splits: self.splits,
        }
    }
}

fn kind(topology: &Topology, group: &Group) -> GroupKind {
    let usable = |at: &&FunctionIndex| topology[**at].usable;
    let endpoint = group
        .functions
        .iter()
        .filter(usable)
        .any(|at| !topology[*at].is_bridge());
    if endpoint || !group.virtuals.is_empty() {
        GroupKind::Endpoint
    } else if group.functions.iter().any(|at| topology[*at].usable) {
        GroupKind::Fabric
    } else {
        GroupKind::LeftAlone
    }
}

/// Whether all bridges above pass 64-bit prefetchable memory.
pub(super) fn takes_m64(topology: &Topology, at: FunctionIndex) -> bool {
    topology.ancestors(at).all(|bridge| {
        topology[bridge]
            .bridge
            .is_some_and(|it| it.prefetch == PrefetchWindow::Bits64)
    })
}
