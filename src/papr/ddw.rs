//! Dynamic DMA windows: `ibm,query-pe-dma-window`, `ibm,create-pe-dma-window`,
//! `ibm,remove-pe-dma-window` and `ibm,reset-pe-dma-window` (LoPAR 2.9, "DMA
//! Window Manipulation Calls"; Linux's side is
//! `arch/powerpc/platforms/pseries/iommu.c`).
//!
//! A group has two windows at most, one for each TVE: the default one from bus
//! address 0, and one from 1 << 59. Which ones there are is known from the table
//! of LIOBNs alone. Control path: it allocates, attaches and waits.

use super::group::{Claim, Group, TVES};
use super::liobn::Liobns;
use super::rtas::{BUSY, HARDWARE, PARAMETER};
use crate::addr::BusAddr;
use crate::dma::{
    DetachMode, DmaError, Engine, ErrorKind, Liobn, MOST_PAGES_AT_ONCE, Quota, Window, WindowConfig,
};
use crate::memory::ledger::Holdings;
use crate::partition::map::GuestMap;
use crate::seam::{PeId, Platform, TveSelect};
use crate::tce::shape::{DMA_BITS, MIN_LEVEL_SHIFT, TVE_BITS};
use crate::tce::{PageShift, PageSizes, ShapeError, TableShape};
use alloc::sync::Arc;

/// Base-2 logarithm of the default window's bytes. Its IO pages have 4K, as
/// Linux takes it from `ibm,dma-window`.
pub const DEFAULT_SHIFT: u32 = 30;

/// How the default window of a group is made, on PHBs with these IO page sizes:
/// in two levels, so that it costs what is mapped.
///
/// # Errors
/// None with these numbers.
pub fn default_window(sizes: PageSizes) -> Result<WindowConfig, ShapeError> {
    Ok(WindowConfig {
        base: BusAddr::new(0),
        pages: 1 << (DEFAULT_SHIFT - PageShift::K4.get()),
        shape: TableShape::new(PageShift::K4, 2, MIN_LEVEL_SHIFT)?,
        sizes,
        limit: MOST_PAGES_AT_ONCE,
    })
}

/// Base-2 logarithm of the most bytes of a window from address 0: behind them
/// is the host bridge's own MMIO, up to 4 GiB.
const LOW_SHIFT: u32 = 31;

/// Index bits of one level at most: tables of 64K.
const LEVEL_BITS: u32 = 13;

/// The RTAS status of a call that did not work.
type Answer<T = ()> = Result<T, i32>;

/// What a partition is told about a failure: to try again, or that the machine
/// cannot. Linux goes on without the window then.
fn refusal(error: DmaError) -> i32 {
    match error.kind() {
        ErrorKind::Busy => BUSY,
        _ => HARDWARE,
    }
}

/// Answer of `ibm,query-pe-dma-window`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Available {
    /// Windows that may be created.
    pub windows: u32,
    /// Most entries of one, whatever its IO page size.
    pub entries: u64,
    /// IO page sizes, in PAPR's bits: see [`page_bit`].
    pub pages: u32,
}

/// A window as its partition is told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Described {
    /// Its number in the TCE calls.
    pub liobn: Liobn,
    /// First bus address.
    pub base: BusAddr,
    /// Bytes.
    pub bytes: u64,
    /// Its IO page size.
    pub page: PageShift,
    /// Levels of its table.
    pub levels: u32,
}

/// An IO page size in `ibm,query-pe-dma-window`; PAPR has none for 1G.
pub const fn page_bit(page: PageShift) -> u32 {
    match page {
        PageShift::K4 => 0x1,
        PageShift::K64 => 0x2,
        PageShift::M16 => 0x4,
        PageShift::M256 => 0x40,
        PageShift::M2 => 0x100,
        _ => 0,
    }
}

/// What a partition's window calls work on.
pub struct WindowCalls<'a, P: Platform> {
    /// The engine.
    pub engine: &'a Engine<P>,
    /// Where the partition's memory is.
    pub map: &'a GuestMap,
    /// Its windows.
    pub windows: &'a Liobns<P>,
    /// Its groups.
    pub groups: &'a [Arc<Group<P>>],
    /// The memory that its windows may map.
    pub holdings: &'a Arc<Holdings<P>>,
    /// What its tables are charged to.
    pub quota: &'a Arc<Quota>,
    /// Who knows all windows of the machine.
    pub watch: Watch<P>,
}

/// Who is told of windows that a partition makes.
pub struct Watch<P: Platform> {
    /// There is a window; no PE uses it yet.
    pub made: fn(&Arc<Window<P>>),
    /// It is removed.
    pub gone: fn(&Arc<Window<P>>),
    /// Tables that are allocated from now on are for this PE's PHB, or for any:
    /// they should be near it.
    pub tables_for: fn(Option<PeId>),
}

impl<P: Platform> WindowCalls<'_, P> {
    /// `ibm,query-pe-dma-window`: what the group of function `config` behind the
    /// host bridge `buid` could have beside what it has.
    ///
    /// # Errors
    /// The RTAS status.
    pub fn query(&self, config: u32, buid: u64) -> Answer<Available> {
        let group = self.group(config, buid)?;
        let free = |tve: &&TveSelect| self.windows.find(group.liobn(**tve)).is_none();
        let windows = TVES.iter().filter(free).count() as u32;
        let Some(tve) = TVES.iter().rev().find(free) else {
            return Ok(Available {
                pages: self.mask(group),
                ..Available::default()
            });
        };
        Ok(Available {
            windows,
            entries: self.most_entries(group, *tve),
            pages: self.mask(group),
        })
    }

    /// `ibm,create-pe-dma-window`: a window of `1 << window_shift` bytes in IO
    /// pages of `1 << page_shift`, where Pinion puts it.
    ///
    /// # Errors
    /// The RTAS status; nothing has changed.
    pub fn create(
        &self,
        config: u32,
        buid: u64,
        page_shift: u32,
        window_shift: u32,
    ) -> Answer<Described> {
        let group = self.group(config, buid)?;
        let page = PageShift::new(page_shift).map_err(|_| PARAMETER)?;
        if page_bit(page) & self.mask(group) == 0 {
            return Err(PARAMETER);
        }
        let bits = window_shift.checked_sub(page_shift).ok_or(PARAMETER)?;
        let claim = group.claim()?;
        let free = |tve: &&TveSelect| self.windows.find(group.liobn(**tve)).is_none();
        let tve = *TVES.iter().rev().find(free).ok_or(PARAMETER)?;
        if window_shift > reach(tve) {
            return Err(PARAMETER);
        }
        self.make(&claim, tve, page, bits)
    }

    /// `ibm,remove-pe-dma-window`: the window goes with all that it maps.
    ///
    /// # Errors
    /// The RTAS status; after a failure of the PHB it is there still, but maps
    /// nothing new, and may be removed again.
    pub fn remove(&self, liobn: u32) -> Answer {
        let liobn = Liobn(liobn);
        let has = |group: &&Arc<Group<P>>| TVES.iter().any(|&tve| group.liobn(tve) == liobn);
        let group = self.groups.iter().find(has).ok_or(PARAMETER)?;
        let claim = group.claim()?;
        let window = self.windows.find(liobn).ok_or(PARAMETER)?;
        self.unmake(&claim, liobn, &window)
    }

    /// `ibm,reset-pe-dma-window`: the group has its default window, empty, and
    /// no other, as when its partition starts.
    ///
    /// # Errors
    /// The RTAS status; it may be tried again.
    pub fn reset(&self, config: u32, buid: u64) -> Answer {
        let claim = self.group(config, buid)?.claim()?;
        for tve in TVES {
            let liobn = claim.group.liobn(tve);
            if let Some(window) = self.windows.find(liobn) {
                self.unmake(&claim, liobn, &window)?;
            }
        }
        // Also after a failure in between, when it has no name.
        self.leave_default(&claim)?;
        let group = claim.group;
        let attached = group
            .pes()
            .iter()
            .try_for_each(|&pe| self.engine.attach(group.default(), pe));
        if let Err(error) = attached {
            // It has no name until it works.
            self.leave_default(&claim)?;
            return Err(refusal(error));
        }
        group.set_without(false);
        self.name_default(group)
    }

    /// Takes a group's windows from its partition: those that it made are removed,
    /// the functions reset. The default window has its name again, and is to
    /// be detached.
    ///
    /// # Errors
    /// What the engine says; the group is closed, and this may be tried again.
    pub fn close(&self, group: &Group<P>) -> Result<(), DmaError> {
        let claim = group.claim_last();
        for tve in TVES {
            let liobn = group.liobn(tve);
            let Some(window) = self.windows.find(liobn) else {
                continue;
            };
            if !Arc::ptr_eq(&window, group.default()) {
                self.engine.remove(&window, DetachMode::Reset)?;
                (self.watch.gone)(&window);
                self.windows.forget(liobn);
            }
        }
        if group.is_without() {
            // Nobody resets them otherwise: they are in no window.
            for &pe in group.pes() {
                match self.engine.release_pe(pe) {
                    // It uses the default window still: to be detached.
                    Ok(()) | Err(DmaError::TveInUse { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            group.set_without(false);
        }
        let liobn = group.liobn(TveSelect::Low);
        if self.windows.find(liobn).is_none() {
            self.windows.insert(liobn, Arc::clone(group.default()))?;
        }
        drop(claim);
        Ok(())
    }

    /// The windows that `group` has.
    pub fn describe(&self, group: &Group<P>) -> impl Iterator<Item = Described> {
        TVES.into_iter().filter_map(move |tve| {
            let liobn = group.liobn(tve);
            let window = self.windows.find(liobn)?;
            Some(described(liobn, &window))
        })
    }

    fn group(&self, config: u32, buid: u64) -> Answer<&Group<P>> {
        let named =
            |group: &&Arc<Group<P>>| group.buid() == buid && group.functions().contains(&config);
        let found = self.groups.iter().find(named);
        found.map(|group| &**group).ok_or(PARAMETER)
    }

    fn make(
        &self,
        claim: &Claim<'_, P>,
        tve: TveSelect,
        page: PageShift,
        bits: u32,
    ) -> Answer<Described> {
        let group = claim.group;
        let liobn = group.liobn(tve);
        let shape = shape(page, bits, self.levels(group)).ok_or(PARAMETER)?;
        let config = WindowConfig {
            base: BusAddr::new(match tve {
                TveSelect::Low => 0,
                TveSelect::High => 1 << TVE_BITS,
            }),
            pages: 1 << bits,
            shape,
            sizes: self.sizes(group),
            // Mappings are fewer: see `papr::tce`.
            limit: MOST_PAGES_AT_ONCE,
        };
        (self.watch.tables_for)(group.pes().first().copied());
        let (holdings, quota) = (self.holdings.clone(), self.quota.clone());
        let window = self.engine.create_window(&config, holdings, quota);
        (self.watch.tables_for)(None);
        let window = window.map_err(refusal)?;
        window.set_liobn(liobn);
        (self.watch.made)(&window);
        let attached = group
            .pes()
            .iter()
            .try_for_each(|&pe| self.engine.attach(&window, pe));
        // It has its number even if it cannot be undone: so it is not lost.
        self.windows
            .insert(liobn, window.clone())
            .map_err(refusal)?;
        if let Err(error) = attached {
            self.unmake(claim, liobn, &window)?;
            return Err(refusal(error));
        }
        Ok(described(liobn, &window))
    }

    fn unmake(&self, claim: &Claim<'_, P>, liobn: Liobn, window: &Arc<Window<P>>) -> Answer {
        if Arc::ptr_eq(window, claim.group.default()) {
            self.leave_default(claim)?;
        } else {
            self.engine
                .remove(window, DetachMode::Running)
                .map_err(refusal)?;
            (self.watch.gone)(window);
        }
        self.windows.forget(liobn);
        Ok(())
    }

    /// The group uses its default window no more, which is empty then.
    fn leave_default(&self, claim: &Claim<'_, P>) -> Answer {
        let group = claim.group;
        group.set_without(true);
        for &pe in group.pes() {
            match self.engine.detach(group.default(), pe, DetachMode::Running) {
                Ok(()) | Err(DmaError::NotAttached(_)) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        Ok(())
    }

    fn name_default(&self, group: &Group<P>) -> Answer {
        let liobn = group.liobn(TveSelect::Low);
        self.windows
            .insert(liobn, Arc::clone(group.default()))
            .map_err(refusal)
    }

    /// IO page sizes that all PHBs of `group` have, and that the partition's
    /// memory can be mapped by.
    fn sizes(&self, group: &Group<P>) -> PageSizes {
        let fits = |page: &PageShift| {
            let has =
                |&pe| self.engine.platform().table_limits(pe).page_shifts >> page.get() & 1 != 0;
            group.pes().iter().all(has) && self.map.is_made_of(*page)
        };
        let all = PageShift::ALL.into_iter().filter(fits);
        all.fold(PageSizes::NONE, PageSizes::with)
    }

    fn mask(&self, group: &Group<P>) -> u32 {
        let sizes = self.sizes(group);
        let has = |page: &PageShift| sizes.contains(*page);
        let all = PageShift::ALL.into_iter().filter(has);
        all.fold(0, |mask, page| mask | page_bit(page))
    }

    fn levels(&self, group: &Group<P>) -> u32 {
        let each = group
            .pes()
            .iter()
            .map(|&pe| self.engine.platform().table_limits(pe).levels);
        each.min().unwrap_or(1)
    }

    /// Entries that a new window may have in any of the group's IO page sizes
    /// and that the partition's table memory is enough for: 0 or a power of two.
    fn most_entries(&self, group: &Group<P>, tve: TveSelect) -> u64 {
        let left = self.quota.limit().saturating_sub(self.quota.used());
        let (sizes, levels) = (self.sizes(group), self.levels(group));
        let fits = |bits: u32| {
            let mut offered = PageShift::ALL
                .into_iter()
                .filter(|&page| sizes.contains(page) && page_bit(page) != 0);
            offered.all(|page| {
                let shape = shape(page, bits, levels);
                let has_room = |shape| table_bytes(shape, bits).is_some_and(|bytes| bytes <= left);
                bits + page.get() <= reach(tve) && shape.is_some_and(has_room)
            })
        };
        let largest = (0..DMA_BITS).rev().find(|&bits| fits(bits));
        largest.map_or(0, |bits| 1 << bits)
    }
}

pub(super) fn described<P: Platform>(liobn: Liobn, window: &Window<P>) -> Described {
    let range = window.range();
    Described {
        liobn,
        base: range.base(),
        bytes: range.bytes(),
        page: range.shape().page(),
        levels: range.shape().levels(),
    }
}

/// Base-2 logarithm of the most bytes of a window behind `tve`.
const fn reach(tve: TveSelect) -> u32 {
    match tve {
        TveSelect::Low => LOW_SHIFT,
        TveSelect::High => DMA_BITS,
    }
}

/// The shape of a table for `1 << bits` entries: few levels, as each is one more
/// access of the PHB, of tables that are no larger than they must be.
fn shape(page: PageShift, bits: u32, most_levels: u32) -> Option<TableShape> {
    let levels = bits.div_ceil(LEVEL_BITS).clamp(1, most_levels.max(1));
    let level_shift = (bits.div_ceil(levels) + 3).max(MIN_LEVEL_SHIFT);
    TableShape::new(page, levels, level_shift).ok()
}

/// Bytes of a table of this shape when its first `1 << bits` entries are in use.
fn table_bytes(shape: TableShape, bits: u32) -> Option<u64> {
    (0..shape.levels()).try_fold(0u64, |sum, level| {
        let below = shape.entry_bits(level) + shape.index_bits();
        let tables = 1u64.checked_shl(bits.saturating_sub(below))?;
        let bytes = tables.checked_mul(1u64.checked_shl(shape.frame_shift(level))?)?;
        sum.checked_add(bytes)
    })
}
