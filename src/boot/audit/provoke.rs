//! Damage on purpose: each kind must be found, and nothing must be left of it.
//!
//! It is done to a PE without RIDs, and to RIDs without functions, so that no
//! device can use it; even so only on an emulated machine.

use super::{Map, Reader, expected, pci, runtime};
use crate::addr::HostAddr;
use crate::audit::{Auditor, Expected, Fault, IodaTable, IodaTables, Listener, Named, layout};
use crate::memory::ledger::OwnerId;
use crate::pci::{Generation, PeNumber, PhbId};
use crate::phb::PhbHardware;
use crate::seam::DmaTable;
use crate::tce::tve::Tve;
use alloc::string::String;
use alloc::vec::Vec;

/// An owner that owns nothing.
const STRANGER: OwnerId = OwnerId(u32::MAX);

/// A word that is put back when this is dropped.
struct Word {
    at: HostAddr,
    was: u64,
}

impl Word {
    /// Changes the big-endian word at `at`.
    ///
    /// # Safety
    /// Memory that Rust keeps nothing in.
    unsafe fn change(at: HostAddr, change: impl FnOnce(u64) -> u64) -> Self {
        // SAFETY: the caller answers for it.
        let was = u64::from_be(unsafe { (at.get() as *const u64).read_volatile() });
        // SAFETY: as above.
        unsafe { (at.get() as *mut u64).write_volatile(change(was).to_be()) };
        Self { at, was }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        // SAFETY: see `change`.
        unsafe { (self.at.get() as *mut u64).write_volatile(self.was.to_be()) };
    }
}

/// An entry inside a PHB that is put back when this is dropped.
struct Entry<'a, 'b, 'c, H: PhbHardware> {
    reader: &'a Reader<'b, 'c, H>,
    table: IodaTable,
    index: u16,
    was: u64,
}

impl<'a, 'b, 'c, H: PhbHardware> Entry<'a, 'b, 'c, H> {
    fn change(
        reader: &'a Reader<'b, 'c, H>,
        table: IodaTable,
        index: u16,
        change: impl FnOnce(u64) -> u64,
    ) -> Self {
        let mut all = alloc::vec![0; usize::from(index) + 1];
        reader.read_table(table, &mut all);
        let was = all.last().copied().unwrap_or(0);
        reader.write_table(table, index, change(was));
        Self {
            reader,
            table,
            index,
            was,
        }
    }
}

impl<H: PhbHardware> Drop for Entry<'_, '_, '_, H> {
    fn drop(&mut self) {
        self.reader.write_table(self.table, self.index, self.was);
    }
}

/// Keeps the first faults of one audit.
#[derive(Default)]
struct Some4(Vec<Fault>);

impl Listener for Some4 {
    fn fault(&mut self, _: PhbId, fault: Fault) {
        if self.0.len() < 4 {
            self.0.push(fault);
        }
    }
}

/// Self-test: the audit finds nothing, then finds each damage and nothing else,
/// then nothing again, on each PHB.
pub fn check() -> Result<String, String> {
    let is_emulated = runtime::machine().is_some_and(|machine| machine.is_emulated);
    super::in_order()?;
    let mut found = 0;
    let phbs = pci::hosts().count();
    if is_emulated {
        let table = runtime::allocate(12, None).map_err(|error| alloc::format!("{error}"))?;
        let told: Result<u32, String> = pci::hosts().try_fold(0, |sum, (index, host)| {
            let Some(mut expected) = expected(index, host) else {
                return Ok(sum);
            };
            let damages = host
                .phb
                .with_tables(|tables| damage(&Reader(tables), &mut expected, table.start()))?;
            Ok(sum + damages)
        });
        runtime::free(table).map_err(|error| alloc::format!("{error}"))?;
        found = told?;
    }
    super::in_order()?;
    match found {
        0 => Ok(alloc::format!("{phbs} PHBs in order")),
        _ => Ok(alloc::format!(
            "{phbs} PHBs in order; {found} damages were found"
        )),
    }
}

/// Damages a PHB in each way; `frame` is a page for a table.
fn damage<H: PhbHardware>(
    reader: &Reader<'_, '_, H>,
    expected: &mut Expected,
    frame: HostAddr,
) -> Result<u32, String> {
    let (phb, generation) = (expected.id(), expected.generation());
    // The last PE that nobody has: no RID leads to it, so no device uses its TVEs.
    let reserved = expected.reserved();
    let mut below = (0..reserved.get()).rev().map(PeNumber::new);
    let Some(pe) = below.find(|pe| !expected.is_used(*pe)) else {
        return Err(alloc::format!("PHB {phb}: all PEs are in use"));
    };
    let mut found = 0;
    let mut expect = |name: &str, expected: &Expected, fits: &dyn Fn(&Fault) -> bool| {
        let mut heard = Some4::default();
        let total = Auditor::new(&Map, &mut heard).phb(reader, expected);
        match heard.0.as_slice() {
            [fault] if fits(fault) && total.faults == 1 => {
                found += 1;
                Ok(())
            }
            [] => Err(alloc::format!("PHB {phb}: {name} was not found")),
            [first, ..] => Err(alloc::format!(
                "PHB {phb}: {name} was found as {} faults: {}",
                total.faults,
                Named(phb, *first)
            )),
        }
    };
    let layout = layout::Layout::new(generation, expected.pes());
    let base = |register: u64, mask: u64| reader.register(register) & mask;
    let rtt = base(layout::RTT_BAR, layout.rtt_mask);
    let peltv = base(layout::PELTV_BAR, layout.peltv_mask);
    let result = (|| {
        {
            // ff:1f.7, the last RID.
            let at = HostAddr::new(rtt + layout::RTT_BYTES - 8);
            // SAFETY: the RTT, firmware's own memory.
            let _word = unsafe { Word::change(at, |was| was & !0xffff | u64::from(pe.get())) };
            expect("a RID at another PE", expected, &|fault| {
                matches!(fault, Fault::Rid { .. })
            })?;
        }
        {
            let row = layout.row_bytes() * u64::from(pe.get());
            // SAFETY: the PELT-V, firmware's own memory.
            let _word = unsafe { Word::change(HostAddr::new(peltv + row), |was| was ^ 1) };
            expect("a PE that freezes another", expected, &|fault| {
                matches!(fault, Fault::Link { set: true, .. })
            })?;
        }
        let tve = pe.get() * 2;
        {
            let value = 0x10_0000 << 16 | 1 << 12;
            let _entry = Entry::change(reader, IodaTable::Tvt, reserved.get() * 2 + 1, |_| value);
            expect("bypass of the reserved PE", expected, &|fault| {
                matches!(fault, Fault::Bypass { tve: 1, .. })
            })?;
        }
        let value = |levels| {
            Tve::new(&DmaTable {
                root: frame,
                levels,
                level_shift: 12,
                page_shift: 12,
            })
            .map_or(0, Tve::bits)
        };
        {
            let _entry = Entry::change(reader, IodaTable::Tvt, reserved.get() * 2, |_| value(1));
            expect("a TVE of the reserved PE", expected, &|fault| {
                matches!(fault, Fault::TveOfNobody { .. })
            })?;
        }
        for slot in 0..512 {
            // SAFETY: a frame of this test's.
            let word = unsafe { Word::change(HostAddr::new(frame.get() + slot * 8), |_| 0) };
            core::mem::forget(word);
        }
        expected.set_owner(pe, Some(STRANGER));
        {
            let _entry = Entry::change(reader, IodaTable::Tvt, tve, |_| value(1));
            // Itself, which is the hypervisor's.
            // SAFETY: a frame of this test's.
            let _word = unsafe { Word::change(frame, |_| frame.get() | 3) };
            expect("a TCE to the hypervisor", expected, &|fault| {
                matches!(fault, Fault::Tce { .. })
            })?;
        }
        {
            let _entry = Entry::change(reader, IodaTable::Tvt, tve, |_| value(5));
            // SAFETY: a frame of this test's.
            let _word = unsafe { Word::change(frame, |_| frame.get() | 3) };
            expect("a loop of levels", expected, &|fault| {
                matches!(fault, Fault::TableTwice { .. })
            })?;
        }
        {
            let _entry = Entry::change(reader, IodaTable::Tvt, tve, |_| value(2));
            // SAFETY: a frame of this test's.
            let _word = unsafe { Word::change(frame, |_| 1 << 55 | 3) };
            expect("a table outside of memory", expected, &|fault| {
                matches!(fault, Fault::TableHolder { .. })
            })?;
        }
        expected.set_owner(pe, None);
        {
            // PHB3 has the PE in bits 8:15, later ones in 0:15.
            // The other columns are memory BARs'.
            let value = |was| was & (u64::MAX >> 16) | u64::from(pe.get()) << 48;
            let last = expected.pes() - 1;
            let _entry = Entry::change(reader, IodaTable::Segments, last, value);
            expect("a segment of another PE", expected, &|fault| {
                matches!(fault, Fault::Segment { .. })
            })?;
        }
        // Vectors far behind those that are given out.
        if generation == Generation::Phb3 {
            let ivt = base(layout::IVT_BAR, layout::IVT_ADDRESS);
            let at = HostAddr::new(ivt + 0x7f0 * layout::IVE_BYTES);
            // SAFETY: the IVT, firmware's own memory; the vector stays masked.
            let _word = unsafe { Word::change(at, |was| was & !0xffff | u64::from(pe.get())) };
            expect("an MSI of another PE", expected, &|fault| {
                matches!(fault, Fault::Msi { .. })
            })
        } else {
            // The last of four vectors; the others stay as they are.
            let value = |was| was & !0xfff | u64::from(pe.get());
            let _entry = Entry::change(reader, IodaTable::Mist, 0x100, value);
            expect("an MSI of another PE", expected, &|fault| {
                matches!(fault, Fault::Msi { .. })
            })
        }
    })();
    result.map(|()| found)
}
