//! H_PUT_TCE, H_GET_TCE, H_STUFF_TCE and H_PUT_TCE_INDIRECT (LoPAR 2.9, 14.5.4):
//! what a partition says is checked here once, and the engine does the rest.
//!
//! No heap. One kill for each call, whatever the number of entries. No call holds
//! a window's lock for more than 512 entries: so none maps more at once. An unmap
//! may be longer, as the engine lets go of the lock in between.

use super::code;
use super::liobn::Liobns;
use crate::addr::{BusAddr, GuestAddr};
use crate::dma::{DmaError, Engine, ErrorKind, Liobn, MOST_PAGES_AT_ONCE, Window};
use crate::partition::map::GuestMap;
use crate::seam::Platform;
use crate::tce::{Access, RangeError, Tce};
use alloc::sync::Arc;

/// Most entries that one call maps. Newer PowerVM firmware has this limit for
/// H_STUFF_TCE too, but Linux does not keep to it when it unmaps all memory of a
/// window (`tce_clearrange_multi_pSeriesLP`).
pub const MOST_ENTRIES: u64 = 512;

/// A list of entries is aligned to this many bytes: so it is in one page.
const LIST_BYTES: usize = 4096;

/// The rights in an entry, as the partition gives them.
const RIGHTS: u64 = 3;

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
        finish(self.try_put(liobn, ioba, tce, 1))
    }

    /// H_STUFF_TCE: the `count` entries from `ioba` all become `tce`. With rights,
    /// at most [`MOST_ENTRIES`]; without, any number that the window has.
    pub fn stuff(&self, liobn: u64, ioba: u64, tce: u64, count: u64) -> i64 {
        if count > MOST_ENTRIES {
            return finish(self.clear(liobn, ioba, tce, count));
        }
        finish(self.try_put(liobn, ioba, tce, count))
    }

    #[inline]
    fn try_put(&self, liobn: u64, ioba: u64, tce: u64, count: u64) -> Answer {
        let window = self.window(liobn)?;
        if count == 0 {
            return Ok(());
        }
        let (bus, entry) = (BusAddr::new(ioba), self.entry(&window, tce)?);
        if !entry.is_mapping() {
            let unmapped = self.engine.unmap(&window, bus, count);
            return unmapped.map(|_| ()).map_err(refusal);
        }
        let entries = [entry; MOST_ENTRIES as usize];
        let entries = entries.get(..count as usize).ok_or(code::PARAMETER)?;
        self.engine.remap(&window, bus, entries).map_err(refusal)
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
            self.engine
                .unmap(&window, bus, part.pages())
                .map_err(refusal)?;
        }
        Ok(())
    }

    /// H_PUT_TCE_INDIRECT: the `count` entries from `ioba` become those of the
    /// list at `list`, big-endian, aligned to 4K. All or none.
    ///
    /// `read` copies memory of the partition and says whether all of it was
    /// memory. It is called once: the partition may change its list meanwhile.
    pub fn put_indirect(
        &self,
        liobn: u64,
        ioba: u64,
        list: u64,
        count: u64,
        read: impl FnOnce(GuestAddr, &mut [u8]) -> bool,
    ) -> i64 {
        finish(self.try_put_indirect(liobn, ioba, GuestAddr::new(list), count, read))
    }

    fn try_put_indirect(
        &self,
        liobn: u64,
        ioba: u64,
        list: GuestAddr,
        count: u64,
        read: impl FnOnce(GuestAddr, &mut [u8]) -> bool,
    ) -> Answer {
        let window = self.window(liobn)?;
        if count > MOST_ENTRIES || !list.is_aligned(LIST_BYTES.trailing_zeros()) {
            return Err(code::PARAMETER);
        }
        if count == 0 {
            return Ok(());
        }
        let mut copy = [0u8; LIST_BYTES];
        let used = copy
            .get_mut(..count as usize * size_of::<u64>())
            .ok_or(code::PARAMETER)?;
        if !read(list, used) {
            return Err(code::PARAMETER);
        }
        let mut entries = [Tce::NONE; MOST_ENTRIES as usize];
        let wanted = used.as_chunks::<8>().0;
        for (entry, bytes) in entries.iter_mut().zip(wanted) {
            *entry = self.entry(&window, u64::from_be_bytes(*bytes))?;
        }
        let entries = entries.get(..wanted.len()).ok_or(code::PARAMETER)?;
        self.engine
            .remap(&window, BusAddr::new(ioba), entries)
            .map_err(refusal)
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

    fn window(&self, liobn: u64) -> Answer<Arc<Window<P>>> {
        let liobn = u32::try_from(liobn).map_err(|_| code::PARAMETER)?;
        self.windows.find(Liobn(liobn)).ok_or(code::PARAMETER)
    }

    /// What the partition's `tce` means: with rights, a whole page of its own;
    /// without, nothing, whatever else is in it.
    #[inline]
    fn entry(&self, window: &Window<P>, tce: u64) -> Answer<Tce> {
        let Ok(access) = Access::from_bits(tce & RIGHTS) else {
            return Ok(Tce::NONE);
        };
        let page = window.range().shape().page();
        let guest = GuestAddr::new(tce & !RIGHTS);
        if !guest.is_aligned(page.get()) {
            return Err(code::PARAMETER);
        }
        let host = self.map.host(guest, page.bytes()).ok_or(code::PARAMETER)?;
        Tce::new(host, access).ok_or(code::PARAMETER)
    }
}
