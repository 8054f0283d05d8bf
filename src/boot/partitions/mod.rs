//! Partitions: defined, started, scheduled on threads, ended.
//!
//! What a partition has, memory and devices, is [`Defined`], whether it runs or
//! not; a run of it is a `Partition`.
//!
//! A vCPU belongs to one thread for as long as its partition runs, of a core that
//! is its partition's unless sharing is asked for.

mod audited;
pub mod check;
mod console;
mod control;
mod devices;
mod groups;
mod host;
mod load;
mod manifest;
mod memory;
mod mitigations;
mod roster;
mod run;
mod signals;
mod slot;
mod threads;
mod xive;

pub use audited::audited;
pub use console::{console, is_attached, take_typed};
pub use control::{destroy, end_all, pause, restart, resume, start, start_file, stop, tend};
pub use devices::{Withdrawn, attach, detach, group_text, withdraw};
pub use manifest::define_all;
pub use roster::{Assigned, Defined, all, chip_of, find, owner_of, owner_of_pe};
pub use run::turn;

use super::interrupts;
use crate::addr::GuestAddr;
use crate::cpu::guest::Vcpu;
use crate::cpu::{self, Area};
use crate::memory::frames::FrameError;
use crate::memory::radix::RadixError;
use crate::papr::group::GroupError;
use crate::papr::layout::{File, LayoutError};
use crate::papr::terminal::Terminal;
use crate::partition::assign::AssignError;
use crate::partition::cores::NoCores;
use crate::partition::domain::{CloseError, DeviceError};
use crate::partition::life::{LifeError, State, Verb};
use crate::partition::lpid::NoLpid;
use crate::partition::memory::MemoryError;
use crate::pci::FunctionId;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use groups::Found;
use memory::Space;
use slot::{Activity, Slot};
use spin::{Mutex, MutexGuard, Once};
use xive::{Exploited, XiveError};

/// Why a partition is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// No partition has this name.
    #[error("{0}: no such partition. Type partitions for those that there are")]
    Unknown(String),
    /// A partition has this name.
    #[error("{0}: there is a partition of this name")]
    Exists(String),
    /// Not in this state.
    #[error("{0}")]
    Life(#[from] LifeError),
    /// Devices are neither given nor taken in this state.
    #[error("not now: the partition is {0}")]
    NotNow(State),
    /// The processor.
    #[error("POWER8 cannot run partitions yet; devices and DMA work")]
    Power8,
    /// PHBs were not taken.
    #[error("there is no DMA engine")]
    NoEngine,
    /// Kernel, initrd and tree.
    #[error("{0}")]
    Load(String),
    /// Files that are no kernel, or do not fit.
    #[error("{0}")]
    Layout(#[from] LayoutError),
    /// Its memory.
    #[error("memory: {0}")]
    Memory(#[from] MemoryError),
    /// The tree over its memory.
    #[error("{0}")]
    Radix(#[from] RadixError),
    /// No number for its run.
    #[error("{0}")]
    Lpid(#[from] NoLpid),
    /// Its cores.
    #[error("{0}")]
    Cores(#[from] NoCores),
    /// Its interrupts.
    #[error("interrupts: {0}")]
    Xive(#[from] XiveError),
    /// Memory for the partition table.
    #[error("{0}")]
    Frames(#[from] FrameError),
    /// Devices that it names.
    #[error("devices: {0}")]
    Assign(#[from] AssignError),
    /// Its windows.
    #[error("devices: {0}")]
    Window(#[from] DeviceError),
    /// Its LIOBNs are all in use.
    #[error("devices: no LIOBN is left")]
    TooManyDevices,
    /// A group that is not up.
    #[error("devices: the group is not up")]
    NotUp,
    /// A device that does not start.
    #[error("devices: {0}")]
    Device(String),
    /// A text that names no device.
    #[error("{0}: expected an address as 0000:01:00.0 or vendor:device as 1b36:0010")]
    NoDevice(String),
    /// A device that no partition has.
    #[error("{0}: no partition has it")]
    Nobodys(FunctionId),
    /// Its groups.
    #[error("devices: {0}")]
    Group(#[from] GroupError),
    /// What was half done could not be undone.
    #[error("{}; and then {}", .0[0], .0[1])]
    NotBack(Box<[PartitionError; 2]>),
    /// Something that does not end.
    #[error("{0}")]
    Close(#[from] CloseError),
}

/// A run of a partition.
struct Partition {
    defined: Arc<Defined>,
    lpid: u64,
    entry: GuestAddr,
    memory: Space,
    /// Its groups of devices, as its tree tells them.
    groups: Vec<Found>,
    slots: Box<[Slot]>,
    /// LPCR of vCPUs that are started.
    lpcr: AtomicU64,
    /// Key of its kernel's hashes (POWER10 and later).
    hash_key: u64,
    /// Timebase at which its threads were first waited for; 0 while they are not.
    waited_since: AtomicU64,
    /// How its interrupts come, unless by calls (XICS).
    xive: Option<Exploited>,
    terminal: Mutex<Terminal>,
}

/// Takes the registers of a group out of reach of its partition's run, if there
/// is one.
fn hide(defined: &Defined, (phb, at): roster::Place) {
    let Some(host) = super::pci::host(phb) else {
        return;
    };
    let pages = groups::pages(host, at);
    let all = partitions();
    let mut runs = all.iter();
    if let Some(run) = runs.find(|run| core::ptr::eq(&*run.defined, defined)) {
        run.memory.hide(&pages);
    }
}

/// Takes the interrupts of a group, whose calls have ended, from its partition's
/// run, if there is one.
fn silence(defined: &Defined, assigned: &Assigned) -> Result<(), XiveError> {
    let find = || {
        let runs = partitions();
        let mut runs = runs.iter();
        let found = runs.find(|run| core::ptr::eq(&*run.defined, defined));
        found.cloned()
    };
    let Some(run) = find() else { return Ok(()) };
    let group = run.groups.iter().find(|group| group.is(assigned));
    match group.zip(run.xive.as_ref()) {
        Some((group, xive)) => group.silence(xive, &run.memory),
        None => Ok(()),
    }
}

/// What it starts with, each time.
#[derive(Clone)]
pub struct Plan {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// Bytes of memory.
    pub bytes: u64,
    /// Virtual processors.
    pub vcpus: usize,
    /// Its kernel; without one it cannot be started.
    pub kernel: Option<File<'static>>,
    /// Its initrd.
    pub initrd: Option<File<'static>>,
    /// Its kernel's command line.
    pub bootargs: String,
    /// Its cores may be shared with others that say so too.
    pub shares: bool,
}

impl Partition {
    fn name(&self) -> &str {
        self.defined.name()
    }

    fn state(&self) -> State {
        self.defined.life().state()
    }

    /// Gives a new vCPU what all vCPUs of this run have.
    fn adopt(&self, vcpu: &mut Vcpu) {
        vcpu.context = core::ptr::from_ref(self).expose_provenance() as u64;
        vcpu.set_hash_key(self.hash_key);
    }

    /// Ends it by its own doing, unless it is ended already; wakes its threads.
    fn end(&self, verb: Verb) {
        // Whoever was first decides.
        let _ = self.defined.life().apply(verb);
        for slot in &self.slots {
            kick(slot.thread);
        }
    }
}

/// Makes another thread look at what there is to do.
fn kick(thread: &Area) {
    if thread.pir() != cpu::pir() {
        interrupts::wake(thread);
    }
}

/// An empty list is not zero, and `.data` stays empty: hence the `Once`.
static PARTITIONS: Once<Mutex<Vec<Arc<Partition>>>> = Once::new();

/// The partitions that were started.
fn partitions() -> MutexGuard<'static, Vec<Arc<Partition>>> {
    PARTITIONS.call_once(Mutex::default).lock()
}

/// PTCR's value, for threads that come to run a vCPU.
static TABLE: AtomicU64 = AtomicU64::new(0);

/// How a run of a partition is seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its LPID.
    pub lpid: u64,
    /// vCPUs that run, or would.
    pub running: usize,
    /// vCPUs that wait for an interrupt or a prod.
    pub waiting: usize,
    /// vCPUs that were not started, or stopped themselves.
    pub stopped: usize,
}

/// The run of a partition, if it has one.
pub fn seen(defined: &Defined) -> Option<Seen> {
    let runs = partitions();
    let run = runs
        .iter()
        .find(|run| core::ptr::eq(&*run.defined, defined))?;
    let count = |activity| {
        let slots = run.slots.iter();
        slots.filter(|slot| slot.activity() == activity).count()
    };
    Some(Seen {
        lpid: run.lpid,
        running: count(Activity::Runs),
        waiting: count(Activity::Ceded),
        stopped: count(Activity::Stopped) + count(Activity::Starting),
    })
}

/// The vCPUs that are on a thread: `web.0` is the first one of `web`.
pub fn vcpus_of(thread: &Area) -> Vec<String> {
    let runs = partitions();
    let all = runs.iter().flat_map(|run| {
        let slots = run.slots.iter().enumerate();
        let here = slots.filter(|(_, slot)| slot.thread.index() == thread.index());
        here.map(|(at, _)| alloc::format!("{}.{at}", run.name()))
    });
    all.collect()
}

/// Names of those that are defined.
pub fn names() -> Vec<String> {
    let all = roster::all();
    all.iter().map(|defined| defined.name().into()).collect()
}
