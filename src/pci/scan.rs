//! Enumeration: a depth-first walk that numbers buses on the way.

use super::address::{Bdfn, FunctionId};
use super::capability::PortType;
use super::config::{ConfigAccess, ConfigError, Registers};
use super::function;
use super::phb::PhbInfo;
use super::problem::{Fault, Problem};
use super::registers::{self as reg, express};
use super::sriov;
use super::topology::{Bus, BusIndex, BusKind, FunctionIndex, Topology, Virtual};
use alloc::vec::Vec;

/// Where bus numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusNumbers {
    /// Keep what firmware set where it is consistent, number the rest. Firmware
    /// names its slots by these numbers, so this is what a machine wants.
    Keep,
    /// Number all anew.
    Assign,
}

/// What a scan is asked to do.
pub struct ScanPolicy<'a> {
    /// Where bus numbers come from.
    pub bus_numbers: BusNumbers,
    /// How many virtual functions a physical one shall have; 0 for none.
    pub virtuals: &'a dyn Fn(FunctionId) -> u16,
    /// The scan ends after this many functions: a machine has fewer, a broken
    /// one may show tens of thousands.
    pub limit: usize,
}

impl Default for ScanPolicy<'_> {
    fn default() -> Self {
        Self {
            bus_numbers: BusNumbers::Keep,
            virtuals: &|_| 0,
            limit: 4096,
        }
    }
}

/// Scans all below `phb`.
///
/// Afterwards no function decodes memory or masters the bus, BARs hold what
/// they held, ACS is on wherever it is present, and NumVFs is set for those
/// that shall have virtual functions. Whatever is wrong is in
/// [`Topology::problems`]; the walk goes on around it.
pub fn scan<C: ConfigAccess + ?Sized>(
    access: &mut C,
    phb: &PhbInfo,
    policy: &ScanPolicy<'_>,
) -> Topology {
    let root = Bus {
        number: phb.first_bus(),
        last: phb.last_bus(),
        kind: BusKind::Root,
        bridge: None,
        functions: Vec::new(),
    };
    let topology = Topology {
        phb: phb.id(),
        buses: alloc::vec![root],
        functions: Vec::new(),
        virtuals: Vec::new(),
        problems: Vec::new(),
    };
    let mut scanner = Scanner {
        access,
        phb,
        policy,
        topology,
    };
    scanner.run();
    scanner.topology
}

struct Scanner<'a, C: ConfigAccess + ?Sized> {
    access: &'a mut C,
    phb: &'a PhbInfo,
    policy: &'a ScanPolicy<'a>,
    topology: Topology,
}

/// A bus whose bridges are being visited.
struct Frame {
    bus: BusIndex,
    /// Bridges still to visit, in reverse; those with kept numbers come first.
    bridges: Vec<(FunctionIndex, Option<Kept>)>,
    /// Highest number that may be given out here.
    limit: u8,
    /// Highest number in use here or below.
    highest: u8,
    /// The bridge above and the numbers to write once all below is known.
    closing: Option<FunctionIndex>,
}

/// Bus numbers that firmware left in a bridge and that hold together.
#[derive(Clone, Copy)]
struct Kept {
    secondary: u8,
    subordinate: u8,
}

impl<C: ConfigAccess + ?Sized> Scanner<'_, C> {
    fn run(&mut self) {
        let mut stack = alloc::vec![self.enter(BusIndex(0), self.phb.last_bus(), None)];
        while let Some(frame) = stack.last_mut() {
            if let Some((bridge, kept)) = frame.bridges.pop() {
                let (bus, limit, highest) = (frame.bus, frame.limit, frame.highest);
                if let Some((below, limit, closing)) =
                    self.descend(bus, bridge, kept, limit, highest)
                {
                    let child = self.enter(below, limit, closing);
                    stack.push(child);
                }
                continue;
            }
            let (bus, highest, closing) = (frame.bus, frame.highest, frame.closing);
            stack.pop();
            let mut last = self.topology[bus].last;
            if let Some(bridge) = closing {
                last = highest;
                self.topology.buses[bus.0].last = last;
                self.close(bridge, bus);
            }
            if let Some(parent) = stack.last_mut() {
                parent.highest = parent.highest.max(last);
            }
        }
    }

    /// Probes the functions of a bus and decides the order of its bridges.
    fn enter(&mut self, bus: BusIndex, limit: u8, closing: Option<FunctionIndex>) -> Frame {
        let number = self.topology[bus].number;
        let highest = self.probe_bus(bus, limit).max(number);
        let mut kept: Vec<(FunctionIndex, Kept)> = Vec::new();
        let mut fresh = Vec::new();
        for function in self.topology[bus].functions.clone() {
            if !self.topology[function].is_bridge() {
                continue;
            }
            if !self.topology[function].usable {
                // Left alone means that nothing passes it either.
                self.report(function, |it| {
                    it.write_bus_numbers(function, 0, 0, 0).map(|_| ())
                });
                continue;
            }
            match self.kept_numbers(function, number, limit) {
                Some(range) if !kept.iter().any(|(_, other)| overlap(range, *other)) => {
                    kept.push((function, range));
                }
                _ => fresh.push(function),
            }
        }
        for function in &fresh {
            // A stale number would make two bridges claim one bus.
            self.report(*function, |it| {
                it.write_bus_numbers(*function, 0, 0, 0).map(|_| ())
            });
        }
        let highest = kept
            .iter()
            .map(|(_, range)| range.subordinate)
            .fold(highest, u8::max);
        let mut bridges: Vec<_> = fresh.into_iter().rev().map(|it| (it, None)).collect();
        bridges.extend(kept.into_iter().rev().map(|(it, range)| (it, Some(range))));
        Frame {
            bus,
            bridges,
            limit,
            highest,
            closing,
        }
    }

    fn kept_numbers(&mut self, bridge: FunctionIndex, bus: u8, limit: u8) -> Option<Kept> {
        if self.policy.bus_numbers == BusNumbers::Assign {
            return None;
        }
        let id = self.topology[bridge].id;
        let value = Registers::new(self.access, id)
            .read32(reg::BUS_NUMBERS)
            .ok()?;
        let [primary, secondary, subordinate, _] = value.to_le_bytes();
        let valid =
            primary == bus && secondary > bus && secondary <= subordinate && subordinate <= limit;
        valid.then_some(Kept {
            secondary,
            subordinate,
        })
    }

    /// Opens the bus below a bridge: its index, the limit there, and whether
    /// its highest number is still to be written.
    fn descend(
        &mut self,
        bus: BusIndex,
        bridge: FunctionIndex,
        kept: Option<Kept>,
        limit: u8,
        highest: u8,
    ) -> Option<(BusIndex, u8, Option<FunctionIndex>)> {
        let primary = self.topology[bus].number;
        if self.topology.functions.len() >= self.policy.limit {
            self.report(bridge, |it| {
                it.write_bus_numbers(bridge, 0, 0, 0).map(|_| ())
            });
            return None;
        }
        let (secondary, subordinate, closing) = match kept {
            Some(range) => (range.secondary, range.subordinate, None),
            None => {
                if highest >= limit {
                    self.fault(bridge, Fault::NoBusNumber { limit });
                    return None;
                }
                let secondary = highest + 1;
                match self.write_bus_numbers(bridge, primary, secondary, limit) {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => {
                        self.fault(bridge, Fault::Config(error));
                        return None;
                    }
                }
                (secondary, limit, Some(bridge))
            }
        };
        let below = BusIndex(self.topology.buses.len());
        let kind = kind_below(self.topology[bus].kind, self.topology[bridge].port());
        self.topology.buses.push(Bus {
            number: secondary,
            last: subordinate,
            kind,
            bridge: Some(bridge),
            functions: Vec::new(),
        });
        if let Some(it) = &mut self.topology.functions[bridge.0].bridge {
            it.below = Some(below);
        }
        Some((below, subordinate, closing))
    }

    /// Writes the final subordinate number of a bridge numbered here.
    fn close(&mut self, bridge: FunctionIndex, below: BusIndex) {
        let primary = self.topology[self.topology[bridge].bus].number;
        let (secondary, last) = (self.topology[below].number, self.topology[below].last);
        self.report(bridge, |it| {
            it.write_bus_numbers(bridge, primary, secondary, last)
                .map(|_| ())
        });
    }

    /// Writes and reads back; `Ok(false)` if they did not stay, which is then
    /// reported. The latency timer in the top byte has no meaning here.
    fn write_bus_numbers(
        &mut self,
        bridge: FunctionIndex,
        primary: u8,
        secondary: u8,
        subordinate: u8,
    ) -> Result<bool, ConfigError> {
        let written = u32::from_le_bytes([primary, secondary, subordinate, 0]);
        let id = self.topology[bridge].id;
        let mut registers = Registers::new(self.access, id);
        registers.write32(reg::BUS_NUMBERS, written)?;
        let read = registers.read32(reg::BUS_NUMBERS)? & 0x00ff_ffff;
        if read != written {
            self.fault(bridge, Fault::BusNumbersStuck { written, read });
        }
        Ok(read == written)
    }

    /// Probes all functions of a bus; the highest bus number that their virtual
    /// functions reach, or 0.
    fn probe_bus(&mut self, bus: BusIndex, limit: u8) -> u8 {
        let (number, kind) = (self.topology[bus].number, self.topology[bus].kind);
        // The PHB refuses to look beyond the root port, and on a link other
        // device numbers may alias device 0.
        let devices = if matches!(kind, BusKind::Root | BusKind::Link) {
            1
        } else {
            32
        };
        let mut seen = [false; 256];
        let mut highest = 0;
        for device in 0..devices {
            let mut functions = 1;
            let mut function = 0;
            while function < functions {
                let devfn = (device << 3) | function;
                seen[usize::from(devfn)] = true;
                if let Some(header) = self.probe(bus, Bdfn::on_bus(number, devfn)) {
                    if function == 0 && header & reg::HEADER_MULTI_FUNCTION != 0 {
                        functions = 8;
                    }
                } else if function == 0 {
                    break;
                }
                function += 1;
            }
        }
        let ari = kind == BusKind::Link && self.follow_ari(bus, &mut seen);
        for function in self.topology[bus].functions.clone() {
            highest = highest.max(self.prepare_virtuals(function, ari, limit));
        }
        highest
    }

    /// Turns ARI forwarding on or off at the port above, and follows the chain
    /// to functions beyond 7. Whether it is on.
    fn follow_ari(&mut self, bus: BusIndex, seen: &mut [bool; 256]) -> bool {
        let number = self.topology[bus].number;
        let Some(port) = self.topology[bus].bridge else {
            return false;
        };
        let Some(capability) = self.topology[port].capabilities.express else {
            return false;
        };
        if !capability.ari_forwarding {
            return false;
        }
        let first = self.topology[bus].functions.first().copied();
        let mut ari = first
            .filter(|it| self.topology[*it].usable && self.topology[*it].id.bdfn.devfn() == 0)
            .and_then(|it| self.topology[it].capabilities.ari);
        if !self.set_ari_forwarding(port, capability.offset, ari.is_some()) || ari.is_none() {
            return false;
        }
        let mut from = 0;
        while let Some(next) = ari.map(|it| it.next).filter(|next| *next != 0) {
            if next <= from {
                if let Some(first) = first {
                    self.fault(first, Fault::AriChain { from, next });
                }
                break;
            }
            let bdfn = Bdfn::on_bus(number, next);
            if !core::mem::replace(&mut seen[usize::from(next)], true) {
                self.probe(bus, bdfn);
            }
            from = next;
            ari = self
                .topology
                .find(bdfn)
                .and_then(|it| self.topology[it].capabilities.ari);
        }
        true
    }

    fn set_ari_forwarding(&mut self, port: FunctionIndex, offset: u16, on: bool) -> bool {
        let at = offset + express::DEVICE_CONTROL_2;
        let id = self.topology[port].id;
        let mut registers = Registers::new(self.access, id);
        let bit = express::ARI_FORWARDING as u16;
        let outcome = registers.read16(at).and_then(|old| {
            registers.write16(at, if on { old | bit } else { old & !bit })?;
            registers.read16(at)
        });
        match outcome {
            Ok(now) => (now & bit != 0) == on,
            Err(error) => {
                self.fault(port, Fault::Config(error));
                false
            }
        }
    }

    /// Probes one function; its header type if it is there.
    fn probe(&mut self, bus: BusIndex, bdfn: Bdfn) -> Option<u8> {
        let id = FunctionId::new(self.topology.phb, bdfn);
        if self.topology.functions.len() >= self.policy.limit {
            // Named once, by the function that exceeded it.
            let fault = Fault::TooManyFunctions {
                limit: self.policy.limit,
            };
            if !self.topology.problems.iter().any(|it| it.fault == fault) {
                self.topology.problems.push(Problem {
                    function: id,
                    fault,
                });
            }
            return None;
        }
        let mut registers = Registers::new(self.access, id);
        match function::read(&mut registers, bus, self.phb.config_size()) {
            Ok(None) => None,
            Ok(Some(found)) => {
                for fault in &found.faults {
                    self.topology.problems.push(Problem {
                        function: id,
                        fault: *fault,
                    });
                }
                let at = FunctionIndex(self.topology.functions.len());
                self.topology.functions.push(found.function);
                self.topology.buses[bus.0].functions.push(at);
                Some(found.header)
            }
            Err(fault) => {
                self.topology.problems.push(Problem {
                    function: id,
                    fault,
                });
                None
            }
        }
    }

    /// Sets the number of virtual functions; the highest bus they reach.
    fn prepare_virtuals(&mut self, at: FunctionIndex, ari: bool, limit: u8) -> u8 {
        let function = &self.topology[at];
        let Some(capability) = function.capabilities.sriov else {
            return 0;
        };
        let wanted = (self.policy.virtuals)(function.id);
        let usable = function.usable;
        let (id, own) = (function.id, function.id.bdfn);
        let mut registers = Registers::new(self.access, id);
        let off = sriov::turn_off(&mut registers, &capability);
        if wanted == 0 || !usable || off.is_err() {
            if let Err(fault) = off {
                self.fault(at, fault);
            }
            return 0;
        }
        let set = match sriov::prepare(&mut registers, &capability, wanted, ari, limit) {
            Ok(set) => set,
            Err(fault) => {
                self.fault(at, fault);
                return 0;
            }
        };
        let range = set.range;
        let mut highest = 0;
        let first = self.topology.virtuals.len();
        for number in 0..range.count {
            let Some(bdfn) = range.rid(own, number) else {
                continue;
            };
            let taken = self.topology.find(bdfn).is_some()
                || self.topology.virtuals[..first]
                    .iter()
                    .any(|it| it.bdfn == bdfn);
            if taken {
                // A RID can belong to one PE only.
                let fault = sriov::VfFault::Rids {
                    offset: range.offset,
                    stride: range.stride,
                };
                self.topology.virtuals.truncate(first);
                self.fault(at, Fault::Virtual(fault));
                return 0;
            }
            self.topology.virtuals.push(Virtual {
                physical: at,
                number,
                bdfn,
            });
            highest = highest.max(bdfn.bus());
        }
        self.topology.functions[at.0].virtuals = Some(set);
        highest
    }

    fn report(
        &mut self,
        function: FunctionIndex,
        action: impl FnOnce(&mut Self) -> Result<(), ConfigError>,
    ) {
        if let Err(error) = action(self) {
            self.fault(function, Fault::Config(error));
        }
    }

    fn fault(&mut self, at: FunctionIndex, fault: Fault) {
        let function = &mut self.topology.functions[at.0];
        if fault.is_fatal() {
            function.usable = false;
        }
        self.topology.problems.push(Problem {
            function: function.id,
            fault,
        });
    }
}

fn overlap(a: Kept, b: Kept) -> bool {
    a.secondary <= b.subordinate && b.secondary <= a.subordinate
}

/// What kind of bus is below a bridge on a bus of kind `above`.
fn kind_below(above: BusKind, port: Option<PortType>) -> BusKind {
    match (above, port) {
        // Whatever is behind conventional PCI shares its requester id.
        (BusKind::Conventional, _) => BusKind::Conventional,
        (_, Some(PortType::RootPort | PortType::DownstreamPort)) => BusKind::Link,
        (_, Some(PortType::UpstreamPort)) => BusKind::Switch,
        _ => BusKind::Conventional,
    }
}
