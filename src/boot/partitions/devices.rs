//! Groups of devices come to a partition, may do DMA, and go.

use super::roster::{Assigned, Defined, Place, all, find, machinery, offers};
use super::{PartitionError, groups};
use crate::boot::pci::platform::{self, Platform};
use crate::boot::pci::{self, describe};
use crate::dma::Window;
use crate::papr::group::{Group, MAX_GROUPS};
use crate::papr::{bridge, ddw};
use crate::partition::assign::assign;
use crate::partition::domain::DeviceError;
use crate::partition::life::State;
use crate::partition::manifest::DeviceName;
use crate::pci::FunctionId;
use crate::seam::PeId;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Gives a group to a partition: a window for it, with a LIOBN, not in use yet.
pub(super) fn give(defined: &Defined, place: Place) -> Result<Assigned, PartitionError> {
    let (engine, _) = machinery()?;
    let (phb, at) = place;
    let pe = pci::pe_of(phb, at).ok_or(PartitionError::NotUp)?;
    let bridge = pci::bridges().get(usize::from(phb));
    let described = bridge.ok_or(PartitionError::NotUp)?.described;
    let config = ddw::default_window(describe::page_sizes(described))
        .map_err(|error| DeviceError::Dma(error.into()))?;
    let index = free_index(defined).ok_or(PartitionError::TooManyDevices)?;
    platform::prefer_chip_of(Some(pe));
    let window = defined.domain().give(engine, pe, &config);
    platform::prefer_chip_of(None);
    name(defined, place, pe, index, &window?).map_err(|why| {
        // Without a name nobody could take it back later.
        let taken = defined.domain().take(engine, pe);
        not_back(why, taken.map(drop).map_err(Into::into))
    })
}

/// Why something was not done, and why what was half done stays, if it does.
fn not_back(why: PartitionError, undone: Result<(), PartitionError>) -> PartitionError {
    match undone {
        Ok(()) => why,
        Err(stays) => PartitionError::NotBack(Box::new([why, stays])),
    }
}

/// The number of a group that the partition does not have yet.
fn free_index(defined: &Defined) -> Option<u32> {
    let groups = defined.groups();
    (0..MAX_GROUPS).find(|index| groups.iter().all(|it| it.index != *index))
}

/// Gives a group and its window their names in the partition.
pub(super) fn name(
    defined: &Defined,
    place: Place,
    pe: PeId,
    index: u32,
    window: &Arc<Window<Platform>>,
) -> Result<Assigned, PartitionError> {
    let host = pci::host(place.0).ok_or(PartitionError::NotUp)?;
    let functions = groups::numbers(&groups::members(host, place.1)).into();
    let window = Arc::clone(window);
    let group = Group::new(
        index,
        bridge::buid(index),
        functions,
        &[pe],
        Arc::clone(&window),
    )?;
    let liobn = group.default_window().liobn;
    let named = defined.windows().insert(liobn, Arc::clone(&window));
    named.map_err(DeviceError::Dma)?;
    pci::windows::add(&window);
    let assigned = Assigned {
        place,
        pe,
        liobn,
        group: Arc::new(group),
        index,
    };
    defined.lock_groups().push(assigned.clone());
    Ok(assigned)
}

/// Lets a group do DMA, within its windows.
fn open(defined: &Defined, assigned: &Assigned) -> Result<(), PartitionError> {
    let (engine, _) = machinery()?;
    defined.domain().open(engine, assigned.pe)?;
    let (phb, at) = assigned.place;
    let started = pci::host(phb).ok_or(PartitionError::NotUp)?.start(at);
    if let Err((step, error)) = started {
        let why = alloc::format!("{}: {step:?}: {error}", assigned.pe);
        let closed = defined.domain().close(engine, assigned.pe);
        return Err(not_back(
            PartitionError::Device(why),
            closed.map_err(Into::into),
        ));
    }
    assigned.group.open();
    Ok(())
}

/// Lets all groups of a partition do DMA, or none.
///
/// # Errors
/// The first one that does not; all are closed then, or stuck.
pub fn open_all(defined: &Defined) -> Result<(), PartitionError> {
    for assigned in defined.groups() {
        if let Err(error) = open(defined, &assigned) {
            return Err(not_back(error, close_all(defined)));
        }
    }
    Ok(())
}

/// The windows of a group are the partition's to change no more, and those that
/// it made itself are gone.
fn close_windows(defined: &Defined, assigned: &Assigned) -> Result<(), PartitionError> {
    let closed = defined.with_windows(|calls| calls.close(&assigned.group));
    Ok(closed.map_err(DeviceError::Dma)?)
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
        result = result.and(close_windows(defined, &assigned));
    }
    result.and(Ok(defined.domain().close_all(engine)?))
}

/// A group that Pinion has closed for a purpose of its own: its partition changes
/// neither its windows nor its configuration space. It reaches the registers still:
/// without a window nothing that it tells the functions does anything to memory.
pub struct Withdrawn {
    defined: Arc<Defined>,
    assigned: Assigned,
}

/// Closes the group of this PE, whatever its partition does meanwhile: windows that
/// it made are removed, its default window is empty, the functions are reset. `None`
/// if no partition has it.
///
/// # Errors
/// It does not become quiet. The partition cannot change it any more; this may be
/// tried again.
pub fn withdraw(pe: PeId) -> Result<Option<Withdrawn>, PartitionError> {
    let (engine, _) = machinery()?;
    for defined in all() {
        let groups = defined.groups();
        let Some(assigned) = groups.into_iter().find(|it| it.pe == pe) else {
            continue;
        };
        close_windows(&defined, &assigned)?;
        defined.domain().close(engine, pe)?;
        return Ok(Some(Withdrawn { defined, assigned }));
    }
    Ok(None)
}

impl Withdrawn {
    /// Gives the group back to its partition, with its default window, if that
    /// runs: it may do DMA then, and this is `true`. Otherwise its start does it.
    ///
    /// # Errors
    /// It does not start; it is closed.
    pub fn give_back(self) -> Result<bool, PartitionError> {
        match self.defined.life().state() {
            State::Running | State::Paused => {
                open(&self.defined, &self.assigned)?;
                Ok(true)
            }
            _ => Ok(false),
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
        given.push(assigned.clone());
        match is_open {
            true => open(&defined, &assigned),
            false => Ok(()),
        }
    };
    let Err(why) = places.into_iter().try_for_each(&mut give_one) else {
        return Ok(());
    };
    // All or none, though one stays.
    let taken = given.iter().map(|assigned| take(&defined, assigned));
    let left = taken.fold(Ok(()), Result::and);
    Err(not_back(why, left))
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
    super::hide(defined, assigned.place);
    close_windows(defined, assigned)?;
    super::silence(defined, assigned)?;
    let window = defined.domain().take(engine, assigned.pe)?;
    defined.windows().forget(assigned.liobn);
    pci::windows::forget(&window);
    defined.lock_groups().retain(|it| it.pe != assigned.pe);
    Ok(())
}

/// The functions of a group, for a person: the first, and how many more.
pub fn group_text(place: Place) -> String {
    let (phb, at) = place;
    let Some(host) = pci::host(phb) else {
        return String::new();
    };
    let all = groups::members(host, at);
    match all.as_slice() {
        [] => String::new(),
        [first] => first.id.to_string(),
        [first, more @ ..] => alloc::format!("{}+{}", first.id, more.len()),
    }
}
