//! The partitions that are defined, and what they have.

use super::memory::Machine;
use super::{PartitionError, Plan, devices, groups};
use crate::boot::pci;
use crate::boot::pci::platform::{self, Platform, engine, ledger};
use crate::boot::{runtime, secondaries};
use crate::cpu;
use crate::dma::{Engine, Liobn, Quota};
use crate::memory::ledger::{Ledger, OwnerId};
use crate::papr::ddw::{Watch, WindowCalls};
use crate::papr::group::Group;
use crate::papr::liobn::Liobns;
use crate::papr::tce::TceCalls;
use crate::partition::assign::{Member, Offer, assign};
use crate::partition::domain::{Domain, Grant};
use crate::partition::life::{Life, Verb};
use crate::partition::manifest::DeviceName;
use crate::partition::map::GuestMap;
use crate::pci::{GroupIndex, GroupKind};
use crate::seam::PeId;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::{Mutex, MutexGuard, Once};

/// A group of functions: its PHB's index, and its place there.
pub type Place = (u16, GroupIndex);

/// A group that a partition has.
#[derive(Clone)]
pub struct Assigned {
    /// Which.
    pub place: Place,
    /// Its PE.
    pub pe: PeId,
    /// LIOBN of its first window.
    pub liobn: Liobn,
    /// As the partition's calls name it.
    pub(super) group: Arc<Group<Platform>>,
    /// Its number in the partition.
    pub(super) index: u32,
}

/// A partition that is defined, whether it runs or not.
pub struct Defined {
    plan: Plan,
    engine: &'static Engine<Platform>,
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

    /// The same, to be changed.
    pub(super) fn lock_groups(&self) -> MutexGuard<'_, Vec<Assigned>> {
        self.groups.lock()
    }

    /// Its windows, by number.
    pub(super) fn windows(&self) -> &Liobns<Platform> {
        &self.windows
    }

    /// What its TCE calls work on.
    #[inline]
    pub(super) fn tces(&self) -> TceCalls<'_, Platform> {
        TceCalls {
            engine: self.engine,
            map: self.map(),
            windows: &self.windows,
        }
    }

    /// What its calls for windows work on.
    pub(super) fn with_windows<T>(&self, act: impl FnOnce(&WindowCalls<'_, Platform>) -> T) -> T {
        let groups = self.groups();
        let groups: Vec<_> = groups.iter().map(|it| Arc::clone(&it.group)).collect();
        act(&WindowCalls {
            engine: self.engine,
            map: self.map(),
            windows: &self.windows,
            groups: &groups,
            holdings: self.domain.memory().holdings(),
            quota: self.quota(),
            watch: Watch {
                made: pci::windows::add,
                gone: pci::windows::forget,
                tables_for: platform::prefer_chip_of,
            },
        })
    }

    /// The chip of its first memory, and of its threads where there is a choice.
    pub fn chip(&self) -> Option<u32> {
        runtime::chip_of(self.map().pieces().first()?.host)
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
    let (engine, ledger) = machinery()?;
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
        engine,
        domain: Domain::new(&Machine, ledger, &grant)?,
        windows: Liobns::default(),
        groups: Mutex::default(),
        plan,
        transient,
    });
    for place in places {
        if let Err(error) = devices::give(&defined, place) {
            // Its devices were never open.
            return Err(match release(defined) {
                Ok(()) => error,
                Err((_, stays)) => PartitionError::NotBack(Box::new([error, stays])),
            });
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
    chip_of(free.map_or_else(cpu::pir, |area| area.pir()))
}

/// The chip of a thread.
pub fn chip_of(pir: u64) -> Option<u32> {
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
pub(super) fn offers(name: &str) -> Vec<Offer<Place>> {
    let mut offers = Vec::new();
    for (phb, host) in pci::hosts() {
        for (at, group) in host.groups.iter() {
            if group.kind == GroupKind::Fabric {
                continue;
            }
            let place = (phb, at);
            let members = groups::members(host, at).into_iter().map(|member| {
                // One without is named by its address only.
                let (vendor, device) = member.kind(host).unwrap_or((u16::MAX, u16::MAX));
                Member {
                    id: member.id,
                    vendor,
                    device,
                }
            });
            let members = members.collect();
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
    let host = pci::host(phb)?;
    match host.assignable(at, held) {
        Ok(()) => groups::is_apart(host, at).err().map(|why| why.to_string()),
        Err(why) => Some(why.to_string()),
    }
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
pub fn release(defined: Arc<Defined>) -> Result<(), (Arc<Defined>, PartitionError)> {
    let (engine, ledger) = match machinery() {
        Ok(machinery) => machinery,
        Err(error) => return Err((defined, error)),
    };
    roster().retain(|other| !Arc::ptr_eq(other, &defined));
    // A thread that is on its way out may still hold it for a moment.
    while Arc::strong_count(&defined) > 1 {
        cpu::idle::sleep(1000);
    }
    let Some(mut defined) = Arc::into_inner(defined) else {
        return Ok(());
    };
    // Whatever has a name is held by it.
    let groups = core::mem::take(&mut *defined.groups.lock());
    let places: Vec<(Place, PeId, u32)> = groups
        .into_iter()
        .map(|assigned| {
            if let Some(window) = defined.windows.forget(assigned.liobn) {
                pci::windows::forget(&window);
            }
            (assigned.place, assigned.pe, assigned.index)
        })
        .collect();
    match defined.domain.release(engine, ledger, &Machine) {
        Ok(()) => Ok(()),
        Err((domain, error)) => {
            defined.domain = domain;
            // What it still has keeps its name.
            for (place, pe, index) in places {
                if let Some(window) = defined.domain.window(pe) {
                    let named = devices::name(&defined, place, pe, index, &window);
                    debug_assert!(named.is_ok(), "{:?}", named.err());
                }
            }
            let defined = Arc::new(defined);
            roster().push(Arc::clone(&defined));
            Err((defined, error.into()))
        }
    }
}
