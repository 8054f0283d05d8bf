//! Functions in a tree, reached as hardware reaches them: by the bus numbers
//! that software wrote into the bridges.

use super::device::DeviceModel;
use crate::pci::registers::{self as reg, express, sriov};
use crate::pci::{Bdfn, ConfigAccess, ConfigError, FunctionId, PhbId};

/// A function of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) usize);

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) parent: Option<NodeId>,
    pub(super) devfn: u8,
    pub(super) model: DeviceModel,
    present: bool,
}

/// All below one PHB.
#[derive(Clone, Debug)]
pub struct SimPci {
    phb: PhbId,
    pub(super) nodes: Vec<Node>,
    config_size: u16,
    /// Milliseconds that callers let pass.
    pub paused: u32,
    /// Accesses, for bounds on a scan's cost.
    pub accesses: u64,
}

impl SimPci {
    /// An empty PHB with `config_size` bytes of configuration space.
    pub fn new(phb: PhbId, config_size: u16) -> Self {
        Self {
            phb,
            nodes: Vec::new(),
            config_size,
            paused: 0,
            accesses: 0,
        }
    }

    /// Its PHB.
    pub fn phb(&self) -> PhbId {
        self.phb
    }

    /// Puts a function at `device.function` below `parent`; the root bus if
    /// that is `None`.
    pub fn add(
        &mut self,
        parent: Option<NodeId>,
        device: u8,
        function: u8,
        model: DeviceModel,
    ) -> NodeId {
        self.nodes.push(Node {
            parent,
            devfn: device << 3 | function,
            model,
            present: true,
        });
        NodeId(self.nodes.len() - 1)
    }

    /// Takes a function away, as hot-unplug does.
    pub fn remove(&mut self, node: NodeId) {
        self.nodes[node.0].present = false;
    }

    /// Undoes [`SimPci::remove`]: it answers again, as it was.
    pub fn bring_back(&mut self, node: NodeId) {
        self.nodes[node.0].present = true;
    }

    /// All functions, those that were taken away included.
    pub fn all(&self) -> Vec<NodeId> {
        (0..self.nodes.len()).map(NodeId).collect()
    }

    /// The model of a function.
    pub fn model(&self, node: NodeId) -> &DeviceModel {
        &self.nodes[node.0].model
    }

    /// The model of a function, to change it.
    pub fn model_mut(&mut self, node: NodeId) -> &mut DeviceModel {
        &mut self.nodes[node.0].model
    }

    /// The RID that a function has with the bus numbers of now.
    pub fn bdfn(&self, node: NodeId) -> Bdfn {
        let node = &self.nodes[node.0];
        let bus = node.parent.map_or(0, |parent| self.secondary(parent));
        Bdfn::on_bus(bus, node.devfn)
    }

    fn secondary(&self, bridge: NodeId) -> u8 {
        (self.model(bridge).get16(reg::BUS_NUMBERS) >> 8) as u8
    }

    fn subordinate(&self, bridge: NodeId) -> u8 {
        self.model(bridge).get16(reg::BUS_NUMBERS + 2) as u8
    }

    pub(super) fn children(&self, parent: Option<NodeId>) -> impl Iterator<Item = NodeId> + '_ {
        let here = move |node: &&Node| node.present && node.parent == parent;
        self.nodes
            .iter()
            .enumerate()
            .filter(move |(_, node)| here(node))
            .map(|(at, _)| NodeId(at))
    }

    /// The bridge whose secondary bus is `bus`, following the numbers down.
    fn bridge_to(&self, bus: u8) -> Option<NodeId> {
        let mut parent = None;
        // A cycle cannot be built, but stale numbers may lead nowhere.
        for _ in 0..=self.nodes.len() {
            let next = self.children(parent).find(|node| {
                let range = self.secondary(*node)..=self.subordinate(*node);
                self.is_bridge(*node) && *range.start() != 0 && range.contains(&bus)
            })?;
            if self.secondary(next) == bus {
                return Some(next);
            }
            parent = Some(next);
        }
        None
    }

    pub(super) fn is_bridge(&self, node: NodeId) -> bool {
        self.model(node).get32(0x0c) >> 16 & 0x7f == 1
    }

    /// Who answers: a function, or a virtual one of a function.
    pub(super) fn route(&self, bdfn: Bdfn) -> Option<(NodeId, Option<u16>)> {
        let parent = if bdfn.bus() == 0 {
            None
        } else {
            Some(self.bridge_to(bdfn.bus())?)
        };
        if let Some(port) = parent.filter(|port| bdfn.device() != 0 && self.is_link(*port)) {
            let at = self.model(port).express? + express::DEVICE_CONTROL_2;
            if u32::from(self.model(port).get16(at)) & express::ARI_FORWARDING == 0 {
                return None;
            }
        }
        let found = self
            .children(parent)
            .find(|node| self.nodes[node.0].devfn == bdfn.devfn());
        found
            .map(|node| (node, None))
            .or_else(|| self.virtual_at(bdfn))
    }

    fn is_link(&self, port: NodeId) -> bool {
        matches!(self.model(port).port, 4 | 6)
    }

    fn virtual_at(&self, bdfn: Bdfn) -> Option<(NodeId, Option<u16>)> {
        (0..self.nodes.len())
            .map(NodeId)
            .filter(|node| self.nodes[node.0].present)
            .find_map(|node| {
                let model = self.model(node);
                let at = model.sriov?;
                if model.get16(at + sriov::CONTROL) & sriov::VF_ENABLE == 0 {
                    return None;
                }
                let own = self.bdfn(node).rid();
                (0..model.get16(at + sriov::NUM_VFS)).find_map(|number| {
                    let offset = model.get16(at + sriov::FIRST_OFFSET);
                    let stride = model.get16(at + sriov::STRIDE);
                    let rid = own
                        .wrapping_add(offset)
                        .wrapping_add(stride.wrapping_mul(number));
                    (rid == bdfn.rid()).then_some((node, Some(number)))
                })
            })
    }

    /// Memory BARs of a function as its registers have them: address and size.
    pub(super) fn memory_bars(&self, node: NodeId) -> Vec<(u64, u64)> {
        let model = self.model(node);
        let end = if self.is_bridge(node) { 0x18 } else { 0x28 };
        let mut found = Vec::new();
        let mut at = reg::BAR0;
        while at < end {
            let (low, mask) = (model.get32(at), model.mask32(at));
            if low & 1 != 0 || (mask == 0 && low & 0xf == 0) {
                at += 4;
                continue;
            }
            let wide = low & 6 == 4;
            let high = |value: u32| if wide { u64::from(value) << 32 } else { 0 };
            let address = u64::from(low & !0xf) | high(model.get32(at + 4));
            let top = if wide {
                u64::from(model.mask32(at + 4)) << 32
            } else {
                0xffff_ffff << 32
            };
            found.push((address, (u64::from(mask) | top).wrapping_neg()));
            at += if wide { 8 } else { 4 };
        }
        found
    }

    /// Whether all bridges above pass the range, one of their windows each.
    pub(super) fn is_passed(&self, node: NodeId, address: u64, size: u64) -> bool {
        let mut above = self.nodes[node.0].parent;
        while let Some(bridge) = above {
            let model = self.model(bridge);
            let window = |at: u16, base_high: u32, limit_high: u32| {
                let value = model.get32(at);
                let base = u64::from(base_high) << 32 | u64::from(value & 0xfff0) << 16;
                let limit = u64::from(limit_high) << 32 | u64::from(value & 0xfff0_0000) | 0xf_ffff;
                base <= address && address + (size - 1) <= limit
            };
            let (base, limit) = (
                model.get32(reg::PREFETCH_BASE_HIGH),
                model.get32(reg::PREFETCH_LIMIT_HIGH),
            );
            let decodes = model.get16(reg::COMMAND) & 2 != 0;
            if !decodes
                || !(window(reg::MEMORY_WINDOW, 0, 0) || window(reg::PREFETCH_WINDOW, base, limit))
            {
                return false;
            }
            above = self.nodes[bridge.0].parent;
        }
        true
    }

    /// Function level reset: command and BARs are lost.
    pub fn reset(&mut self, bdfn: Bdfn) {
        let Some((node, None)) = self.route(bdfn) else {
            return;
        };
        let end = if self.is_bridge(node) { 0x18 } else { 0x28 };
        let model = &mut self.nodes[node.0].model;
        model.write(reg::COMMAND, 2, 0);
        (reg::BAR0..end)
            .step_by(4)
            .for_each(|at| model.write(at, 4, 0));
    }

    fn read(&mut self, function: FunctionId, offset: u16, size: u16) -> Result<u32, ConfigError> {
        self.accesses += 1;
        self.check(function, offset, size)?;
        Ok(match self.route(function.bdfn) {
            None => u32::MAX >> (32 - 8 * size),
            Some((node, None)) => self.nodes[node.0].model.read(offset, size),
            // A virtual function's ids read as all ones (SR-IOV 1.1, 3.4.1).
            Some((_, Some(_))) if offset < 4 => u32::MAX >> (32 - 8 * size),
            Some((_, Some(_))) => 0,
        })
    }

    fn write(
        &mut self,
        function: FunctionId,
        offset: u16,
        size: u16,
        value: u32,
    ) -> Result<(), ConfigError> {
        self.accesses += 1;
        self.check(function, offset, size)?;
        if let Some((node, None)) = self.route(function.bdfn) {
            self.nodes[node.0].model.write(offset, size, value);
        }
        Ok(())
    }

    fn check(&self, function: FunctionId, offset: u16, size: u16) -> Result<(), ConfigError> {
        // As skiboot does: the root bus has one device, and the rest is an error.
        let beyond_root = function.bdfn.bus() == 0 && function.bdfn.devfn() != 0;
        if function.phb != self.phb || beyond_root || offset + size > self.config_size {
            return Err(ConfigError::Refused {
                function,
                offset,
                status: -6,
            });
        }
        Ok(())
    }
}

impl ConfigAccess for SimPci {
    fn read8(&mut self, function: FunctionId, offset: u16) -> Result<u8, ConfigError> {
        Ok(self.read(function, offset, 1)? as u8)
    }

    fn read16(&mut self, function: FunctionId, offset: u16) -> Result<u16, ConfigError> {
        Ok(self.read(function, offset, 2)? as u16)
    }

    fn read32(&mut self, function: FunctionId, offset: u16) -> Result<u32, ConfigError> {
        self.read(function, offset, 4)
    }

    fn write8(&mut self, function: FunctionId, offset: u16, value: u8) -> Result<(), ConfigError> {
        self.write(function, offset, 1, value.into())
    }

    fn write16(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u16,
    ) -> Result<(), ConfigError> {
        self.write(function, offset, 2, value.into())
    }

    fn write32(
        &mut self,
        function: FunctionId,
        offset: u16,
        value: u32,
    ) -> Result<(), ConfigError> {
        self.write(function, offset, 4, value)
    }

    fn pause(&mut self, milliseconds: u32) {
        self.paused += milliseconds;
    }
}
