//! What a driver does to a PHB, in order, as data: it executes steps and
//! decides nothing, and a model can check the order.
//!
//! The order is that of IODA: RIDs, PELT-V and segments before the DMA window,
//! the window and its kill before bus mastering, and the reverse to stop.

use super::address::{FunctionId, PeNumber};
use super::bar::{Bar, BarKind};
use super::function::Command;
use super::group::{GroupIndex, GroupKind, Groups, VirtualIndex};
use super::phb::PhbInfo;
use super::plan::{BridgePlan, GroupPlan, Plan};
use super::registers::{self as reg, sriov};
use super::rid::RidMatch;
pub use super::step::{Step, Width};
use super::topology::{FunctionIndex, ResetMethod, Topology};
use crate::addr::BusAddr;
use alloc::vec::Vec;

/// What the lists are made from: one PHB's scan, groups and plan.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The scan.
    pub topology: &'a Topology,
    /// The host bridge.
    pub phb: &'a PhbInfo,
    /// The groups.
    pub groups: &'a Groups,
    /// The plan.
    pub plan: &'a Plan,
}

impl Setup<'_> {
    /// Prepares the PHB: everything in the reserved PE, M64, and the bridges.
    /// To be done once, before any group.
    pub fn prepare(&self) -> Vec<Step> {
        let reserved = self.phb.reserved();
        let mut steps = alloc::vec![
            Step::ResetIoda,
            Step::MapRids {
                pe: reserved,
                rids: RidMatch::All
            },
            Step::Peltv {
                parent: reserved,
                child: reserved,
                on: true
            },
        ];
        // A reset leaves vectors and segments with PE 0, which is a group's like
        // any other: it could send whatever nobody was given (skiboot hw/phb3.c,
        // phb3_init_ioda_cache; hw/phb4.c, phb4_init_ioda_cache).
        steps.push(Step::MapVectors {
            count: self.phb.vectors(),
            pe: reserved,
        });
        steps.extend((0..self.phb.pes()).map(|segment| Step::MapM32 {
            segment,
            pe: reserved,
        }));
        for bar in &self.plan.m64 {
            steps.push(Step::SetM64 {
                number: bar.number,
                base: bar.base,
                size: bar.size,
            });
            steps.push(Step::SplitM64 { number: bar.number });
        }
        for (at, _) in self
            .groups
            .iter()
            .filter(|(_, it)| it.kind == GroupKind::Fabric)
        {
            self.map(at, &mut steps);
        }
        let fabric =
            |it: &&BridgePlan| self.groups.get(self.groups.of(it.bridge)).kind == GroupKind::Fabric;
        for bridge in self.plan.bridges.iter().filter(fabric) {
            self.registers(bridge.bridge, &mut steps);
            // A bridge forwards for those below, whose own PEs decide.
            let command = self.command(bridge.bridge) | Command::BUS_MASTER;
            steps.push(Step::Command {
                function: self.id(bridge.bridge),
                command,
            });
        }
        steps
    }

    /// Brings a group's PE up, without DMA: RIDs, PELT-V, segments, registers,
    /// memory decoding. After [`Self::prepare`]; also again after
    /// [`Self::stop`], whose resets lose the registers.
    pub fn bring_up(&self, group: GroupIndex) -> Vec<Step> {
        let mut steps = Vec::new();
        self.map(group, &mut steps);
        if self.plan.group(group).pe.is_some() {
            for at in self.members(group) {
                self.registers(at, &mut steps);
                steps.push(Step::Command {
                    function: self.id(at),
                    command: self.command(at),
                });
            }
        }
        steps
    }

    /// Enables the virtual functions of `physical`. Their groups and its own
    /// are up by then; nothing if they have no place.
    pub fn enable_virtuals(&self, physical: FunctionIndex) -> Vec<Step> {
        let function = &self.topology[physical];
        let (Some(set), Some(capability)) = (function.virtuals, function.capabilities.sriov) else {
            return Vec::new();
        };
        let first = self
            .topology
            .virtuals
            .iter()
            .position(|it| it.physical == physical);
        let on = |first| {
            self.plan
                .is_active_virtual(self.topology, VirtualIndex(first))
        };
        if !first.is_some_and(on) {
            return Vec::new();
        }
        let (id, base) = (function.id, capability.offset);
        let mut steps = Vec::new();
        for it in self
            .plan
            .bars
            .iter()
            .filter(|it| it.function == physical && it.virtuals > 0)
        {
            write_bar(id, &it.bar, it.address, &mut steps);
        }
        let count = u32::from(set.range.count);
        steps.push(write16(id, base + sriov::NUM_VFS, count));
        let ari = if set.ari { sriov::ARI_HIERARCHY } else { 0 };
        let control = sriov::VF_ENABLE | sriov::VF_MEMORY | ari;
        steps.push(write16(id, base + sriov::CONTROL, control.into()));
        // Before that they need not answer (SR-IOV 1.1, 3.3.3.1).
        steps.push(Step::Wait { milliseconds: 100 });
        steps
    }

    /// Opens the DMA windows of a group that is up, then lets it use them.
    pub fn start(&self, group: GroupIndex) -> Vec<Step> {
        let Some(pe) = self.plan.group(group).pe else {
            return Vec::new();
        };
        let mut steps = alloc::vec![Step::OpenDma { pe }, Step::KillTces { pe }];
        for at in self.members(group) {
            let command = self.command(at) | Command::BUS_MASTER;
            steps.push(Step::Command {
                function: self.id(at),
                command,
            });
        }
        for function in self.virtual_members(group) {
            let command = Command::BUS_MASTER | Command::PARITY | Command::SERR;
            steps.push(Step::Command { function, command });
        }
        steps
    }

    /// Stops a group's DMA and resets its functions. Only after this may the
    /// pages that it reached be given to others.
    pub fn stop(&self, group: GroupIndex) -> Vec<Step> {
        let Some(pe) = self.plan.group(group).pe else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        for at in self.members(group) {
            let command = self.command(at);
            steps.push(Step::Command {
                function: self.id(at),
                command,
            });
        }
        for function in self.virtual_members(group) {
            steps.push(Step::Command {
                function,
                command: Command::empty(),
            });
        }
        steps.extend([Step::CloseDma { pe }, Step::KillTces { pe }]);
        let mut buses = Vec::new();
        let endpoint = |at: &FunctionIndex| !self.topology[*at].is_bridge();
        for at in self.members(group).filter(endpoint) {
            let (function, method) = (&self.topology[at], self.reset_method(at));
            if method == ResetMethod::Bus {
                // One reset of the bus does for all on it, and must not be done
                // to others.
                if buses.contains(&function.bus) || self.shares_bus(at) {
                    continue;
                }
                buses.push(function.bus);
            }
            steps.push(Step::Reset {
                function: function.id,
                method,
            });
        }
        for at in &self.groups.get(group).virtuals {
            if let Some(step) = self.reset_virtual(*at) {
                steps.push(step);
            }
        }
        steps
    }

    /// Gives a stopped group's RIDs and segments back to the reserved PE.
    pub fn release(&self, group: GroupIndex) -> Vec<Step> {
        let plan = self.plan.group(group);
        let Some(pe) = plan.pe else { return Vec::new() };
        let reserved = self.phb.reserved();
        let mut steps = Vec::new();
        for at in self.members(group) {
            steps.push(Step::Command {
                function: self.id(at),
                command: Command::NO_PIN,
            });
        }
        steps.extend(plan.rids.iter().map(|rids| Step::MapRids {
            pe: reserved,
            rids: *rids,
        }));
        steps.extend(plan.m32.iter().map(|segment| Step::MapM32 {
            segment: *segment,
            pe: reserved,
        }));
        steps.extend(links(plan, pe, false));
        steps
    }

    /// Freeze, RIDs, PELT-V and segments of one group.
    fn map(&self, group: GroupIndex, steps: &mut Vec<Step>) {
        let plan = self.plan.group(group);
        let Some(pe) = plan.pe else { return };
        steps.extend(
            plan.companions
                .iter()
                .chain([&pe])
                .map(|pe| Step::ClearFreeze { pe: *pe }),
        );
        steps.extend(
            plan.rids
                .iter()
                .map(|rids| Step::MapRids { pe, rids: *rids }),
        );
        steps.extend(links(plan, pe, true));
        steps.extend(plan.m32.iter().map(|segment| Step::MapM32 {
            segment: *segment,
            pe,
        }));
    }

    /// BARs, and windows of bridges, while decoding is off.
    fn registers(&self, at: FunctionIndex, steps: &mut Vec<Step>) {
        let id = self.id(at);
        steps.push(Step::Command {
            function: id,
            command: Command::NO_PIN,
        });
        for it in self.plan.bars_of(at) {
            write_bar(id, &it.bar, it.address, steps);
        }
        if let Some(bridge) = self.plan.bridges.iter().find(|it| it.bridge == at) {
            write_windows(id, bridge, steps);
        }
    }

    /// What a function is to decode, without bus mastering.
    fn command(&self, at: FunctionIndex) -> Command {
        let mut command = Command::PARITY | Command::SERR;
        let windows = self.plan.bridges.iter().find(|it| it.bridge == at);
        let passes = windows.is_some_and(|it| it.memory.is_some() || it.prefetch.is_some());
        if passes || self.plan.bars_of(at).next().is_some() {
            command |= Command::MEMORY;
        }
        if self
            .plan
            .lines
            .grant(self.topology, self.groups, at)
            .is_none()
        {
            command |= Command::NO_PIN;
        }
        command
    }

    pub(super) fn members(&self, group: GroupIndex) -> impl Iterator<Item = FunctionIndex> + '_ {
        let all = self.groups.get(group).functions.iter().copied();
        all.filter(|at| self.plan.is_active(self.topology, *at))
    }

    fn virtual_members(&self, group: GroupIndex) -> impl Iterator<Item = FunctionId> + '_ {
        let all = self.groups.get(group).virtuals.iter().copied();
        all.filter(|at| self.plan.is_active_virtual(self.topology, *at))
            .map(|at| FunctionId::new(self.topology.phb, self.topology.virtuals[at.get()].bdfn))
    }

    /// Virtual functions have FLR, at the offset their physical one has it
    /// in (SR-IOV 1.1, 2.2.2 requires FLR; the offset is the same in practice
    /// and the driver checks the capability's id there).
    pub(super) fn reset_virtual(&self, at: VirtualIndex) -> Option<Step> {
        let it = self.topology.virtuals[at.get()];
        let offset = self.topology[it.physical].capabilities.express?.offset;
        let active = self.plan.is_active_virtual(self.topology, at);
        let function = FunctionId::new(self.topology.phb, it.bdfn);
        active.then_some(Step::Reset {
            function,
            method: ResetMethod::Express { offset },
        })
    }

    fn id(&self, at: FunctionIndex) -> FunctionId {
        self.topology[at].id
    }
}

/// PELT-V: itself, its companions both ways, and all bridges above.
fn links(plan: &GroupPlan, pe: PeNumber, on: bool) -> Vec<Step> {
    let mut steps = alloc::vec![Step::Peltv {
        parent: pe,
        child: pe,
        on
    }];
    for companion in &plan.companions {
        steps.push(Step::Peltv {
            parent: *companion,
            child: *companion,
            on,
        });
        steps.push(Step::Peltv {
            parent: pe,
            child: *companion,
            on,
        });
        steps.push(Step::Peltv {
            parent: *companion,
            child: pe,
            on,
        });
    }
    for parent in &plan.parents {
        steps.push(Step::Peltv {
            parent: *parent,
            child: pe,
            on,
        });
        let others = plan.companions.iter();
        steps.extend(others.map(|child| Step::Peltv {
            parent: *parent,
            child: *child,
            on,
        }));
    }
    steps
}

fn write16(function: FunctionId, offset: u16, value: u32) -> Step {
    Step::Write {
        function,
        offset,
        width: Width::Two,
        value,
        verify: 0xffff,
    }
}

fn write32(function: FunctionId, offset: u16, value: u32, verify: u32) -> Step {
    Step::Write {
        function,
        offset,
        width: Width::Four,
        value,
        verify,
    }
}

fn write_bar(function: FunctionId, bar: &Bar, address: BusAddr, steps: &mut Vec<Step>) {
    let address = address.get();
    steps.push(write32(
        function,
        bar.offset,
        address as u32 | bar.flags,
        u32::MAX,
    ));
    if matches!(bar.kind, BarKind::Memory64 { .. }) {
        steps.push(write32(
            function,
            bar.offset + 4,
            (address >> 32) as u32,
            u32::MAX,
        ));
    }
}

/// Base above limit closes a window.
fn write_windows(function: FunctionId, bridge: &BridgePlan, steps: &mut Vec<Step>) {
    let fields = |window: Option<(BusAddr, u64)>| match window {
        Some((start, bytes)) => (start.get(), start.get() + (bytes - 1)),
        None => (0xfff0_0000, 0),
    };
    let pack =
        |(base, limit): (u64, u64)| ((base >> 16) as u32 & 0xfff0) | (limit as u32 & 0xfff0_0000);
    // IO windows stay closed. The other half of the register is write-to-clear.
    steps.push(Step::Write {
        function,
        offset: reg::IO_WINDOW,
        width: Width::Two,
        value: 0x00f0,
        verify: 0,
    });
    steps.push(write32(
        function,
        reg::MEMORY_WINDOW,
        pack(fields(bridge.memory)),
        0xfff0_fff0,
    ));
    let prefetch = fields(bridge.prefetch);
    let verify = if bridge.prefetch.is_some() {
        u32::MAX
    } else {
        0
    };
    steps.push(write32(
        function,
        reg::PREFETCH_BASE_HIGH,
        (prefetch.0 >> 32) as u32,
        verify,
    ));
    steps.push(write32(
        function,
        reg::PREFETCH_LIMIT_HIGH,
        (prefetch.1 >> 32) as u32,
        verify,
    ));
    steps.push(write32(
        function,
        reg::PREFETCH_WINDOW,
        pack(prefetch),
        verify & 0xfff0_fff0,
    ));
}
