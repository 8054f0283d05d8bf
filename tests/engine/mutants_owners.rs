//! Who owns what: at the edges of regions, and while a region is on its way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use pinion::addr::HostAddr;
use pinion::memory::ledger::{Holdings, Ledger, LedgerError, OwnerId, REGIONS_PER_OWNER};
use pinion::seam::Interrupts;

type Between = Box<dyn FnOnce()>;

std::thread_local! {
    // How many locks this thread holds.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    // What is to run when this thread next holds no lock any more.
    static BETWEEN: RefCell<Option<Between>> = const { RefCell::new(None) };
}

/// A processor on which something may come in between wherever no lock is held.
struct Hooked;

impl Interrupts for Hooked {
    fn mask() -> u64 {
        DEPTH.set(DEPTH.get() + 1);
        0
    }
    fn restore(_state: u64) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0
            && let Some(between) = BETWEEN.take()
        {
            between();
        }
    }
}

/// Two partitions: the second has `regions` regions, the first a few.
struct Pair {
    ledger: Ledger<Hooked>,
    from: Arc<Holdings<Hooked>>,
    to: Arc<Holdings<Hooked>>,
    next: Cell<u64>,
}

const FULL: Result<(), LedgerError> = Err(LedgerError::TooManyRegions(OwnerId(2)));

impl Pair {
    fn new(regions: usize) -> Rc<Self> {
        let ledger = Ledger::new();
        let pair = Self {
            from: ledger.add_owner(OwnerId(1)).unwrap(),
            to: ledger.add_owner(OwnerId(2)).unwrap(),
            ledger,
            next: Cell::new(0x100),
        };
        for page in [1, 3, 5] {
            pair.ledger
                .grant(&pair.from, host(page), 0x1000, 12)
                .unwrap();
        }
        for _ in 0..regions {
            pair.grant().unwrap();
        }
        Rc::new(pair)
    }

    /// Another region for the second partition.
    fn grant(&self) -> Result<(), LedgerError> {
        self.next.set(self.next.get() + 2);
        self.ledger
            .grant(&self.to, host(self.next.get()), 0x1000, 12)
    }

    /// Moves a region to the second partition, with `between` while neither has it.
    fn transfer(
        self: &Rc<Self>,
        page: u64,
        between: impl FnOnce(&Rc<Self>) + 'static,
    ) -> Result<(), LedgerError> {
        self.ledger.close(&self.from, host(page)).unwrap();
        let ran = Rc::new(Cell::new(false));
        let (pair, inner_ran) = (self.clone(), ran.clone());
        BETWEEN.set(Some(Box::new(move || {
            // What the ledger says of the region is settled already.
            assert_eq!(pair.ledger.owner_of(host(page)), Some(OwnerId(2)));
            assert_eq!(pair.from.region_of(host(page)), None);
            assert_eq!(pair.to.region_of(host(page)), None);
            between(&pair);
            inner_ran.set(true);
        })));
        let result = self.ledger.transfer(&self.from, &self.to, host(page));
        assert!(ran.get());
        result
    }
}

fn host(page: u64) -> HostAddr {
    HostAddr::new(page << 12)
}

#[test]
fn a_region_on_its_way_has_its_room() {
    let pair = Pair::new(REGIONS_PER_OWNER - 1);
    pair.transfer(1, |pair| {
        assert_eq!(pair.grant(), FULL);
        pair.ledger.close(&pair.from, host(3)).unwrap();
        let second = pair.ledger.transfer(&pair.from, &pair.to, host(3));
        assert_eq!(second, FULL);
    })
    .unwrap();
    assert_eq!(pair.to.region(0).unwrap().start, host(1));
    assert_eq!(pair.grant(), FULL);
}

#[test]
fn each_of_two_regions_on_their_way_has_its_room() {
    let pair = Pair::new(REGIONS_PER_OWNER - 3);
    pair.transfer(1, |pair| {
        pair.transfer(3, |_| ()).unwrap();
        // One is there and one on its way: there is room for one more.
        pair.grant().unwrap();
        assert_eq!(pair.grant(), FULL);
    })
    .unwrap();
    assert_eq!(pair.grant(), FULL);
    // Nothing is on its way any more.
    for page in [1, 3] {
        pair.ledger.close(&pair.to, host(page)).unwrap();
        let _free = pair.ledger.reclaim(&pair.to, host(page)).unwrap();
    }
    pair.grant().unwrap();
    pair.grant().unwrap();
    assert_eq!(pair.grant(), FULL);
}

#[test]
fn an_owner_may_have_as_many_regions_as_are_allowed() {
    let pair = Pair::new(REGIONS_PER_OWNER);
    assert_eq!(pair.grant(), FULL);
    pair.ledger.close(&pair.from, host(1)).unwrap();
    assert_eq!(pair.ledger.transfer(&pair.from, &pair.to, host(1)), FULL);
    assert_eq!(pair.ledger.owner_of(host(1)), Some(OwnerId(1)));
}

#[test]
fn the_owner_of_each_byte_is_known_up_to_where_it_ends() {
    let ledger: Ledger<Hooked> = Ledger::new();
    let nobody = (None, HostAddr::new(u64::MAX));
    assert_eq!(ledger.owner_up_to(HostAddr::new(0)), nobody);
    let first = ledger.add_owner(OwnerId(1)).unwrap();
    let second = ledger.add_owner(OwnerId(2)).unwrap();
    ledger.grant(&first, host(2), 0x2000, 12).unwrap();
    ledger.grant(&second, host(4), 0x1000, 12).unwrap();
    ledger.grant(&first, host(7), 0x1000, 12).unwrap();
    let expected = [
        (0x0, None, 0x1fff),
        (0x1fff, None, 0x1fff),
        (0x2000, Some(1), 0x3fff),
        (0x3123, Some(1), 0x3fff),
        (0x3fff, Some(1), 0x3fff),
        (0x4000, Some(2), 0x4fff),
        (0x4fff, Some(2), 0x4fff),
        (0x5000, None, 0x6fff),
        (0x6fff, None, 0x6fff),
        (0x7000, Some(1), 0x7fff),
        (0x8000, None, u64::MAX),
        (u64::MAX, None, u64::MAX),
    ];
    for (at, owner, last) in expected {
        let owner = owner.map(OwnerId);
        let at = HostAddr::new(at);
        assert_eq!(
            ledger.owner_up_to(at),
            (owner, HostAddr::new(last)),
            "{at:?}"
        );
        assert_eq!(ledger.owner_of(at), owner, "{at:?}");
    }
    assert_eq!(first.region_of(host(4)), None);
    assert_eq!(first.region_of(host(3)).unwrap().start, host(2));
    assert_eq!(second.region_of(host(4)).unwrap().start, host(4));
}

#[test]
fn an_owner_goes_when_it_has_nothing_and_nobody_refers_to_it() {
    let pair = Pair::new(0);
    let (first, second) = (OwnerId(1), OwnerId(2));
    let remove = |pair: &Pair, which: &Arc<Holdings<Hooked>>| pair.ledger.remove_owner(which);
    assert_eq!(pair.ledger.counts(), (2, 3));
    assert_eq!(
        remove(&pair, &pair.from),
        Err(LedgerError::HasRegions(first))
    );
    // What is on its way counts.
    pair.transfer(1, move |pair| {
        assert_eq!(remove(pair, &pair.to), Err(LedgerError::HasRegions(second)));
        assert_eq!(pair.ledger.counts(), (2, 3));
    })
    .unwrap();
    assert_eq!(
        remove(&pair, &pair.to),
        Err(LedgerError::HasRegions(second))
    );
    pair.ledger.close(&pair.to, host(1)).unwrap();
    let _free = pair.ledger.reclaim(&pair.to, host(1)).unwrap();
    assert_eq!(pair.ledger.counts(), (2, 2));
    let others = [pair.to.clone(), pair.to.clone()];
    assert_eq!(
        remove(&pair, &pair.to),
        Err(LedgerError::InUse {
            owner: second,
            others: 2
        })
    );
    drop(others);
    remove(&pair, &pair.to).unwrap();
    assert_eq!(pair.ledger.counts(), (1, 2));
    // It gets nothing any more, and goes once only.
    assert_eq!(pair.grant(), Err(LedgerError::NoOwner(second)));
    pair.ledger.close(&pair.from, host(3)).unwrap();
    assert_eq!(
        pair.ledger.transfer(&pair.from, &pair.to, host(3)),
        Err(LedgerError::NoOwner(second))
    );
    assert_eq!(pair.ledger.owner_of(host(3)), Some(first));
    assert_eq!(remove(&pair, &pair.to), Err(LedgerError::NoOwner(second)));
    let again = pair.ledger.add_owner(second).unwrap();
    assert_eq!(
        pair.ledger.add_owner(second).err(),
        Some(LedgerError::OwnerExists(second))
    );
    remove(&pair, &again).unwrap();
}
