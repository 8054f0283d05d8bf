//! The whole model: tables, PHBs, devices, who owns what, and what goes wrong.

use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::vec::Vec;

use super::frames::Frames;
use super::phb::{DmaFault, Pest, PhbModel};
use super::rng::Rng;
use super::table_store::TableStore;
use crate::addr::{BusAddr, HostAddr};
use crate::memory::ledger::OwnerId;
use crate::seam::{PeId, PhbError, TveSelect};
use crate::trace::Trace;

/// A call of the engine into a seam, as hooks see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A store to table memory.
    Store,
    /// A barrier.
    Barrier,
    /// A frame is asked for.
    Allocate,
    /// A frame comes back.
    Free,
    /// A kill, before it does anything.
    Kill,
    /// A kill that has forgotten, but not returned.
    KillDone,
    /// A freeze.
    Freeze,
    /// The end of a freeze.
    ClearFreeze,
    /// A TVE is set, or cleared.
    SetTve,
    /// Bus mastering goes off.
    BusMasterOff,
    /// Functions are reset.
    Reset,
    /// Posted writes are waited for.
    Push,
}

/// What must not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A device reached memory that its partition does not own now.
    ///
    /// A write reaches memory when it lands, which may be after it was translated.
    ForeignAccess {
        /// The PE.
        pe: PeId,
        /// Address it used.
        bus: BusAddr,
        /// Address it reached.
        host: HostAddr,
        /// Who owns that.
        owner: Option<OwnerId>,
    },
    /// A table was freed that a PHB still remembers or can find.
    TableStillKnown(HostAddr),
    /// A frame was freed that was not allocated so.
    WrongFree(HostAddr),
    /// A table was looked at, or stored into, that does not exist, or behind its end.
    BeyondTable {
        /// The table.
        table: HostAddr,
        /// The entry.
        index: usize,
    },
    /// A slow call was made with interrupts off, so under a lock.
    SlowUnderLock(Step),
    /// A TVE was enabled with a table that is none.
    BadTve(PeId),
}

/// One DMA that reached memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hit {
    /// The PE.
    pub pe: PeId,
    /// Address it used.
    pub bus: BusAddr,
    /// Address it reached.
    pub host: HostAddr,
    /// Whether it wrote.
    pub write: bool,
}

/// A failure to inject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Fallible calls that succeed before it.
    pub after: u64,
    /// Whether all later ones fail too, as in a fenced PHB.
    pub forever: bool,
    /// What a PHB answers.
    pub error: PhbError,
}

type Hook = Box<dyn FnMut(&Machine, Step) + Send>;

/// A machine that implements all seams of the engine.
pub struct Machine {
    pub(super) inner: Mutex<Inner>,
    hook: Mutex<Option<Hook>>,
    // Where operations are noted, if they are; and the clock of the notes.
    pub(super) notes: OnceLock<Box<Trace>>,
    pub(super) clock: AtomicU64,
}

pub(super) struct Inner {
    pub(super) tables: TableStore,
    pub(super) frames: Frames,
    pub(super) phbs: Vec<PhbModel>,
    pub(super) rng: Rng,
    owners: BTreeMap<u64, (u64, OwnerId)>,
    pe_owners: BTreeMap<PeId, OwnerId>,
    stray: Option<Stray>,
    // One in how many writes is posted; 0 for none.
    posting: u64,
    posted: Vec<Hit>,
    pub(super) hits: Vec<Hit>,
    written: BTreeSet<u64>,
    pub(super) violations: Vec<Violation>,
    pub(super) failure: Option<Failure>,
    pub(super) fallible: u64,
}

/// DMA that comes when nobody expects it.
struct Stray {
    // Once in how many steps.
    period: u64,
    // PHB and RID.
    functions: Vec<(u16, u16)>,
    pages: Vec<BusAddr>,
}

/// Where table memory begins.
const TABLE_BASE: u64 = 0x7f00_0000_0000;

impl Machine {
    /// A machine with `table_bytes` of table memory and these PHBs; `seed`
    /// decides what the model is free to decide.
    pub fn new(phbs: Vec<PhbModel>, table_bytes: u64, seed: u64) -> Self {
        let base = HostAddr::new(TABLE_BASE);
        let inner = Inner {
            tables: TableStore::new(base, table_bytes),
            frames: Frames::new(base, table_bytes),
            phbs,
            rng: Rng::new(seed),
            owners: BTreeMap::new(),
            pe_owners: BTreeMap::new(),
            stray: None,
            posting: 0,
            posted: Vec::new(),
            hits: Vec::new(),
            written: BTreeSet::new(),
            violations: Vec::new(),
            failure: None,
            fallible: 0,
        };
        Self {
            inner: Mutex::new(inner),
            hook: Mutex::new(None),
            notes: OnceLock::new(),
            clock: AtomicU64::new(0),
        }
    }

    /// From now on operations are noted here. For tests with one thread: a ring
    /// belongs to one.
    pub fn start_trace(&self) -> &Trace {
        let ring = self.notes.get_or_init(|| Box::new(Trace::new()));
        ring.begin(0, 0, 1);
        ring
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Says who owns the memory from `start` from now on.
    pub fn set_owner(&self, start: HostAddr, bytes: u64, owner: Option<OwnerId>) {
        let mut inner = self.inner();
        inner.owners.remove(&start.get());
        if let Some(owner) = owner {
            inner
                .owners
                .insert(start.get(), (start.get() + bytes, owner));
        }
    }

    /// Puts the function `rid` into `pe`, which belongs to `owner`.
    pub fn add_function(&self, pe: PeId, rid: u16, owner: OwnerId) {
        let mut inner = self.inner();
        inner.pe_owners.insert(pe, owner);
        inner.phbs[usize::from(pe.phb)].rtt.insert(rid, pe.pe);
    }

    /// Lets `functions` (PHB and RID) do DMA to the IO pages `pages` once in
    /// `period` steps, without freezing on a fault.
    pub fn set_stray(&self, period: u64, functions: Vec<(u16, u16)>, pages: Vec<BusAddr>) {
        self.inner().stray = Some(Stray {
            period,
            functions,
            pages,
        });
    }

    /// Lets one in `one_in` writes of devices be posted: it is translated, and
    /// lands at any later time, at the latest when its PE's writes are pushed.
    pub fn post_writes(&self, one_in: u64) {
        self.inner().posting = one_in;
    }

    /// Writes that have not landed.
    pub fn posted(&self) -> usize {
        self.inner().posted.len()
    }

    /// Calls `hook` at each step, before it happens; not from within itself.
    pub fn set_hook(&self, hook: impl FnMut(&Machine, Step) + Send + 'static) {
        *self
            .hook
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Box::new(hook));
    }

    /// Ends what [`Machine::set_hook`] began.
    pub fn clear_hook(&self) {
        *self
            .hook
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    /// Makes fallible calls fail, counted from now; `None` makes all succeed.
    pub fn fail(&self, failure: Option<Failure>) {
        let mut inner = self.inner();
        inner.failure = failure;
        inner.fallible = 0;
    }

    /// Whether no failure is to come.
    pub fn is_sound(&self) -> bool {
        self.inner().failure.is_none()
    }

    /// Loses a store: of those that clear an entry, the one after `after` more.
    pub fn lose_clear(&self, after: u64) {
        self.inner().tables.lose(after);
    }

    /// Fallible calls since [`Machine::fail`].
    pub fn fallible_calls(&self) -> u64 {
        self.inner().fallible
    }

    /// Kills of the PHB until now.
    pub fn kills(&self, phb: u16) -> u64 {
        self.inner().phbs[usize::from(phb)].kills
    }

    /// Bytes of frames that are allocated.
    pub fn table_bytes(&self) -> u64 {
        self.inner().frames.live_bytes()
    }

    /// What went wrong until now.
    pub fn violations(&self) -> Vec<Violation> {
        self.inner().violations.clone()
    }

    /// DMA that reached memory since the last call.
    pub fn take_hits(&self) -> Vec<Hit> {
        core::mem::take(&mut self.inner().hits)
    }

    /// Whether a device wrote the page of `1 << shift` bytes at `host` since
    /// [`Machine::forget_written`].
    pub fn was_written(&self, host: HostAddr, shift: u32) -> bool {
        let start = host.get() >> shift << shift;
        self.inner()
            .written
            .range(start..start + (1 << shift))
            .next()
            .is_some()
    }

    /// Forgets what devices wrote.
    pub fn forget_written(&self) {
        self.inner().written.clear();
    }

    /// Whether `pe` is frozen.
    pub fn is_frozen(&self, pe: PeId) -> bool {
        self.inner().phbs[usize::from(pe.phb)].pes[usize::from(pe.pe)].frozen
    }

    /// The first error of `pe`.
    pub fn pest(&self, pe: PeId) -> Option<Pest> {
        self.inner().phbs[usize::from(pe.phb)].pes[usize::from(pe.pe)].pest
    }

    /// Turns bus mastering of `pe` on, as a driver does.
    pub fn bus_master_on(&self, pe: PeId) {
        self.inner().phbs[usize::from(pe.phb)].pes[usize::from(pe.pe)].bus_master = true;
    }

    /// The value of a TVE.
    pub fn tve(&self, pe: PeId, select: TveSelect) -> u64 {
        let tves = self.inner().phbs[usize::from(pe.phb)].pes[usize::from(pe.pe)].tves;
        tves[usize::from(select == TveSelect::High)].bits()
    }

    /// DMA by function `rid` of `phb`; a fault freezes the PE, as in a PHB.
    pub fn dma(&self, phb: u16, rid: u16, bus: BusAddr, write: bool) -> Result<HostAddr, DmaFault> {
        self.inner().dma(phb, rid, bus, write, true)
    }

    /// As [`Machine::dma`], without the freeze: for asking what is reachable.
    pub fn probe(
        &self,
        phb: u16,
        rid: u16,
        bus: BusAddr,
        write: bool,
    ) -> Result<HostAddr, DmaFault> {
        self.inner().dma(phb, rid, bus, write, false)
    }

    /// All that may happen between two steps of the engine.
    pub(super) fn step(&self, step: Step) -> MutexGuard<'_, Inner> {
        let hook = self
            .hook
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take();
        if let Some(mut hook) = hook {
            hook(self, step);
            let mut slot = self
                .hook
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            slot.get_or_insert(hook);
        }
        let mut inner = self.inner();
        inner.stray_dma();
        inner
    }
}

impl Inner {
    fn owner_of(&self, host: u64) -> Option<OwnerId> {
        let (_, &(end, owner)) = self.owners.range(..=host).next_back()?;
        (host < end).then_some(owner)
    }

    /// Entry `index` of `table` is accessed: it must be there.
    pub(super) fn check_table(&mut self, table: HostAddr, index: usize) {
        if !self.frames.has(table, index) {
            self.violations
                .push(Violation::BeyondTable { table, index });
        }
    }

    /// `hit` is in memory now: it must be its owner's now.
    fn arrive(&mut self, hit: Hit) {
        let owner = self.owner_of(hit.host.get());
        if owner.is_none() || owner != self.pe_owners.get(&hit.pe).copied() {
            self.violations.push(Violation::ForeignAccess {
                pe: hit.pe,
                bus: hit.bus,
                host: hit.host,
                owner,
            });
        }
        if hit.write {
            self.written.insert(hit.host.get());
        }
    }

    /// All posted writes of `pe` land.
    pub(super) fn land(&mut self, pe: PeId) {
        let (landing, rest): (Vec<Hit>, Vec<Hit>) = core::mem::take(&mut self.posted)
            .into_iter()
            .partition(|hit| hit.pe == pe);
        self.posted = rest;
        for hit in landing {
            self.arrive(hit);
        }
    }

    /// Of many posted writes, one lands.
    fn land_some(&mut self) {
        let waiting = self.posted.len() as u64;
        if waiting != 0 && (waiting > 16 || self.rng.one_in(16)) {
            // In their order: a PHB keeps that.
            let hit = self.posted.remove(0);
            self.arrive(hit);
        }
    }

    fn stray_dma(&mut self) {
        self.land_some();
        let Some(Stray {
            period,
            functions,
            pages,
        }) = &self.stray
        else {
            return;
        };
        if functions.is_empty() || pages.is_empty() || !self.rng.one_in(*period) {
            return;
        }
        let (phb, rid) = functions[self.rng.below(functions.len() as u64) as usize];
        let bus = pages[self.rng.below(pages.len() as u64) as usize];
        let write = self.rng.one_in(2);
        let _ = self.dma(phb, rid, bus, write, false);
        if self.rng.one_in(2) {
            let rng = &mut self.rng;
            self.tables.drain_some(rng);
        }
    }

    fn dma(
        &mut self,
        phb: u16,
        rid: u16,
        bus: BusAddr,
        write: bool,
        freeze: bool,
    ) -> Result<HostAddr, DmaFault> {
        let model = &mut self.phbs[usize::from(phb)];
        let pe = *model.rtt.get(&rid).ok_or(DmaFault::NoPe)?;
        let state = &model.pes[usize::from(pe)];
        if !state.bus_master {
            return Err(DmaFault::NotMaster);
        }
        if state.frozen {
            return Err(DmaFault::Frozen);
        }
        let result = model.translate(pe, bus, write, &self.tables, &mut self.rng);
        let id = PeId { phb, pe };
        match result {
            Ok(host) => {
                let hit = Hit {
                    pe: id,
                    bus,
                    host,
                    write,
                };
                self.hits.push(hit);
                if write && self.posting != 0 && self.rng.one_in(self.posting) {
                    self.posted.push(hit);
                } else {
                    self.arrive(hit);
                }
            }
            Err(fault) if freeze => {
                let state = &mut self.phbs[usize::from(phb)].pes[usize::from(pe)];
                state.frozen = true;
                state.pest.get_or_insert(Pest { rid, bus, fault });
            }
            Err(_) => {}
        }
        result
    }

    /// Whether this fallible call is to fail.
    pub(super) fn fails(&mut self) -> Option<PhbError> {
        let now = self.fallible;
        self.fallible += 1;
        let failure = self
            .failure
            .filter(|f| now == f.after || f.forever && now > f.after)?;
        Some(failure.error)
    }
}
