//! Bus addresses: properties against a bitmap.
use pinion::addr::BusAddr;
use pinion::dma::iova::{HOLE, Iova, IovaAllocator, IovaError};
use proptest::prelude::*;

const PAGE: u64 = 4096;

fn allocator(start: u64, pages: u64) -> IovaAllocator {
    IovaAllocator::new(BusAddr::new(start), pages * PAGE, 12).expect("a window")
}

#[test]
fn page_0_and_the_hole_are_never_given_out() {
    let mut it = IovaAllocator::new(BusAddr::new(0), 8 << 30, 16).expect("a window");
    assert_eq!(it.free_bytes(), (6 << 30) - (64 << 10));
    let low = it
        .allocate((2 << 30 >> 16) - 1, 1 << 16)
        .expect("all below 2 GB");
    assert_eq!(
        (low.start().get(), low.start().get() + low.size()),
        (1 << 16, HOLE.start)
    );
    let high = it.allocate(1, 1 << 16).expect("above");
    assert_eq!(high.start().get(), HOLE.end);
}

#[test]
fn what_cannot_be_is_refused() {
    let new = |start, size, shift| IovaAllocator::new(BusAddr::new(start), size, shift).map(|_| ());
    let range = |start, size| {
        Err(IovaError::Range {
            start: BusAddr::new(start),
            size,
        })
    };
    assert_eq!(new(0, 1 << 20, 11), Err(IovaError::PageShift(11)));
    assert_eq!(new(0, 1 << 20, 31), Err(IovaError::PageShift(31)));
    assert_eq!(new(4096, 1 << 20, 16), range(4096, 1 << 20));
    assert_eq!(new(0, 4097, 12), range(0, 4097));
    assert_eq!(new(0, 0, 12), range(0, 0));
    assert_eq!(new(0, 4096, 12), range(0, 4096));
    assert_eq!(new(HOLE.start, 1 << 31, 12), range(HOLE.start, 1 << 31));
    assert_eq!(new(u64::MAX - 4095, 4096, 12), range(u64::MAX - 4095, 4096));
    let mut it = allocator(0, 16);
    assert_eq!(it.allocate(0, PAGE), Err(IovaError::Empty));
    assert_eq!(it.allocate(1, 2048), Err(IovaError::Alignment(2048)));
    assert_eq!(
        it.allocate(1, 3 * PAGE),
        Err(IovaError::Alignment(3 * PAGE))
    );
    assert_eq!(
        it.allocate(16, PAGE),
        Err(IovaError::Exhausted { pages: 16 })
    );
    assert_eq!(
        it.allocate(u64::MAX, PAGE),
        Err(IovaError::Exhausted { pages: u64::MAX })
    );
}

#[test]
fn a_range_of_another_window_comes_back() {
    let (mut a, mut b) = (allocator(0, 16), allocator(0, 16));
    let iova = a.allocate(2, PAGE).expect("pages");
    let (error, iova) = b.release(iova).expect_err("not its own");
    assert!(matches!(error, IovaError::NotAllocated { size: 8192, .. }));
    assert_eq!(a.release(iova), Ok(()));
    assert_eq!(a.free_bytes(), 15 * PAGE);
}

#[test]
fn an_address_comes_round_late() {
    let mut it = allocator(0, 64);
    let first = it.allocate(1, PAGE).expect("a page");
    let start = first.start();
    it.release(first).expect("given back");
    for _ in 0..62 {
        let next = it.allocate(1, PAGE).expect("a page");
        assert_ne!(next.start(), start);
        it.release(next).expect("given back");
    }
    assert_eq!(it.allocate(1, PAGE).expect("a page").start(), start);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// A window across the hole, against a bitmap: nothing twice, nothing
    /// outside, aligned, refused only when nothing fits, all back at the end.
    #[test]
    fn against_a_bitmap(operations in prop::collection::vec((any::<bool>(), 1..40u64, 0..4u32, any::<prop::sample::Index>()), 1..200)) {
        let (start, pages) = (HOLE.start - 64 * PAGE, (HOLE.end - HOLE.start) / PAGE + 128);
        let mut it = allocator(start, pages);
        let page_of = |address: u64| if address < HOLE.start {
            ((address - start) / PAGE) as usize
        } else {
            // The bitmap leaves the hole out, with a wall in its place.
            ((address - HOLE.end) / PAGE) as usize + 65
        };
        let mut taken = [false; 129];
        taken[64] = true;
        let mut live: Vec<Iova> = Vec::new();
        for (allocate, pages, log2, pick) in operations {
            if allocate || live.is_empty() {
                let align = PAGE << log2;
                match it.allocate(pages, align) {
                    Ok(iova) => {
                        let at = iova.start().get();
                        prop_assert_eq!((at % align, iova.size()), (0, pages * PAGE));
                        prop_assert!(at + iova.size() <= HOLE.start || at >= HOLE.end);
                        for slot in &mut taken[page_of(at)..][..pages as usize] {
                            prop_assert!(!std::mem::replace(slot, true));
                        }
                        live.push(iova);
                    }
                    Err(error) => {
                        prop_assert_eq!(error, IovaError::Exhausted { pages });
                        // Both sides start aligned to 64 pages.
                        let fits = |from: usize| taken[from..].iter().take(pages as usize).filter(|it| !**it).count() == pages as usize;
                        let aligned = |from: &usize| (from % 65).is_multiple_of(1 << log2);
                        prop_assert!(!(0..129).filter(aligned).any(fits), "{pages} pages fit");
                    }
                }
            } else {
                let iova = live.swap_remove(pick.index(live.len()));
                taken[page_of(iova.start().get())..][..(iova.size() / PAGE) as usize].fill(false);
                prop_assert_eq!(it.release(iova), Ok(()));
            }
            prop_assert_eq!(it.free_bytes(), taken.iter().filter(|it| !**it).count() as u64 * PAGE);
        }
        for iova in live {
            prop_assert_eq!(it.release(iova), Ok(()));
        }
        prop_assert_eq!(it.free_bytes(), 128 * PAGE);
        // In one piece on each side again.
        prop_assert!(it.allocate(64, PAGE).is_ok() && it.allocate(64, PAGE).is_ok());
    }
}
