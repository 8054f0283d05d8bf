//! What a partition finds of its groups of functions: a host bridge each, the
//! functions behind it, their registers and interrupts.

use super::memory::Space as Memory;
use super::signals::Signals;
use super::xive::{Exploited, XiveError};
use super::{Assigned, PartitionError};
use crate::addr::{BusAddr, HostAddr};
use crate::boot::pci::platform::Platform;
use crate::boot::pci::{self, Host};
use crate::papr::bridge::{self, Bridge, Function, Space};
use crate::papr::config::{Identity, View};
use crate::papr::group::Group;
use crate::papr::messages::{Limits, Messages, Sender};
use crate::partition::registers::{self, Registers, SharedPage};
use crate::pci::bar::{Bar, BarKind};
use crate::pci::msi::MessageCapability;
use crate::pci::{
    Bdfn, ConfigAccess, FunctionId, FunctionIndex, GroupIndex, PeNumber, VirtualIndex,
};
use crate::phb::Config;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A function of a group. Bridges come with a group, unnamed.
#[derive(Clone, Copy)]
pub(super) struct Member {
    /// Where it is.
    pub(super) id: FunctionId,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Physical(FunctionIndex),
    Virtual(VirtualIndex),
}

/// What a function has of a physical one.
struct Ids {
    vendor: u16,
    device: u16,
    revision: u8,
    class: u32,
    express: Option<u16>,
}

/// The functions of a group, in the order of their routing ids.
pub(super) fn members(host: &Host, at: GroupIndex) -> Vec<Member> {
    let group = host.groups.get(at);
    let physical = group.functions.iter().copied();
    let physical = physical.filter(|at| !host.topology[*at].is_bridge());
    let physical = physical.map(|at| Member {
        id: host.topology[at].id,
        what: What::Physical(at),
    });
    let virtuals = group.virtuals.iter().map(|&at| Member {
        id: FunctionId::new(host.info.id(), host.topology.virtuals[at.get()].bdfn),
        what: What::Virtual(at),
    });
    let mut all: Vec<Member> = physical.chain(virtuals).collect();
    all.sort_unstable_by_key(|member| member.id);
    all
}

impl Member {
    /// Vendor and device id, if it can be named by them: a virtual function has
    /// its address only.
    pub(super) fn kind(&self, host: &Host) -> Option<(u16, u16)> {
        match self.what {
            What::Physical(at) => Some((host.topology[at].vendor, host.topology[at].device)),
            What::Virtual(_) => None,
        }
    }

    fn is_active(&self, host: &Host) -> bool {
        match self.what {
            What::Physical(at) => host.plan.is_active(&host.topology, at),
            What::Virtual(at) => host.plan.is_active_virtual(&host.topology, at),
        }
    }

    /// Its memory BARs, and where they are.
    fn bars(&self, host: &Host) -> Vec<(Bar, BusAddr, HostAddr)> {
        match self.what {
            What::Physical(at) => {
                let all = host.plan.bars_of(at);
                all.map(|it| (it.bar, it.address, it.host)).collect()
            }
            What::Virtual(at) => {
                let physical = host.topology.virtuals[at.get()].physical;
                let known = host.topology[physical].virtuals;
                let bar = |index: u8| *known.as_ref()?.bars.get(usize::from(index))?;
                let all = host.plan.bars_of_virtual(&host.topology, at);
                all.filter_map(|it| Some((bar(it.0)?, it.1, it.2)))
                    .collect()
            }
        }
    }

    fn ids(&self, host: &Host) -> Ids {
        let at = match self.what {
            What::Physical(at) => at,
            What::Virtual(at) => host.topology.virtuals[at.get()].physical,
        };
        let physical = &host.topology[at];
        let capabilities = &physical.capabilities;
        let device = match self.what {
            What::Physical(_) => physical.device,
            What::Virtual(_) => capabilities.sriov.map_or(0, |sriov| sriov.device),
        };
        Ids {
            vendor: physical.vendor,
            device,
            revision: physical.revision,
            class: physical.class.get(),
            // Virtual functions have it where their physical one has it, if so: the
            // view looks.
            express: capabilities.express.map(|express| express.offset),
        }
    }

    fn view(&self, host: &Host, ids: &Ids, signals: Option<&Signals>) -> View {
        let Limits { msi, msix } = signals.map_or(Limits::default(), Signals::limits);
        let capabilities = match self.what {
            What::Physical(at) => host.topology[at].capabilities,
            What::Virtual(_) => Default::default(),
        };
        let line = signals.and_then(Signals::line);
        let identity = Identity {
            function: self.id,
            vendor: ids.vendor,
            device: ids.device,
            is_virtual: matches!(self.what, What::Virtual(_)),
            express: ids.express,
            msi: capabilities
                .msi
                .filter(|_| msi > 0)
                .and_then(MessageCapability::new),
            msix: capabilities.msix.filter(|_| msix > 0).map(|it| it.offset),
            pin: line.map(|line| line.pin),
        };
        let bars = self.bars(host).into_iter();
        View::new(identity, bars.map(|(bar, bus, _)| (bar, bus)))
    }

    /// Its interrupts, of a partition that can use them. Virtual functions have none
    /// yet.
    fn signals(
        &self,
        assigned: &Assigned,
        interrupts: Option<(&Exploited, &Memory)>,
    ) -> Result<Option<Signals>, XiveError> {
        let (What::Physical(at), Some(interrupts)) = (self.what, interrupts) else {
            return Ok(None);
        };
        let pe = PeNumber::new(assigned.pe.pe);
        Signals::new(assigned.place.0, (at, pe), interrupts).map(Some)
    }

    fn describe(&self, host: &Host, config: u32, ids: &Ids, signals: Option<&Signals>) -> Function {
        let space = |(bar, bus, host): (Bar, BusAddr, HostAddr)| Space {
            bar: bar.index,
            wide: matches!(bar.kind, BarKind::Memory64 { .. }),
            prefetchable: matches!(
                bar.kind,
                BarKind::Memory32 { prefetchable: true } | BarKind::Memory64 { prefetchable: true }
            ),
            bus,
            host,
            bytes: bar.size,
        };
        Function {
            config,
            vendor: ids.vendor,
            device: ids.device,
            revision: ids.revision,
            class: ids.class,
            spaces: self.bars(host).into_iter().map(space).collect(),
            messages: signals.map_or(Limits::default(), Signals::limits),
            line: signals.and_then(Signals::line),
        }
    }
}

/// How the partition names the functions of a group.
pub(super) fn numbers(members: &[Member]) -> Vec<u32> {
    let functions: Vec<Bdfn> = members.iter().map(|it| it.id.bdfn).collect();
    bridge::numbers(&functions).collect()
}

/// Where all registers of a group are.
fn registers_of(host: &Host, at: GroupIndex) -> Vec<Registers> {
    let bars = members(host, at).into_iter();
    let bars = bars.flat_map(|member| member.bars(host));
    bars.map(|(bar, _, start)| Registers {
        start,
        bytes: bar.size,
    })
    .collect()
}

/// Pages of registers that a group's partition reaches.
pub(super) fn pages(host: &Host, at: GroupIndex) -> Vec<Registers> {
    registers::pages(&registers_of(host, at))
}

/// Whether a group's registers can be given away without anybody else's.
///
/// # Errors
/// Registers of another group in one of its pages.
pub(super) fn is_apart(host: &Host, at: GroupIndex) -> Result<(), SharedPage> {
    let others = host.groups.iter().filter(|(other, _)| *other != at);
    let others = others.flat_map(|(other, _)| registers_of(host, other));
    // Bridges have registers too.
    let bridges = host.plan.bars.iter().filter(|it| {
        let own = host.groups.of(it.function);
        host.topology[it.function].is_bridge() && own != at
    });
    let bridges = bridges.map(|it| Registers {
        start: it.host,
        bytes: it.bytes(),
    });
    registers::exclusive(&registers_of(host, at), others.chain(bridges))
}

/// A function as a run of its partition found it.
struct FoundFunction {
    /// As the partition names it.
    config: u32,
    view: View,
    signals: Option<Signals>,
}

/// A group as a run of its partition found it at its start.
pub(super) struct Found {
    group: Arc<Group<Platform>>,
    phb: u16,
    functions: Vec<FoundFunction>,
}

impl Found {
    /// What there is of a group, and how the partition's tree tells it; with
    /// interrupts if the partition can use them.
    ///
    /// # Errors
    /// Its PHB does not work, or an interrupt cannot be the partition's, which must
    /// not be run.
    pub(super) fn new(
        assigned: &Assigned,
        interrupts: Option<(&Exploited, &Memory)>,
    ) -> Result<(Self, Bridge), PartitionError> {
        let (phb, at) = assigned.place;
        let host = pci::host(phb).ok_or(PartitionError::NotUp)?;
        let group = Arc::clone(&assigned.group);
        let members = members(host, at);
        let (mut functions, mut described) = (Vec::new(), Vec::new());
        for (member, config) in members.iter().zip(numbers(&members)) {
            if member.is_active(host) {
                let ids = member.ids(host);
                let signals = member.signals(assigned, interrupts)?;
                described.push(member.describe(host, config, &ids, signals.as_ref()));
                functions.push(FoundFunction {
                    config,
                    view: member.view(host, &ids, signals.as_ref()),
                    signals,
                });
            }
        }
        let bridge = Bridge {
            buid: group.buid(),
            window: group.default_window(),
            functions: described,
        };
        let found = Self {
            group,
            phb,
            functions,
        };
        Ok((found, bridge))
    }

    /// What names its host bridge.
    pub(super) fn buid(&self) -> u64 {
        self.group.buid()
    }

    /// Whether it is this group.
    pub(super) fn is(&self, assigned: &Assigned) -> bool {
        Arc::ptr_eq(&self.group, &assigned.group)
    }

    fn function(&self, config: u32) -> Option<&FoundFunction> {
        self.functions.iter().find(|it| it.config == config)
    }

    /// One access to configuration space of a function; `None` if there is none
    /// of this name, or the group was taken away.
    pub(super) fn access(
        &self,
        config: u32,
        act: &mut dyn FnMut(&View, &mut dyn ConfigAccess),
    ) -> Option<()> {
        let function = self.function(config)?;
        let host = pci::host(self.phb)?;
        self.group
            .keep(|| act(&function.view, &mut Config::known(&host.phb)))
    }

    /// One call for the messages of a function; `None` if there is none of this
    /// name, it has none, or the group was taken away.
    pub(super) fn messages(
        &self,
        config: u32,
        act: &mut dyn FnMut(&Messages, &mut dyn Sender),
    ) -> Option<()> {
        let signals = self.function(config)?.signals.as_ref()?;
        self.group.keep(|| signals.with_messages(act)).flatten()
    }

    /// See [`Signals::silence`], for all functions of a group that was closed to its
    /// partition.
    ///
    /// # Errors
    /// The first one's; all are tried.
    pub(super) fn silence(&self, xive: &Exploited, memory: &Memory) -> Result<(), XiveError> {
        let all = self.functions.iter().filter_map(|it| it.signals.as_ref());
        let silenced = all.map(|signals| signals.silence(xive, memory));
        silenced.fold(Ok(()), Result::and)
    }
}
