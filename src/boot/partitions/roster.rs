//! The partitions that are defined, and what they have.

use super::memory::Machine;
use super::{PartitionError, Plan};
use crate::boot::pci::platform::{self, Platform, engine, ledger};
use crate::boot::pci::{self, describe};
use crate::boot::{runtime, secondaries};
use crate::cpu;
use crate::dma::{DetachMode, Engine, Liobn, Quota};
use crate::memory::ledger::{Ledger, OwnerId};
use crate::papr::ddw;
use crate::papr::liobn::Liobns;
use crate::partition::assign::{Member, Offer, assign};
use crate::partition::domain::{DeviceError, Domain, Grant};
use crate::partition::life::{Life, State, Verb};
use crate::partition::manifest::DeviceName;
use crate::partition::map::GuestMap;
use crate::pci::{Bdfn, FunctionId, GroupIndex, GroupKind};
use crate::seam::PeId;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::{Mutex, MutexGuard, Once};

/// A group of functions: its PHB's index, and its place there.
pub type Place = (u16, GroupIndex);

/// A group that a partition has.
#[derive(Clone, Copy)]
pub struct Assigned {
    /// Which.
    pub place: Place,
    /// Its PE.
    pub pe: PeId,
    /// LIOBN of its first window.
    pub liobn: Liobn,
    /// Slot of that in the partition's table.
    slot: u32,
}

/// A partition that is defined, whether it runs or not.
pub struct Defined {
    plan: Plan,
    domain: Domain<Platform>,
    windows: Liobns<Platform>,
    groups: Mutex<Vec<Assigned>>,
    /// It is destroyed when it stops: it was never in a manifest.
    transient: bool,
}

impl Defined {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// What it starts with.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its state.
    pub fn life(&self) -> &Life {
        self.domain.life()
    }

    /// What it has.
    pub fn domain(&self) -> &Domain<Platform> {
        &self.domain
    }

    /// Where its memory is.
    pub fn map(&self) -> &GuestMap {
        self.domain.memory().map()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        self.domain.memory().bytes()
    }

    /// Its table memory.
    pub fn quota(&self) -> &Arc<Quota> {
        self.domain.quota()
    }

    /// Its groups of devices.
    pub fn groups(&self) -> Vec<Assigned> {
        self.groups.lock().clone()
    }

    /// Whether it is destroyed when it stops.
    pub fn is_transient(&self) -> bool {
        self.transient
    }
}

/// An empty list is not zero, and `.data` stays empty: hence the `Once`.
static ROSTER: Once<Mutex<Vec<Arc<Defined>>>> = Once::new();

fn roster() -> MutexGuard<'static, Vec<Arc<Defined>>> {
    ROSTER.call_once(Mutex::default).lock()
}

/// The partitions that are defined, in their order.
pub fn all() -> Vec<Arc<Defined>> {
    roster().clone()
}

/// The partition of this name.
pub fn find(name: &str) -> Result<Arc<Defined>, PartitionError> {
    let all = roster();
    let found = all.iter().find(|defined| defined.name() == name);
    found
        .cloned()
        .ok_or_else(|| PartitionError::Unknown(name.into()))
}

/// Engine and ledger, once PHBs were taken.
pub fn machinery() -> Result<(&'static Engine<Platform>, &'static Ledger<Platform>), PartitionError>
{
    engine().zip(ledger()).ok_or(PartitionError::NoEngine)
}

/// The last of the ledger's numbers for partitions: none is given twice.
static OWNERS: AtomicU32 = AtomicU32::new(0);

/// Defines a partition: memory, then its devices, all of them or it is not
/// defined.
///
/// # Errors
/// What it cannot have. Nothing is kept.
pub fn define(
    plan: Plan,
    dma_limit: u64,
    devices: &[DeviceName],
    transient: bool,
) -> Result<Arc<Defined>, PartitionError> {
    let (_, ledger) = machinery()?;
    if find(&plan.name).is_ok() {
        return Err(PartitionError::Exists(plan.name));
    }
    let places = assign(&offers(""), devices)?;
    let grant = Grant {
        owner: OwnerId(OWNERS.fetch_add(1, Ordering::Relaxed) + 1),
        memory: plan.bytes,
        chip: near(&places),
        dma_limit,
    };
    let defined = Arc::new(Defined {
        domain: Domain::new(&Machine, ledger, &grant)?,
        windows: Liobns::default(),
        groups: Mutex::default(),
        plan,
        transient,
    });
    for place in places {
        if let Err(error) = give(&defined, place) {
            // Its devices were never open.
            release(defined).map_err(|(_, error)| error)?;
            return Err(error);
        }
    }
    defined.life().apply(Verb::Define)?;
    roster().push(Arc::clone(&defined));
    Ok(defined)
}

/// The chip of the first group's PHB, or of the first thread that could run a
/// vCPU.
fn near(places: &[Place]) -> Option<u32> {
    if let Some((phb, _)) = places.first() {
        let bridge = pci::bridges().get(usize::from(*phb))?;
        return Some(bridge.described.chip);
    }
    let free = secondaries::all().first();
    let pir = free.map_or_else(cpu::pir, |area| area.pir());
    let cores = &runtime::machine()?.cpus.cores;
    let core = cores.iter().find(|core| core.threads.contains(&pir));
    core.map(|core| core.chip)
}

/// Who has the group: a partition's name.
pub fn owner_of(place: Place) -> Option<String> {
    owner_where(|it| it.place == place)
}

/// Who has the PE: a partition's name.
pub fn owner_of_pe(pe: PeId) -> Option<String> {
    owner_where(|it| it.pe == pe)
}

/// The name of the first partition that has such a group.
fn owner_where(is_it: impl Fn(&Assigned) -> bool) -> Option<String> {
    let all = roster();
    let has = |defined: &&Arc<Defined>| defined.groups.lock().iter().any(&is_it);
    all.iter()
        .find(has)
        .map(|defined| defined.name().to_string())
}

/// All groups with endpoints, as the partition `name` can have them.
pub fn offers(name: &str) -> Vec<Offer<Place>> {
    let mut offers = Vec::new();
    for (phb, host) in pci::hosts() {
        for (at, group) in host.groups.iter() {
            if group.kind == GroupKind::Fabric {
                continue;
            }
            let place = (phb, at);
            let functions = group.functions.iter().map(|at| &host.topology[*at]);
            let functions = functions.filter(|it| !it.is_bridge()).map(|it| Member {
                id: it.id,
                vendor: it.vendor,
                device: it.device,
            });
            // A virtual function is named by its address only.
            let virtuals = group.virtuals.iter().map(|at| Member {
                id: FunctionId::new(host.info.id(), host.topology.virtuals[at.get()].bdfn),
                vendor: u16::MAX,
                device: u16::MAX,
            });
            let mut members: Vec<Member> = functions.chain(virtuals).collect();
            members.sort_unstable_by_key(|member| member.id);
            let owner = owner_of(place);
            offers.push(Offer {
                key: place,
                members,
                refused: refusal(place, name),
                owner,
            });
        }
    }
    offers.sort_by_key(|offer| offer.members.first().map(|member| member.id));
    offers
}

/// Why nobody, or not this partition, can have a group.
fn refusal(place: Place, name: &str) -> Option<String> {
    let (phb, at) = place;
    let held = |other| owner_of((phb, other)).is_some_and(|owner| owner != name);
    let refused = pci::host(phb)?.assignable(at, held).err()?;
    Some(refused.to_string())
}

/// Gives a group to a partition: a window for it, with a LIOBN, not in use yet.
fn give(defined: &Defined, place: Place) -> Result<Assigned, PartitionError> {
    let (engine, _) = machinery()?;
    let (phb, at) = place;
    let pe = pci::pe_of(phb, at).ok_or(PartitionError::NotUp)?;
    let bridge = pci::bridges().get(usize::from(phb));
    let described = bridge.ok_or(PartitionError::NotUp)?.described;
    let config = ddw::default_window(describe::page_sizes(described))
        .map_err(|error| DeviceError::Dma(error.into()))?;
    let slot = free_slot(defined).ok_or(PartitionError::TooManyDevices)?;
    let liobn = Liobns::<Platform>::of_slot(slot).ok_or(PartitionError::TooManyDevices)?;
    platform::prefer_chip(Some(described.chip));
    let window = defined.domain.give(engine, pe, &config);
    platform::prefer_chip(None);
    let window = window?;
    defined
        .windows
        .insert(liobn, Arc::clone(&window))
        .map_err(DeviceError::Dma)?;
    pci::windows::add(&window);
    let assigned = Assigned {
        place,
        pe,
        liobn,
        slot,
    };
    defined.groups.lock().push(assigned);
    Ok(assigned)
}

/// The first of the LIOBN slots that are kept for a group.
fn free_slot(defined: &Defined) -> Option<u32> {
    let slots = (0..).step_by(ddw::WINDOWS as usize);
    let mut slots = slots.take_while(|slot| Liobns::<Platform>::of_slot(*slot).is_some());
    slots.find(|slot| defined.groups().iter().all(|it| it.slot != *slot))
}

/// Lets a group do DMA, within its windows.
fn open(defined: &Defined, assigned: &Assigned) -> Result<(), PartitionError> {
    let (engine, _) = machinery()?;
    defined.domain.open(engine, assigned.pe)?;
    let (phb, at) = assigned.place;
    let started = pci::host(phb).ok_or(PartitionError::NotUp)?.start(at);
    if let Err((step, error)) = started {
        defined.domain.close(engine, assigned.pe)?;
        return Err(PartitionError::Device(alloc::format!(
            "{}: {step:?}: {error}",
            assigned.pe
        )));
    }
    Ok(())
}

/// Lets all groups of a partition do DMA, or none.
///
/// # Errors
/// The first one that does not; all are closed then, or stuck.
pub fn open_all(defined: &Defined) -> Result<(), PartitionError> {
    for assigned in defined.groups() {
        if let Err(error) = open(defined, &assigned) {
            close_all(defined)?;
            return Err(error);
        }
    }
    Ok(())
}

/// Removes the window of a group that the partition made itself.
fn remove_made(defined: &Defined, assigned: &Assigned) -> Result<(), PartitionError> {
    let (engine, _) = machinery()?;
    for slot in assigned.slot + 1..assigned.slot + ddw::WINDOWS {
        let Some(liobn) = Liobns::<Platform>::of_slot(slot) else {
            continue;
        };
        let Some(window) = defined.windows.find(liobn) else {
            continue;
        };
        engine
            .remove(&window, DetachMode::Reset)
            .map_err(DeviceError::Dma)?;
        pci::windows::forget(&window);
        defined.windows.forget(liobn);
    }
    Ok(())
}

/// Makes all devices of a partition quiet: after this nothing of its memory is
/// in their reach. All are tried, even though one fails.
///
/// # Errors
/// The first failure.
pub fn close_all(defined: &Defined) -> Result<(), PartitionError> {
    let (engine, _) = machinery()?;
    let mut result = Ok(());
    for assigned in defined.groups() {
        result = result.and(remove_made(defined, &assigned));
    }
    result.and(Ok(defined.domain.close_all(engine)?))
}

/// Zeroes the memory of a partition whose devices are closed and whose vCPUs
/// are gone.
///
/// # Errors
/// Something holds it.
pub fn renew(defined: &Defined) -> Result<(), PartitionError> {
    let (engine, ledger) = machinery()?;
    Ok(defined.domain.renew(engine, ledger, &Machine)?)
}

/// Takes all back that a partition has; its devices are closed, and no vCPU or
/// list refers to it.
///
/// # Errors
/// What holds it; it is back in the roster then.
pub fn release(defined: Arc<Defined>) -> Result<(), (Option<Arc<Defined>>, PartitionError)> {
    let (engine, ledger) = machinery().map_err(|error| (None, error))?;
    roster().retain(|other| !Arc::ptr_eq(other, &defined));
    // A thread that is on its way out may still hold it for a moment.
    while Arc::strong_count(&defined) > 1 {
        cpu::idle::sleep(1000);
    }
    let Some(mut defined) = Arc::into_inner(defined) else {
        return Ok(());
    };
    let groups = core::mem::take(&mut *defined.groups.lock());
    for assigned in &groups {
        if let Some(window) = defined.windows.forget(assigned.liobn) {
            pci::windows::forget(&window);
        }
    }
    match defined.domain.release(engine, ledger, &Machine) {
        Ok(()) => Ok(()),
        Err((domain, error)) => {
            defined.domain = domain;
            // What it still has keeps its name.
            for assigned in groups {
                if let Some(window) = defined.domain.window(assigned.pe) {
                    pci::windows::add(&window);
                    let named = defined.windows.insert(assigned.liobn, window);
                    debug_assert!(named.is_ok(), "{named:?}");
                    defined.groups.lock().push(assigned);
                }
            }
            let defined = Arc::new(defined);
            roster().push(Arc::clone(&defined));
            Err((Some(defined), error.into()))
        }
    }
}

/// The devices that a text names: one, or several with commas.
fn devices_of(text: &str) -> Result<Vec<DeviceName>, PartitionError> {
    let names = text.split(',').map(|name| name.trim().parse());
    names
        .collect::<Result<_, _>>()
        .map_err(|_| PartitionError::NoDevice(text.into()))
}

/// Gives devices to a partition: `0000:01:00.0`, `1b36:0010`, or several with
/// commas, as a group is given as a whole. They may do DMA at once if it runs.
///
/// # Errors
/// Somebody has it, the group is not named as a whole, or the partition is in a
/// state in which nothing is given.
pub fn attach(devices: &str, name: &str) -> Result<(), PartitionError> {
    let defined = find(name)?;
    let devices = devices_of(devices)?;
    let is_open = match defined.life().state() {
        State::Stopped => false,
        State::Running | State::Paused => true,
        state => return Err(PartitionError::NotNow(state)),
    };
    let places = assign(&offers(name), &devices)?;
    let mut given = Vec::new();
    let mut give_one = |place| -> Result<(), PartitionError> {
        let assigned = give(&defined, place)?;
        given.push(assigned);
        match is_open {
            true => open(&defined, &assigned),
            false => Ok(()),
        }
    };
    let result = places.into_iter().try_for_each(&mut give_one);
    if result.is_err() {
        // All or none.
        for assigned in given {
            take(&defined, &assigned)?;
        }
    }
    result
}

/// Takes the group of a device from the partition that has it: its functions
/// are reset, and the partition's memory is out of their reach.
///
/// # Errors
/// Nobody has it, or it does not become quiet: then the partition keeps it.
pub fn detach(device: &str) -> Result<String, PartitionError> {
    let id: FunctionId = device
        .parse()
        .map_err(|_| PartitionError::NoDevice(device.into()))?;
    let (phb, at) = pci::find(id).ok_or_else(|| PartitionError::NoDevice(device.into()))?;
    for defined in all() {
        let groups = defined.groups();
        let Some(assigned) = groups.iter().find(|it| it.place == (phb, at)) else {
            continue;
        };
        match defined.life().state() {
            State::Stopped | State::Running | State::Paused | State::Crashed => {}
            state => return Err(PartitionError::NotNow(state)),
        }
        take(&defined, assigned)?;
        return Ok(defined.name().to_string());
    }
    Err(PartitionError::Nobodys(id))
}

fn take(defined: &Defined, assigned: &Assigned) -> Result<(), PartitionError> {
    let (engine, _) = machinery()?;
    remove_made(defined, assigned)?;
    let window = defined.domain.take(engine, assigned.pe)?;
    defined.windows.forget(assigned.liobn);
    pci::windows::forget(&window);
    defined.groups.lock().retain(|it| it.pe != assigned.pe);
    Ok(())
}

/// The functions of a group, for a person: the first, and how many more.
pub fn group_text(place: Place) -> String {
    let (phb, at) = place;
    let Some(host) = pci::host(phb) else {
        return String::new();
    };
    let group = host.groups.get(at);
    let physical = group.functions.iter().map(|at| &host.topology[*at]);
    let physical = physical.filter(|it| !it.is_bridge()).map(|it| it.id.bdfn);
    let virtuals = group.virtuals.iter();
    let virtuals = virtuals.map(|at| host.topology.virtuals[at.get()].bdfn);
    let mut all: Vec<Bdfn> = physical.chain(virtuals).collect();
    all.sort_unstable();
    let first = all.first().copied().unwrap_or(Bdfn::ROOT);
    let first = FunctionId::new(host.info.id(), first);
    match all.len() {
        0 | 1 => first.to_string(),
        count => alloc::format!("{first}+{}", count - 1),
    }
}
