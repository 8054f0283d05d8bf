//! The four calls for dynamic DMA windows, as Linux makes them.

use std::cell::RefCell;
use std::sync::Arc;

use pinion::addr::{BusAddr, GuestAddr, HostAddr};
use pinion::dma::{DetachMode, DmaError, Engine, Liobn, Window};
use pinion::memory::ledger::Ledger;
use pinion::papr::ddw::{Available, Watch, WindowCalls, default_window};
use pinion::papr::group::{Group, GroupError, MAX_GROUPS};
use pinion::papr::liobn::Liobns;
use pinion::papr::tce::TceCalls;
use pinion::partition::map::{GuestMap, Piece};
use pinion::seam::{PeId, PhbError, TableLimits, TveSelect};
use pinion::sim::{Failure, Machine, PhbKind, PhbModel, Step};
use pinion::tce::{PageShift, PageSizes};

use super::guest::put;
use super::support::{Party, Rig, pe};

// LoPAR's, as Linux has them (arch/powerpc/include/asm/rtas.h).
pub const HARDWARE: i32 = -1;
pub const BUSY: i32 = -2;
pub const PARAMETER: i32 = -3;

pub const BUID: u64 = 0x0800_0000_2000_0001;
/// Its two functions, in two PEs.
pub const CONFIG: [u32; 2] = [0x01_0000, 0x01_0800];
/// First address of a window that is created.
pub const HIGH: u64 = 1 << 59;
/// The two LIOBNs of its group, which is the partition's second.
pub const LIOBNS: [u32; 2] = [0x8000_0002, 0x8000_0003];

/// A partition with 32 MiB in two pieces, and two groups.
pub struct Guest {
    pub rig: Rig,
    pub party: Party,
    pub map: GuestMap,
    pub windows: Liobns<Machine>,
    pub groups: [Arc<Group<Machine>>; 2],
    defaults: [Arc<Window<Machine>>; 2],
}

impl Guest {
    pub fn new(kind: PhbKind, quota: u64) -> Self {
        let page_shifts = match kind {
            PhbKind::Phb3 => 1 << 12 | 1 << 16 | 1 << 24 | 1 << 28,
            _ => 1 << 12 | 1 << 16 | 1 << 21 | 1 << 30,
        };
        Self::with(kind, page_shifts, 5, quota)
    }

    pub fn with(kind: PhbKind, page_shifts: u64, levels: u32, quota: u64) -> Self {
        let limits = TableLimits {
            page_shifts,
            levels,
        };
        let phb = PhbModel::new(kind, 16).with_limits(limits);
        let machine = Machine::new(vec![phb], 4 << 20, 5);
        machine.post_writes(3);
        let rig = Rig {
            engine: Engine::new(machine, &[16]),
            ledger: Ledger::new().into(),
            page: PageShift::M16,
        };
        // With room for the default windows' first tables.
        let party = rig.party_with_quota(1, quota + 0x4000);
        rig.grant(&party, 0x40, 1);
        rig.grant(&party, 0x20, 1);
        rig.grant(&rig.party(2), 0x80, 1);
        let piece = |guest: u64, host: u64| Piece {
            guest: GuestAddr::new(guest << 24),
            host: HostAddr::new(host << 24),
            bytes: 1 << 24,
        };
        let map = GuestMap::new(vec![piece(0, 0x40), piece(1, 0x20)]).unwrap();
        for number in 0..3 {
            rig.machine().add_function(pe(number), number, party.owner);
        }
        let windows = Liobns::default();
        let sizes = PageSizes::PHB4;
        let default = |pes: &[_], slot| {
            let config = default_window(sizes).unwrap();
            let (holdings, quota) = (party.holdings.clone(), party.quota.clone());
            let window = rig.engine.create_window(&config, holdings, quota).unwrap();
            for &pe in pes {
                rig.engine.attach(&window, pe).unwrap();
            }
            let liobn = Liobns::<Machine>::of_slot(slot).unwrap();
            windows.insert(liobn, window.clone()).unwrap();
            window
        };
        let pes = [vec![pe(2)], vec![pe(0), pe(1)]];
        let defaults = [default(&pes[0], 0), default(&pes[1], 2)];
        let group = |index: u32, buid, functions| {
            let at = index as usize;
            let group = Group::new(index, buid, functions, &pes[at], defaults[at].clone());
            Arc::new(group.unwrap())
        };
        let groups = [group(0, 7, Box::new([0])), group(1, BUID, Box::new(CONFIG))];
        let guest = Self {
            rig,
            party,
            map,
            windows,
            groups,
            defaults,
        };
        assert_eq!(guest.reset(), Err(HARDWARE));
        for group in &guest.groups {
            group.open();
        }
        guest.on();
        guest
    }

    pub fn on(&self) {
        for number in 0..3 {
            self.rig.machine().bus_master_on(pe(number));
        }
    }

    pub fn calls(&self) -> WindowCalls<'_, Machine> {
        WindowCalls {
            engine: &self.rig.engine,
            map: &self.map,
            windows: &self.windows,
            groups: &self.groups,
            holdings: &self.party.holdings,
            quota: &self.party.quota,
            watch: Watch {
                made: |_| (),
                gone: |_| (),
                tables_for: |_| (),
            },
        }
    }

    /// The partition has the groups no more.
    pub fn finish(&self) {
        for (group, default) in self.groups.iter().zip(&self.defaults) {
            self.calls().close(group).unwrap();
            self.rig.engine.remove(default, DetachMode::Reset).unwrap();
        }
        self.check(0);
        assert_eq!(self.party.quota.used(), 0);
        assert_eq!(self.rig.machine().table_bytes(), 0);
    }

    pub fn tces(&self) -> TceCalls<'_, Machine> {
        TceCalls {
            engine: &self.rig.engine,
            map: &self.map,
            windows: &self.windows,
        }
    }

    pub fn query(&self) -> Available {
        self.calls().query(CONFIG[0], BUID).unwrap()
    }

    /// LIOBN, base, bytes.
    pub fn create(&self, page: u32, window: u32) -> Result<(u32, u64, u64), i32> {
        let made = self.calls().create(CONFIG[1], BUID, page, window)?;
        assert_eq!(made.page.get(), page);
        Ok((made.liobn.0, made.base.get(), made.bytes))
    }

    pub fn reset(&self) -> Result<(), i32> {
        self.calls().reset(CONFIG[0], BUID)
    }

    pub fn put(&self, liobn: u32, ioba: u64, tce: u64) -> i64 {
        put(&self.tces(), liobn.into(), ioba, tce)
    }

    pub fn dma(&self, function: u16, ioba: u64) -> Option<u64> {
        let machine = self.rig.machine();
        let reached = machine.dma(0, function, BusAddr::new(ioba), true);
        reached.ok().map(HostAddr::get)
    }

    /// No violation, no pin too many; `pins` are held, and nothing else.
    pub fn check(&self, pins: u64) {
        let live: Vec<_> = (0..4)
            .filter_map(|slot| self.windows.find(Liobns::<Machine>::of_slot(slot).unwrap()))
            .collect();
        let live: Vec<_> = live.iter().map(Arc::as_ref).collect();
        self.rig.check(&live);
        let held = (0..2).map(|region| self.party.holdings.region(region).unwrap().pins);
        assert_eq!(held.sum::<u64>(), pins);
    }
}

#[test]
fn a_window_is_made_used_and_removed_as_linux_does_it() {
    for (kind, pages) in [(PhbKind::Phb4, 0x103), (PhbKind::Phb3, 0x7)] {
        let guest = Guest::new(kind, 8 << 20);
        guest.reset().unwrap();
        let query = guest.query();
        assert_eq!((query.windows, query.pages), (1, pages), "{kind:?}");
        // Linux takes the largest page size, and all of its memory.
        let page = if kind == PhbKind::Phb4 { 21 } else { 24 };
        assert!(query.entries >= 1 << (25 - page));
        assert_eq!(guest.create(page, 25), Ok((LIOBNS[1], HIGH, 1 << 25)));
        assert_eq!(guest.query().windows, 0);
        assert_eq!(guest.query().entries, 0);
        for index in 0..1u64 << (25 - page) {
            let offset = index << page;
            assert_eq!(guest.put(LIOBNS[1], HIGH + offset, offset | 3), 0);
        }
        let host = |page: u64| Some(page << 24 | 0x123_4560 & 0xff_ffff);
        for function in 0..2 {
            assert_eq!(guest.dma(function, HIGH | 0x23_4560), host(0x40));
            assert_eq!(guest.dma(function, HIGH | 0x123_4560), host(0x20));
        }
        // The default window is another one, and has pages of 4K.
        assert_eq!(guest.put(LIOBNS[0], 0x1000, 0x5003), 0);
        assert_eq!(guest.dma(0, 0x1fff), Some(0x4000_5fff));
        // With all that is mapped.
        guest.check(1 + (1 << (25 - page)));
        assert_eq!(guest.calls().remove(LIOBNS[1]), Ok(()));
        guest.check(1);
        assert_eq!(guest.dma(0, HIGH), None);
        assert_eq!(guest.put(LIOBNS[1], HIGH, 3), -4);
        assert_eq!(guest.calls().remove(LIOBNS[1]), Err(PARAMETER));
        assert_eq!(guest.query(), query);
    }
}

#[test]
fn the_default_window_goes_and_comes_back_empty() {
    let guest = Guest::new(PhbKind::Phb4, 8 << 20);
    guest.reset().unwrap();
    let used = guest.party.quota.used();
    let described = |guest: &Guest| -> Vec<_> {
        let each = guest.calls().describe(&guest.groups[1]).collect::<Vec<_>>();
        let told = each.iter().map(|it| (it.liobn.0, it.base.get(), it.bytes));
        told.collect()
    };
    let default = vec![(LIOBNS[0], 0, 1 << 30)];
    assert_eq!(described(&guest), default);
    assert_eq!(guest.put(LIOBNS[0], 0x3000, 0x8003), 0);
    assert_eq!(guest.calls().remove(LIOBNS[0]), Ok(()));
    guest.check(0);
    assert_eq!((guest.query().windows, described(&guest).len()), (2, 0));
    // The one with the longer reach comes first; below 2 GiB it is a short one.
    assert_eq!(guest.create(16, 25), Ok((LIOBNS[1], HIGH, 1 << 25)));
    assert_eq!(guest.query().windows, 1);
    assert!(guest.query().entries << 21 <= 1 << 31);
    assert_eq!(guest.create(16, 32), Err(PARAMETER));
    assert_eq!(guest.create(16, 31), Ok((LIOBNS[0], 0, 1 << 31)));
    assert_eq!(guest.create(16, 25), Err(PARAMETER));
    assert_eq!(guest.put(LIOBNS[0], 0x1_0000, 0x8003), -4);
    assert_eq!(guest.put(LIOBNS[0], 0x1_0000, 0x1_0003), 0);
    assert_eq!(guest.put(LIOBNS[1], HIGH, 0x1_0003), 0);
    guest.check(2);
    // A second kernel (kexec) wants it as it was at the start.
    assert_eq!(guest.reset(), Ok(()));
    guest.check(0);
    assert_eq!(described(&guest), default);
    assert_eq!(guest.party.quota.used(), used);
    assert_eq!(guest.tces().get(LIOBNS[0].into(), 0x1_0000), Ok(0));
    // Nothing of the other group has changed all the time.
    assert_eq!(guest.calls().query(0, 7).unwrap().windows, 1);
    // It leaves the partition: nothing is left.
    guest.on();
    assert_eq!(guest.put(LIOBNS[0], 0, 3), 0);
    guest.finish();
    assert_eq!(guest.reset(), Err(HARDWARE));
}

#[test]
fn devices_without_a_window_are_reset_when_their_partition_ends() {
    let guest = Guest::new(PhbKind::Phb4, 8 << 20);
    assert!(guest.create(12, 20).is_ok());
    assert_eq!(guest.calls().remove(LIOBNS[0]), Ok(()));
    assert_eq!(guest.calls().remove(LIOBNS[1]), Ok(()));
    assert_eq!(guest.query().windows, 2);
    assert_eq!(guest.calls().close(&guest.groups[1]), Ok(()));
    // They are nobody's: another partition may have them.
    let other = guest.rig.party(3);
    let config = default_window(PageSizes::PHB4).unwrap();
    let (holdings, quota) = (other.holdings.clone(), other.quota.clone());
    let window = guest.rig.engine.create_window(&config, holdings, quota);
    let window = window.unwrap();
    for number in 0..2 {
        assert_eq!(guest.rig.engine.attach(&window, pe(number)), Ok(()));
    }
    let kept = guest.rig.engine.attach(&window, pe(2));
    assert!(matches!(kept, Err(DmaError::PeOwned { .. })), "{kept:?}");
    guest.rig.engine.remove(&window, DetachMode::Reset).unwrap();
    guest.finish();
    // Opened again, all is as at the start.
    assert!(guest.windows.find(Liobn(LIOBNS[0])).is_some());
}

#[test]
fn what_is_offered_can_be_had_and_filled() {
    // The memory may be mapped by pages of 2M; a full table of 4K pages is
    // the largest that the quota is enough for.
    for quota in [20 << 10, 128 << 10, 1 << 20] {
        let guest = Guest::new(PhbKind::Phb4, quota);
        let entries = guest.query().entries;
        assert!(entries.is_power_of_two(), "{entries:#x} for {quota:#x}");
        assert!(entries * 8 <= quota && entries * 8 * 4 > quota - (16 << 10));
        let bits = entries.trailing_zeros();
        let (liobn, base, bytes) = guest.create(12, bits + 12).unwrap();
        assert_eq!(bytes, entries << 12);
        for first in (0..entries).step_by(512) {
            let stuffed =
                guest
                    .tces()
                    .stuff(liobn.into(), base + (first << 12), 0x3, entries.min(512));
            assert_eq!(stuffed, 0, "entry {first:#x} of {entries:#x}");
        }
        guest.check(entries);
        assert_eq!(guest.calls().remove(liobn), Ok(()));
        assert_eq!(guest.create(12, 56), Err(PARAMETER));
    }
    // Twice as much is not refused, as it may stay sparse.
    let guest = Guest::new(PhbKind::Phb4, 1 << 20);
    let entries = guest.query().entries;
    let sparse = guest.create(12, 13 + entries.trailing_zeros());
    assert_eq!(sparse, Ok((LIOBNS[1], HIGH, entries << 13)));
    assert_eq!(guest.calls().remove(LIOBNS[1]), Ok(()));
    // Unmapped in one call, whatever its size: 2^31 entries, two of them live.
    let sparse = guest.create(12, 43);
    assert_eq!(sparse, Ok((LIOBNS[1], HIGH, 1 << 43)));
    for offset in [0, (1 << 43) - 0x1000] {
        assert_eq!(guest.put(LIOBNS[1], HIGH + offset, 3), 0);
    }
    let stuff = |count| guest.tces().stuff(LIOBNS[1].into(), HIGH, 0, count);
    assert_eq!(stuff((1 << 31) + 1), -4);
    guest.check(2);
    let kills = guest.rig.machine().kills(0);
    assert_eq!(stuff(1 << 31), 0);
    // Two operations, of two PEs.
    assert_eq!(guest.rig.machine().kills(0) - kills, 4);
    guest.check(0);
    // Nothing for a first table.
    let guest = Guest::new(PhbKind::Phb4, 0);
    assert_eq!(guest.query().entries, 0);
    assert_eq!(guest.create(12, 20), Err(HARDWARE));
    assert_eq!(guest.reset(), Ok(()));
    guest.check(0);
}

#[test]
fn what_a_partition_says_wrong_changes_nothing() {
    let guest = Guest::new(PhbKind::Phb4, 8 << 20);
    guest.reset().unwrap();
    let calls = guest.calls();
    let (query, used) = (guest.query(), guest.party.quota.used());
    let kills = guest.rig.machine().kills(0);
    // Functions and bridges of others, registers in the address.
    for (config, buid) in [
        (CONFIG[0], BUID + 1),
        (CONFIG[0], 7),
        (0, BUID),
        (CONFIG[0] | 1, BUID),
        (CONFIG[0] | 0x100, BUID),
        (u32::MAX, u64::MAX),
    ] {
        assert_eq!(calls.query(config, buid), Err(PARAMETER));
        assert_eq!(calls.create(config, buid, 12, 20), Err(PARAMETER));
        assert_eq!(calls.reset(config, buid), Err(PARAMETER));
    }
    // Pages that the PHB lacks, that PAPR has no name for, that memory is not
    // made of, and windows of no page, or too long.
    for (page, window) in [
        (0, 20),
        (13, 20),
        (24, 30),
        (28, 30),
        (30, 32),
        (34, 40),
        (u32::MAX, 20),
        (12, 11),
        (12, 0),
        (21, 20),
        (12, 56),
        (12, 64),
        (21, u32::MAX),
    ] {
        assert_eq!(
            guest.create(page, window),
            Err(PARAMETER),
            "{page} {window}"
        );
    }
    for liobn in [0, 1, 0x8000_0001, LIOBNS[1], 0x8000_0004, u32::MAX] {
        assert_eq!(calls.remove(liobn), Err(PARAMETER));
    }
    assert_eq!((guest.query(), guest.party.quota.used()), (query, used));
    assert_eq!(guest.rig.machine().kills(0), kills);
}

#[test]
fn page_sizes_are_those_of_memory_and_all_phbs() {
    let all = PageShift::ALL.iter();
    let all = all.fold(0, |all, page| all | 1 << page.get());
    let guest = Guest::with(PhbKind::Phb4, all, 2, 64 << 20);
    // Not 256M: the memory's two pieces have 16M.
    assert_eq!(guest.query().pages, 0x107);
    // Two levels have to do: their tables are larger.
    assert_eq!(guest.create(12, 44), Ok((LIOBNS[1], HIGH, 1 << 44)));
    let each: Vec<_> = guest.calls().describe(&guest.groups[1]).collect();
    assert_eq!(each[0].levels, 2);
    assert_eq!(guest.put(LIOBNS[1], HIGH + (1 << 43), 0x1003), 0);
    assert_eq!(guest.dma(1, HIGH + (1 << 43)), Some(0x4000_1000));
}

#[test]
fn a_failure_of_the_phb_leaves_nothing_behind_or_a_window_to_remove() {
    for forever in [false, true] {
        for after in 0..12 {
            let guest = Guest::new(PhbKind::Phb4, 8 << 20);
            guest.reset().unwrap();
            let used = guest.party.quota.used();
            let fail = |failure| guest.rig.machine().fail(failure);
            fail(Some(Failure {
                after,
                forever,
                error: PhbError::TimedOut,
            }));
            let made = guest.create(16, 25);
            fail(None);
            if made.is_err() {
                assert_eq!(made, Err(HARDWARE), "after {after}");
            }
            // Whatever it was: it can be removed, and made, and works.
            if guest.windows.find(Liobn(LIOBNS[1])).is_some() {
                assert_eq!(guest.calls().remove(LIOBNS[1]), Ok(()), "after {after}");
            }
            assert_eq!(guest.party.quota.used(), used, "after {after}");
            assert_eq!(guest.query().windows, 1);
            assert!(guest.create(16, 25).is_ok(), "after {after}");
            assert_eq!(guest.put(LIOBNS[1], HIGH, 0x3), 0);
            guest.on();
            assert_eq!(guest.dma(1, HIGH), Some(0x4000_0000), "after {after}");
            // The same for the removal.
            fail(Some(Failure {
                after,
                forever,
                error: PhbError::TimedOut,
            }));
            let removed = guest.calls().remove(LIOBNS[1]);
            fail(None);
            if removed.is_err() {
                assert_eq!(removed, Err(HARDWARE));
                assert_eq!(guest.put(LIOBNS[1], HIGH, 0x3), -4);
                guest.check(1);
                assert_eq!(guest.calls().remove(LIOBNS[1]), Ok(()), "after {after}");
            }
            guest.check(0);
            assert_eq!(guest.party.quota.used(), used, "after {after}");
        }
    }
}

#[test]
fn two_vcpus_that_change_one_group_try_again() {
    let guest = Arc::new(Guest::new(PhbKind::Phb4, 8 << 20));
    guest.reset().unwrap();
    let other = guest.clone();
    let answers = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = answers.clone();
    guest.rig.machine().set_hook(move |_, step| {
        if step == Step::Kill && told.lock().unwrap().is_empty() {
            let calls = other.calls();
            told.lock().unwrap().extend([
                other.create(16, 20).err(),
                calls.remove(LIOBNS[0]).err(),
                other.reset().err(),
                // Another group is free.
                calls.create(0, 7, 16, 20).err(),
            ]);
        }
    });
    assert!(guest.create(16, 25).is_ok());
    guest.rig.machine().clear_hook();
    let busy = Some(BUSY);
    assert_eq!(*answers.lock().unwrap(), [busy, busy, busy, None]);
    guest.check(0);
    assert_eq!(guest.calls().remove(LIOBNS[0]), Ok(()));
}

#[test]
fn tables_are_asked_for_near_the_phb_while_a_window_is_made() {
    thread_local! {
        static TOLD: RefCell<Vec<Option<PeId>>> = const { RefCell::new(Vec::new()) };
    }
    let told = || TOLD.with(RefCell::take);
    let guest = Guest::new(PhbKind::Phb4, 8 << 20);
    let calls = WindowCalls {
        watch: Watch {
            made: |_| TOLD.with_borrow(|told| assert_eq!(told.as_slice(), [Some(pe(0)), None])),
            gone: |_| (),
            tables_for: |pe| TOLD.with_borrow_mut(|told| told.push(pe)),
        },
        ..guest.calls()
    };
    let made = calls.create(CONFIG[0], BUID, 16, 25).unwrap();
    assert_eq!(told(), [Some(pe(0)), None]);
    calls.remove(made.liobn.0).unwrap();
    assert_eq!(told(), []);
    // Of one that is not made nothing stays.
    let poor = Guest::with(PhbKind::Phb4, 1 << 12, 2, 0);
    let calls = WindowCalls {
        watch: calls.watch,
        ..poor.calls()
    };
    assert!(calls.create(CONFIG[0], BUID, 12, 40).is_err());
    assert_eq!(told(), [Some(pe(0)), None]);
}

#[test]
fn groups_that_cannot_be_are_refused() {
    let none = Box::new([]);
    let guest = Guest::new(PhbKind::Phb4, 8 << 20);
    let default = || guest.defaults[0].clone();
    let group = |index, pes: &[_]| Group::new(index, 1, none.clone(), pes, default()).err();
    assert_eq!(group(0, &[]), Some(GroupError::Pes(0)));
    assert_eq!(group(0, &[pe(0); 9]), Some(GroupError::Pes(9)));
    for index in [MAX_GROUPS, u32::MAX] {
        assert_eq!(group(index, &[pe(0)]), Some(GroupError::Index(index)));
    }
    let last = Group::new(MAX_GROUPS - 1, 1, none.clone(), &[pe(0); 8], default()).unwrap();
    let windows = Liobns::<Machine>::default();
    let high = last.liobn(TveSelect::High);
    assert_eq!(windows.insert(high, default()), Ok(()));
    let taken = windows.insert(high, default());
    assert_eq!(taken, Err(DmaError::LiobnTaken(high)));
}
