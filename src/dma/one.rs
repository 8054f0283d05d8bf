//! One page: mapped or unmapped with nothing unusual on the way.
//!
//! What is checked, pinned, killed, marked and noted is what the operations on many
//! pages do, in the same order; only the shape of the code differs: all of it is in
//! one function and in registers. What is unusual (an entry in use, a level that is
//! missing, several PEs, a region that was not used before, ...) is found out before
//! anything was changed, and left to those operations, which say what is wrong.

use super::calls::{About, about, verdict};
use super::error::DmaError;
use super::kill::Pe;
use super::operation::Operation;
use super::window::{InFlight, Window};
use crate::addr::{BusAddr, HostAddr};
use crate::kill::{self, Claim, Killed};
use crate::seam::{PhbError, Platform};
use crate::tce::entry::{self, RIGHTS};
use crate::tce::tree::Leaf;
use crate::tce::{Slot, Stamp, Tce};
use crate::trace::{Entry, Kind, Verdict};

impl<P: Platform> super::Engine<P> {
    /// Maps the page of `entry` to `bus`, where nothing is mapped yet. `None` if
    /// anything is unusual: nothing was done then, and nothing noted.
    #[inline(always)]
    pub(super) fn fill_one(
        &self,
        window: &Window<P>,
        bus: BusAddr,
        entry: Tce,
        kind: Kind,
    ) -> Option<Result<(), DmaError>> {
        let begun = self.begin_fill(window, bus, entry)?;
        let target = match kind {
            Kind::Map => entry.host().get(),
            _ => 0,
        };
        let Begun {
            pe,
            in_flight,
            began,
        } = begun;
        let done = match kill::kill_quickly(&self.platform, &window.stake, &pe.killer) {
            Ok(_) => {
                drop(in_flight);
                self.note_one(window, about(kind, bus, 1, target), began);
                Ok(())
            }
            Err(claim) => {
                let about = about(kind, bus, 1, target);
                self.fill_slowly(window, about, pe, in_flight, began, claim)
            }
        };
        Some(done)
    }

    /// The end of [`Engine::fill_one`](super::Engine::fill_one) where others kill too,
    /// or the PHB takes its time.
    #[cold]
    fn fill_slowly<'w>(
        &'w self,
        window: &'w Window<P>,
        about: About,
        pe: &Pe<P>,
        in_flight: InFlight<'w>,
        began: u64,
        claim: Claim,
    ) -> Result<(), DmaError> {
        match claim.kill(&self.platform, &window.stake, pe.id, &pe.killer) {
            Ok(_) => {
                drop(in_flight);
                self.note(window, about, began, Verdict::Done);
                Ok(())
            }
            Err(error) => {
                let begun = Begun {
                    pe,
                    in_flight,
                    began,
                };
                Err(self.end_failed(window, about, None, begun, error))
            }
        }
    }

    /// Checks, pins and stores.
    #[inline(always)]
    fn begin_fill<'w>(
        &'w self,
        window: &'w Window<P>,
        bus: BusAddr,
        entry: Tce,
    ) -> Option<Begun<'w, P>> {
        if !entry.is_mapping() {
            return None;
        }
        let (memory, began) = (&self.platform, self.platform.ticks());
        let range = window.range.page(bus)?;
        let state = window.state.lock();
        let pe = self.pe_at(state.front()?.place)?;
        let leaf = state.tree.find_leaf(memory, range.first())?;
        if memory.load(leaf.table, leaf.index) != 0 {
            return None;
        }
        let pin = state.last.as_ref()?.pin_page(entry.host())?;
        memory.store(leaf.table, leaf.index, entry.bits());
        state.tree.used(memory, &leaf, 1);
        let in_flight = window.enter();
        pin.keep();
        Some(Begun {
            pe,
            in_flight,
            began,
        })
    }

    /// Unmaps the page at `bus`, if there is one. `None` if anything is unusual:
    /// nothing was done then, and nothing noted.
    #[inline(always)]
    pub(super) fn clear_one(
        &self,
        window: &Window<P>,
        bus: BusAddr,
    ) -> Option<Result<u64, DmaError>> {
        let began = self.platform.ticks();
        let Some((begun, buried)) = self.begin_clear(window, bus, began)? else {
            return Some(self.clear_nothing(window, bus, began));
        };
        let Begun {
            pe,
            in_flight,
            began,
        } = begun;
        let done = match kill::kill_quickly(&self.platform, &window.stake, &pe.killer) {
            Ok(killed) => {
                self.exhume_one(window, buried, &killed);
                drop(in_flight);
                self.note_one(window, about(Kind::Unmap, bus, 1, 0), began);
                Ok(1)
            }
            Err(claim) => {
                let begun = Begun {
                    pe,
                    in_flight,
                    began,
                };
                self.clear_slowly(window, bus, begun, buried, claim)
            }
        };
        Some(done)
    }

    /// The end of [`Engine::clear_one`](super::Engine::clear_one) where others kill
    /// too, or the PHB takes its time.
    #[cold]
    fn clear_slowly<'w>(
        &'w self,
        window: &'w Window<P>,
        bus: BusAddr,
        begun: Begun<'w, P>,
        buried: Buried,
        claim: Claim,
    ) -> Result<u64, DmaError> {
        let (pe, began) = (begun.pe, begun.began);
        let about = about(Kind::Unmap, bus, 1, 0);
        match claim.kill(&self.platform, &window.stake, pe.id, &pe.killer) {
            Ok(killed) => {
                self.exhume_one(window, buried, &killed);
                drop(begun.in_flight);
                self.note(window, about, began, Verdict::Done);
                Ok(1)
            }
            Err(error) => Err(self.end_failed(window, about, Some(buried.stamp), begun, error)),
        }
    }

    /// Notes that nothing was mapped at `bus`.
    fn clear_nothing(&self, window: &Window<P>, bus: BusAddr, began: u64) -> Result<u64, DmaError> {
        self.note(window, about(Kind::Unmap, bus, 1, 0), began, Verdict::Done);
        Ok(0)
    }

    /// Buries the entry; `Some(None)` if it is empty.
    #[inline(always)]
    fn begin_clear<'w>(
        &'w self,
        window: &'w Window<P>,
        bus: BusAddr,
        began: u64,
    ) -> Option<Option<(Begun<'w, P>, Buried)>> {
        let memory = &self.platform;
        let range = window.range.page(bus)?;
        let mut state = window.state.lock();
        let pe = self.pe_at(state.front()?.place)?;
        let Some(leaf) = state.tree.find_leaf(memory, range.first()) else {
            return Some(None);
        };
        let old = memory.load(leaf.table, leaf.index);
        if old & RIGHTS == 0 {
            // A tombstone is to be waited for: its kill is not over.
            return (old == 0).then_some(None);
        }
        let stamp = state.stamps.take()?;
        memory.store(leaf.table, leaf.index, stamp.bury(old));
        state.recent.note(range);
        let begun = Begun {
            pe,
            in_flight: window.enter(),
            began,
        };
        let buried = Buried {
            leaf,
            first: range.first(),
            old,
            stamp,
        };
        Some(Some((begun, buried)))
    }

    /// Empties the entry, whose tombstone has kept the leaf where it was, and
    /// releases the page.
    #[inline(always)]
    fn exhume_one(&self, window: &Window<P>, buried: Buried, killed: &Killed<'_>) {
        let memory = &self.platform;
        let Buried {
            leaf,
            first,
            old,
            stamp,
        } = buried;
        let (host, wrote, shift) = (entry::address(old), entry::wrote(old), window.page_shift());
        let mut state = window.state.lock();
        memory.store(leaf.table, leaf.index, 0);
        if state.tree.emptied(memory, &leaf, 1) {
            state.note_empty(memory, first);
        }
        state.stamps.give(stamp);
        let last = state.last.as_ref();
        let released = last.is_some_and(|last| last.release_page(host, shift, wrote, killed));
        drop(state);
        if !released {
            window.release_page(host, wrote, killed);
        }
    }

    /// Looks up what an operation on one page has missed, if it was that, for the
    /// next one: `host` is the page to be mapped.
    #[cold]
    pub(super) fn prepare_one(&self, window: &Window<P>, host: Option<HostAddr>) {
        let mut state = window.state.lock();
        if state.front().is_none() && window.limit != 0 {
            state.find_front(|pe| {
                let place = self.place(pe)?;
                self.pe_at(place)?.killer.is_plain().then_some(place)
            });
        }
        let is_ready = state.front().is_some();
        let is_at_hand = |host| state.last.as_ref().is_some_and(|last| last.admits(host));
        let missed = host.filter(|&host| is_ready && !is_at_hand(host));
        drop(state);
        if let Some(known) =
            missed.and_then(|host| window.holdings.known(host, window.page_shift()))
        {
            let old = window.state.lock().last.replace(known);
            // Without the lock: it may be the last to know that region.
            drop(old);
        }
    }

    /// A kill has failed: what [`Operation`] says comes of that.
    #[cold]
    fn end_failed<'w>(
        &'w self,
        window: &'w Window<P>,
        about: About,
        stamp: Option<Stamp>,
        begun: Begun<'w, P>,
        error: PhbError,
    ) -> DmaError {
        let Begun {
            pe,
            in_flight,
            began,
        } = begun;
        let error = self.kill_failed(pe.id, error);
        if let Some(range) = window.range.page(BusAddr::new(about.bus)) {
            Operation::of_one(self, window, range, stamp, in_flight).give_up(&error);
        }
        self.note(window, about, began, verdict(&error));
        error
    }

    #[inline(always)]
    fn note_one(&self, window: &Window<P>, about: About, began: u64) {
        if let Some(ring) = self.platform.ring() {
            let end = self.platform.ticks();
            ring.note_here(
                Entry::who(about.kind, Verdict::Done, window.owner().0),
                window.number(),
                about.bus,
                about.pages,
                about.target,
                end.wrapping_sub(began),
                end,
            );
        }
    }
}

/// An operation on one page whose entry is stored.
struct Begun<'w, P: Platform> {
    /// The PE that uses the window.
    pe: &'w Pe<P>,
    in_flight: InFlight<'w>,
    /// When it began, in ticks.
    began: u64,
}

/// An entry that is a tombstone now.
struct Buried {
    leaf: Leaf,
    first: Slot,
    /// What it was.
    old: u64,
    stamp: Stamp,
}
