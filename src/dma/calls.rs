//! The engine's operations as others call them: each is timed and noted in the
//! ring of the thread that calls.

use super::error::{DmaError, ErrorKind};
use super::window::Window;
use super::{DetachMode, Engine};
use crate::addr::{BusAddr, HostAddr};
use crate::seam::{PeId, Platform};
use crate::tce::{Access, Tce};
use crate::trace::{Entry, Kind, Verdict};

/// What an operation is about, for its entry.
#[derive(Clone, Copy)]
pub(super) struct About {
    pub(super) kind: Kind,
    pub(super) bus: u64,
    pub(super) pages: u64,
    pub(super) target: u64,
}

pub(super) const fn about(kind: Kind, bus: BusAddr, pages: u64, target: u64) -> About {
    About {
        kind,
        bus: bus.get(),
        pages,
        target,
    }
}

/// About a PE.
const fn about_pe(kind: Kind, pe: PeId) -> About {
    about(kind, BusAddr::new(0), 0, Entry::pe(pe.phb, pe.pe))
}

#[cold]
pub(super) fn verdict(error: &DmaError) -> Verdict {
    match error.kind() {
        ErrorKind::Busy => Verdict::Busy,
        ErrorKind::NotMapped => Verdict::NotMapped,
        ErrorKind::Invalid => Verdict::Invalid,
        ErrorKind::OutOfRange => Verdict::OutOfRange,
        ErrorKind::NotOwned => Verdict::NotOwned,
        ErrorKind::NoResources => Verdict::NoResources,
        ErrorKind::Gone => Verdict::Gone,
        ErrorKind::Hardware => Verdict::Hardware,
    }
}

impl<P: Platform> Engine<P> {
    /// Runs an operation on `window` and notes it.
    #[inline]
    fn noted<T>(
        &self,
        window: &Window<P>,
        about: About,
        run: impl FnOnce() -> Result<T, DmaError>,
    ) -> Result<T, DmaError> {
        let began = self.platform.ticks();
        let result = run();
        let verdict = match &result {
            Ok(_) => Verdict::Done,
            Err(error) => verdict(error),
        };
        self.note(window, about, began, verdict);
        result
    }

    /// Notes an operation that began at `began`.
    #[inline]
    pub(super) fn note(&self, window: &Window<P>, about: About, began: u64, verdict: Verdict) {
        if let Some(ring) = self.platform.ring() {
            let end = self.platform.ticks();
            ring.note_parts(
                Entry::who(about.kind, verdict, window.owner().0),
                window.number(),
                about.bus,
                about.pages,
                about.target,
                end.wrapping_sub(began),
                end,
            );
        }
    }

    /// Notes a kill that began at `began`.
    #[cold]
    pub(super) fn note_kill(&self, pe: PeId, began: u64, done: bool) {
        let Some(ring) = self.platform.ring() else {
            return;
        };
        let end = self.platform.ticks();
        ring.note(&Entry {
            kind: Kind::Kill,
            verdict: if done {
                Verdict::Done
            } else {
                Verdict::Hardware
            },
            end,
            ticks: end.wrapping_sub(began),
            owner: Entry::NOBODY,
            liobn: 0,
            bus: 0,
            pages: 0,
            target: Entry::pe(pe.phb, pe.pe),
        });
    }

    /// Maps `pages` IO pages from `host` to the bus addresses from `bus`.
    ///
    /// Nothing changes when this fails, with one exception: if the kill fails,
    /// the entries are tombstones, the pages stay pinned and the PE is frozen.
    #[inline]
    pub fn map(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        host: HostAddr,
        pages: u64,
        access: Access,
    ) -> Result<(), DmaError> {
        match Tce::new(host, access) {
            Some(entry) if pages == 1 => self.map_one(window, bus, entry),
            _ => self.map_many(window, bus, host, pages, access),
        }
    }

    fn map_many(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        host: HostAddr,
        pages: u64,
        access: Access,
    ) -> Result<(), DmaError> {
        self.noted(window, about(Kind::Map, bus, pages, host.get()), || {
            self.do_map(window, bus, host, pages, access)
        })
    }

    #[inline(never)]
    fn map_one(&self, window: &Window<P>, bus: BusAddr, entry: Tce) -> Result<(), DmaError> {
        self.fill_one(window, bus, entry, Kind::Map)
            .unwrap_or_else(|| self.map_unusual(window, bus, entry))
    }

    #[cold]
    fn map_unusual(&self, window: &Window<P>, bus: BusAddr, entry: Tce) -> Result<(), DmaError> {
        self.prepare_one(window, Some(entry.host()));
        self.map_many(window, bus, entry.host(), 1, entry.access())
    }

    /// Unmaps `pages` IO pages from `bus`. Entries that are empty stay so.
    /// Returns how many were mapped.
    ///
    /// When this returns `Ok`, no device can reach memory through any of them,
    /// also where another thread was unmapping the same entries.
    #[inline]
    pub fn unmap(&self, window: &Window<P>, bus: BusAddr, pages: u64) -> Result<u64, DmaError> {
        match pages {
            1 => self.unmap_one(window, bus),
            _ => self.unmap_many(window, bus, pages),
        }
    }

    fn unmap_many(&self, window: &Window<P>, bus: BusAddr, pages: u64) -> Result<u64, DmaError> {
        self.noted(window, about(Kind::Unmap, bus, pages, 0), || {
            self.do_unmap(window, bus, pages)
        })
    }

    #[inline(never)]
    fn unmap_one(&self, window: &Window<P>, bus: BusAddr) -> Result<u64, DmaError> {
        self.clear_one(window, bus)
            .unwrap_or_else(|| self.unmap_unusual(window, bus))
    }

    /// [`Engine::unmap`] of one page, if nothing is unusual; `None` says that nothing was
    /// done.
    #[inline(always)] // As [`Engine::remap_quickly`].
    pub fn unmap_quickly(&self, window: &Window<P>, bus: BusAddr) -> Option<Result<u64, DmaError>> {
        self.clear_one(window, bus)
    }

    #[cold]
    fn unmap_unusual(&self, window: &Window<P>, bus: BusAddr) -> Result<u64, DmaError> {
        self.prepare_one(window, None);
        self.unmap_many(window, bus, 1)
    }

    /// Unmaps whatever is mapped in the window, whatever its size, and returns
    /// how many pages that were. The PEs stay attached. Its time follows what
    /// is populated. For each reset of a partition or a function.
    pub fn clear(&self, window: &Window<P>) -> Result<u64, DmaError> {
        let range = window.range();
        let pages = range.bytes() >> range.shape().page().get();
        self.noted(window, about(Kind::Clear, range.base(), pages, 0), || {
            self.do_clear(window)
        })
    }

    /// Makes the entries from `bus` what `entries` say, whatever they were.
    ///
    /// All entries are checked and pinned before the first is stored: nothing
    /// changes on failure, except as [`DmaError::Kill`] says. A mapping waits
    /// for an entry whose unmap is not over; if that takes longer than a kill
    /// does, the entry is busy. Old pages are released after
    /// the one kill.
    pub fn remap(&self, window: &Window<P>, bus: BusAddr, entries: &[Tce]) -> Result<(), DmaError> {
        let pages = entries.len() as u64;
        self.noted(window, about(Kind::Remap, bus, pages, 0), || {
            self.do_remap(window, bus, entries)
        })
    }

    /// [`Engine::remap`] of one entry that is empty, and `entry` a mapping, if nothing
    /// is unusual. `None` says that nothing was done: [`Engine::remap_one`] does it,
    /// and finds out what the next one needs here.
    #[inline(always)] // In the hypervisor call that comes most often.
    pub fn remap_quickly(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        entry: Tce,
    ) -> Option<Result<(), DmaError>> {
        self.fill_one(window, bus, entry, Kind::Remap)
    }

    /// [`Engine::remap`] of one entry.
    #[cold]
    pub fn remap_one(&self, window: &Window<P>, bus: BusAddr, entry: Tce) -> Result<(), DmaError> {
        if entry.is_mapping() {
            self.prepare_one(window, Some(entry.host()));
        }
        self.remap(window, bus, core::slice::from_ref(&entry))
    }

    /// Makes all of the `pages` entries from `bus` the same `entry`.
    pub fn remap_same(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        entry: Tce,
        pages: u64,
    ) -> Result<(), DmaError> {
        self.noted(window, about(Kind::Remap, bus, pages, 0), || {
            self.do_remap_same(window, bus, entry, pages)
        })
    }

    /// Maps `pages` pages from `host` to the bus addresses from `bus`, in place
    /// of what was there.
    pub fn remap_run(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        host: HostAddr,
        pages: u64,
        access: Access,
    ) -> Result<(), DmaError> {
        self.noted(window, about(Kind::Remap, bus, pages, 0), || {
            self.do_remap_run(window, bus, host, pages, access)
        })
    }

    /// Lets `pe` do DMA through `window`. Several PEs of one partition may
    /// share a window.
    ///
    /// The PE is known to the window before its TVE is on, so that no unmap can
    /// miss its kill.
    ///
    /// A PE stays its partition's until a detach with [`DetachMode::Reset`] from
    /// its last window, or [`Engine::release_pe`]: another partition's window is
    /// refused until then, after a failed attach too.
    pub fn attach(&self, window: &Window<P>, pe: PeId) -> Result<(), DmaError> {
        self.noted(window, about_pe(Kind::Attach, pe), || {
            self.do_attach(window, pe)
        })
    }

    /// Ends the use of `window` by `pe`. When the last PE is gone, all entries
    /// are cleared, the table is verified to be zero, and only then are the
    /// pages released; the window maps nothing until a PE is attached. On failure the PE is frozen and stays attached with all
    /// pins; the detach may be tried again. Only [`DmaError::NotZero`] is final:
    /// the PE is detached then, and the window takes nothing any more.
    ///
    /// It waits for the operations that run when the PE's TVE is off, as they will
    /// kill it: if that fails late, the PE is frozen in the hands of whoever detaches
    /// it, not of its next owner.
    pub fn detach(&self, window: &Window<P>, pe: PeId, mode: DetachMode) -> Result<(), DmaError> {
        self.noted(window, about_pe(Kind::Detach, pe), || {
            self.do_detach(window, pe, mode)
        })
    }

    /// Empties a window that no PE uses, as the detach of its last PE does: for one
    /// that may have been filled before a PE came.
    pub fn empty(&self, window: &Window<P>) -> Result<(), DmaError> {
        let range = window.range();
        let pages = range.bytes() >> range.shape().page().get();
        self.noted(window, about(Kind::Clear, range.base(), pages, 0), || {
            self.do_empty(window)
        })
    }

    /// Removes `window` for good: refuses new operations, waits for those that
    /// run, detaches all PEs, and frees the table. After a failure the window
    /// stays closed, with its pins; removal may be tried again.
    pub fn remove(&self, window: &Window<P>, mode: DetachMode) -> Result<(), DmaError> {
        let about = about(Kind::Remove, BusAddr::new(0), 0, 0);
        self.noted(window, about, || self.do_remove(window, mode))
    }

    /// Makes a window usable again whose kill failed: resets each PE that
    /// failed, through this window or another, kills all, and only then
    /// releases what was kept. When it returns `Ok`, no PE of the window is
    /// frozen by the engine. On failure the window stays as it was; recovery
    /// may be tried again.
    pub fn recover(&self, window: &Window<P>) -> Result<(), DmaError> {
        let about = about(Kind::Recover, BusAddr::new(0), 0, 0);
        self.noted(window, about, || self.do_recover(window))
    }
}
