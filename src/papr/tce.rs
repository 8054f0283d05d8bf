//! H_PUT_TCE, H_GET_TCE, H_STUFF_TCE and H_PUT_TCE_INDIRECT (LoPAR 2.9, 14.5.4):
//! what a partition says is checked here once, and the engine does the rest.
//!
//! No heap. One kill for each call, whatever the number of entries. No call holds
//! a window's lock for more than 512 entries: so none maps more at once. An unmap
//! may be longer, as the engine lets go of the lock in between.

use super::code;
use super::liobn::Liobns;
use crate::addr::{BusAddr, GuestAddr, HostAddr};
use crate::dma::{DmaError, Engine, ErrorKind, Liobn, MOST_PAGES_AT_ONCE, Window};
use crate::memory::span::{self, Span};
use crate::partition::map::{GuestMap, Piece};
use crate::seam::Platform;
use crate::tce::{Access, PageShift, RangeError, Tce};
use alloc::sync::Arc;
use arrayvec::ArrayVec;

/// Most entries that one call maps. Newer PowerVM firmware has this limit for
/// H_STUFF_TCE too, but Linux does not keep to it when it unmaps all memory of a
/// window (`tce_clearrange_multi_pSeriesLP`).
pub const MOST_ENTRIES: u64 = 512;

/// Base-2 logarithm of what a list of entries is aligned to: so it is in one page.
const LIST_SHIFT: u32 = 12;

/// Words of a list that are looked at in one go.
const GROUP: usize = 8;

/// The rights in an entry, as the partition gives them.
pub(super) const RIGHTS: u64 = 3;

/// What a partition's TCE calls work on.
pub struct TceCalls<'a, P: Platform> {
    /// The engine.
    pub engine: &'a Engine<P>,
    /// Where the partition's memory is.
    pub map: &'a GuestMap,
    /// Its windows.
    pub windows: &'a Liobns<P>,
}

type Answer<T = ()> = Result<T, i64>;

/// The code of an answer.
fn finish(answer: Answer) -> i64 {
    match answer {
        Ok(()) => code::SUCCESS,
        Err(code) => code,
    }
}

/// What a partition is told about a failure. Linux undoes an operation only
/// for H_NOT_ENOUGH_RESOURCES.
fn refusal(error: DmaError) -> i64 {
    match error {
        DmaError::Range(RangeError::TooMany { .. }) => code::PARAMETER,
        error => match error.kind() {
            ErrorKind::NoResources => code::NOT_ENOUGH_RESOURCES,
            ErrorKind::Hardware => code::HARDWARE,
            // An unmap of the same entry by another vCPU is not over, after a wait
            // that a kill does not take: the guest may go on with something else.
            ErrorKind::Busy => code::BUSY,
            ErrorKind::NotMapped
            | ErrorKind::Invalid
            | ErrorKind::OutOfRange
            | ErrorKind::NotOwned
            | ErrorKind::Gone => code::PARAMETER,
        },
    }
}

impl<P: Platform> TceCalls<'_, P> {
    /// H_PUT_TCE: the entry of `ioba` becomes `tce`; without rights, nothing.
    pub fn put(&self, liobn: u64, ioba: u64, tce: u64) -> i64 {
        finish(self.try_put(liobn, ioba, tce))
    }

    /// What most H_PUT_TCE with rights want: a page where nothing was mapped. `None` if
    /// it is anything else, or wrong: nothing was done then, and
    /// [`TceCalls::put`] does it.
    #[inline(always)] // The call that comes most often has one frame.
    pub fn put_quickly(&self, liobn: u64, ioba: u64, tce: u64) -> Option<i64> {
        let guest = GuestAddr::new(tce & !RIGHTS);
        let piece = self.map.piece(guest)?;
        let named = self.windows.named(Liobn(u32::try_from(liobn).ok()?))?;
        let window = named.window()?;
        let host = whole_page(window.range().shape().page(), piece, guest)?;
        let entry = Tce::with_rights(host, tce & RIGHTS)?;
        let done = self
            .engine
            .remap_quickly(window, BusAddr::new(ioba), entry)?;
        Some(finish(done.map_err(refusal)))
    }

    /// What most H_PUT_TCE without rights want: that a page is mapped no more. As
    /// [`TceCalls::put_quickly`].
    #[inline(always)] // As there.
    pub fn clear_quickly(&self, liobn: u64, ioba: u64) -> Option<i64> {
        let named = self.windows.named(Liobn(u32::try_from(liobn).ok()?))?;
        let window = named.window()?;
        let done = self.engine.unmap_quickly(window, BusAddr::new(ioba))?;
        Some(finish(done.map(|_| ()).map_err(refusal)))
    }

    /// H_STUFF_TCE: the `count` entries from `ioba` all become `tce`. With rights,
    /// at most [`MOST_ENTRIES`]; without, any number that the window has.
    pub fn stuff(&self, liobn: u64, ioba: u64, tce: u64, count: u64) -> i64 {
        if count > MOST_ENTRIES {
            return finish(self.clear(liobn, ioba, tce, count));
        }
        finish(self.try_stuff(liobn, ioba, tce, count))
    }

    #[inline]
    fn try_put(&self, liobn: u64, ioba: u64, tce: u64) -> Answer {
        let window = self.window(liobn)?;
        let entry = self.entry(&window, tce)?;
        let bus = BusAddr::new(ioba);
        if !entry.is_mapping() {
            return self.unmap(&window, bus, 1);
        }
        let done = self.engine.remap_one(&window, bus, entry);
        done.map_err(refusal)
    }

    #[inline]
    fn try_stuff(&self, liobn: u64, ioba: u64, tce: u64, count: u64) -> Answer {
        let window = self.window(liobn)?;
        if count == 0 {
            return Ok(());
        }
        let entry = self.entry(&window, tce)?;
        let bus = BusAddr::new(ioba);
        if !entry.is_mapping() {
            return self.unmap(&window, bus, count);
        }
        let done = self.engine.remap_same(&window, bus, entry, count);
        done.map_err(refusal)
    }

    /// Apart: what it needs of the stack is not for those that map.
    #[inline(never)]
    fn unmap(&self, window: &Window<P>, bus: BusAddr, count: u64) -> Answer {
        let unmapped = self.engine.unmap(window, bus, count);
        unmapped.map(|_| ()).map_err(refusal)
    }

    #[inline]
    fn entry(&self, window: &Window<P>, tce: u64) -> Answer<Tce> {
        let page = window.range().shape().page();
        entry(page, tce, |guest| self.map.host(guest, page.bytes()))
    }

    /// A long unmap. Each of the engine's operations has its kill: one for 2^20
    /// entries.
    #[cold]
    fn clear(&self, liobn: u64, ioba: u64, tce: u64, count: u64) -> Answer {
        let window = self.window(liobn)?;
        if tce & RIGHTS != 0 {
            return Err(code::PARAMETER);
        }
        let range = window
            .range()
            .slots(BusAddr::new(ioba), count, u64::MAX)
            .map_err(|_| code::PARAMETER)?;
        for done in (0..count).step_by(MOST_PAGES_AT_ONCE as usize) {
            let Some(part) = range.part(done, MOST_PAGES_AT_ONCE) else {
                break;
            };
            let bus = window.range().bus(part.first());
            self.unmap(&window, bus, part.pages())?;
        }
        Ok(())
    }

    /// H_PUT_TCE_INDIRECT: the `count` entries from `ioba` become those of the
    /// list at `list`, aligned to 4K. All or none.
    ///
    /// `read` gives a number of words of the partition's memory to a [`List`], and
    /// says whether all of it was memory. It is called once, and reads each word
    /// once: the partition may change its list meanwhile.
    pub fn put_indirect(
        &self,
        liobn: u64,
        ioba: u64,
        list: u64,
        count: u64,
        read: impl FnOnce(GuestAddr, usize, &mut List<'_>) -> bool,
    ) -> i64 {
        finish(self.try_put_indirect(liobn, ioba, GuestAddr::new(list), count, read))
    }

    #[inline]
    fn try_put_indirect(
        &self,
        liobn: u64,
        ioba: u64,
        at: GuestAddr,
        count: u64,
        read: impl FnOnce(GuestAddr, usize, &mut List<'_>) -> bool,
    ) -> Answer {
        let window = self.window(liobn)?;
        if count > MOST_ENTRIES || !at.is_aligned(LIST_SHIFT) {
            return Err(code::PARAMETER);
        }
        if count == 0 {
            return Ok(());
        }
        let mut list = List {
            page: window.range().shape().page(),
            map: self.map,
            like: Like::NONE,
            entries: ArrayVec::new(),
            is_wrong: false,
        };
        let is_memory = read(at, count as usize, &mut list);
        if !is_memory || list.is_wrong || list.entries.len() as u64 != count {
            return Err(code::PARAMETER);
        }
        let done = self
            .engine
            .remap(&window, BusAddr::new(ioba), &list.entries);
        done.map_err(refusal)
    }

    /// H_GET_TCE: the entry of `ioba`, 0 if it is none.
    ///
    /// # Errors
    /// The code for the partition.
    pub fn get(&self, liobn: u64, ioba: u64) -> Result<u64, i64> {
        let window = self.window(liobn)?;
        let bus = BusAddr::new(ioba);
        if !bus.is_aligned(window.range().shape().page().get()) {
            return Err(code::PARAMETER);
        }
        let found = match self.engine.translate(&window, bus) {
            Ok(found) => found,
            Err(DmaError::NotMapped(_)) => return Ok(0),
            Err(error) => return Err(refusal(error)),
        };
        // Only the partition's own pages are ever mapped.
        let guest = self.map.guest(found.host).ok_or(code::HARDWARE)?;
        let rights = if found.access.writes() { RIGHTS } else { 1 };
        Ok(guest.get() | rights)
    }

    #[inline]
    fn window(&self, liobn: u64) -> Answer<Arc<Window<P>>> {
        let liobn = u32::try_from(liobn).map_err(|_| code::PARAMETER)?;
        self.windows.find(Liobn(liobn)).ok_or(code::PARAMETER)
    }
}

/// What the partition's `tce` means, in IO pages of `page`: with rights, a whole
/// page of its own, which `host` finds; without, nothing, whatever else is in it.
#[inline]
fn entry(
    page: PageShift,
    tce: u64,
    host: impl FnOnce(GuestAddr) -> Option<HostAddr>,
) -> Answer<Tce> {
    let Ok(access) = Access::from_bits(tce & RIGHTS) else {
        return Ok(Tce::NONE);
    };
    let guest = GuestAddr::new(tce & !RIGHTS);
    if !guest.is_aligned(page.get()) {
        return Err(code::PARAMETER);
    }
    let host = host(guest).ok_or(code::PARAMETER)?;
    Tce::new(host, access).ok_or(code::PARAMETER)
}

/// Where the partition's `page` at `guest` is, if it is one, wholly in `piece`, and side
/// by side with the first byte of that.
#[inline(always)] // For the call that comes most often.
fn whole_page(page: PageShift, piece: &Piece, guest: GuestAddr) -> Option<HostAddr> {
    // What is below the piece, or no multiple of a page away, goes to the top: a number
    // as no page has it.
    let offset = guest.get().wrapping_sub(piece.guest.get());
    let number = offset.rotate_right(page.get());
    let inside = number < piece.bytes.wrapping_shr(page.get());
    (inside && guest.is_aligned(page.get()))
        .then(|| HostAddr::new(piece.host.get().wrapping_add(offset)))
}

/// Entries of the partition's that are like the one before: of the same piece of its
/// memory, with the same rights.
#[derive(Clone, Copy)]
struct Like {
    pages: Span,
    // What the first of the pages is mapped by.
    first: Tce,
}

impl Like {
    const NONE: Self = Self {
        pages: Span::NONE,
        first: Tce::NONE,
    };

    /// What the partition's `tce` means, if it is one of these.
    #[inline]
    fn entry(&self, tce: u64) -> Option<Tce> {
        let distance = self.pages.distance(tce)?;
        Some(self.first.further(distance))
    }

    /// Those that are like the partition's `tce`, which has rights: it is one of them
    /// if it is a whole page of the partition's.
    fn of(map: &GuestMap, page: PageShift, tce: u64) -> Option<Self> {
        let access = Access::from_bits(tce & RIGHTS).ok()?;
        let piece = map.piece(GuestAddr::new(tce & !RIGHTS))?;
        let pages = Span::new(piece.guest.get(), piece.bytes, page.get(), tce & RIGHTS);
        let skipped = span::page(pages.first()).wrapping_sub(piece.guest.get());
        let first = Tce::new(piece.host.checked_add(skipped)?, access)?;
        Some(Self { pages, first })
    }
}

/// The list of one H_PUT_TCE_INDIRECT, checked word by word as it is read: the
/// only copy of it.
pub struct List<'a> {
    page: PageShift,
    map: &'a GuestMap,
    like: Like,
    entries: ArrayVec<Tce, { MOST_ENTRIES as usize }>,
    is_wrong: bool,
}

impl List<'_> {
    /// The next `count` words of the list: `word` reads the one with the number that
    /// it gets, and is asked once for each, in their order.
    #[inline]
    pub fn fill(&mut self, count: usize, mut word: impl FnMut(usize) -> u64) {
        // A copy, which stays in registers.
        let mut like = self.like;
        let mut number = 0;
        while count.wrapping_sub(number) >= GROUP {
            let group: [Tce; GROUP] = core::array::from_fn(|lane| {
                let tce = word(number.wrapping_add(lane));
                like.entry(tce)
                    .unwrap_or_else(|| self.other(tce, &mut like))
            });
            self.is_wrong |= self.entries.try_extend_from_slice(&group).is_err();
            number = number.wrapping_add(GROUP);
        }
        for number in number..count {
            let tce = word(number);
            let entry = like
                .entry(tce)
                .unwrap_or_else(|| self.other(tce, &mut like));
            self.is_wrong |= self.entries.try_push(entry).is_err();
        }
        self.like = like;
    }

    /// What `tce` means, which is not like the one before; those after it may be like
    /// this one.
    #[inline]
    fn other(&mut self, tce: u64, like: &mut Like) -> Tce {
        let (entry, next) = self.look(tce);
        if let Some(next) = next {
            *like = next;
        }
        entry
    }

    #[inline(never)]
    fn look(&mut self, tce: u64) -> (Tce, Option<Like>) {
        if tce & RIGHTS == 0 {
            return (Tce::NONE, None);
        }
        let like = Like::of(self.map, self.page, tce);
        let entry = like.and_then(|like| like.entry(tce));
        self.is_wrong |= entry.is_none();
        (entry.unwrap_or(Tce::NONE), like)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole pages of the piece only: aligned as the partition sees them, and none of
    /// which a part is outside.
    #[test]
    fn whole_pages_of_a_piece() {
        let piece = |guest, bytes| Piece {
            guest: GuestAddr::new(guest),
            host: HostAddr::new(0x90_0000),
            bytes,
        };
        let host = |page, piece: &Piece, guest| {
            whole_page(page, piece, GuestAddr::new(guest)).map(HostAddr::get)
        };
        let even = piece(0x4_0000, 0x2_8000);
        for (guest, expected) in [
            (0x4_0000, Some(0x90_0000)),
            (0x5_0000, Some(0x91_0000)),
            (0x6_0000, None),
            (0x5_8000, None),
            (0x3_0000, None),
            (0, None),
        ] {
            assert_eq!(host(PageShift::K64, &even, guest), expected, "{guest:#x}");
        }
        assert_eq!(host(PageShift::K4, &even, 0x6_7000), Some(0x92_7000));
        assert_eq!(host(PageShift::K4, &even, 0x6_8000), None);
        // Side by side with its first byte, and no page.
        let odd = piece(0x4_8000, 0x3_0000);
        assert_eq!(host(PageShift::K64, &odd, 0x4_8000), None);
        assert_eq!(host(PageShift::K64, &odd, 0x5_8000), None);
    }
}
