use super::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Memory that keeps entries by address, and counts frames.
#[derive(Default)]
struct Model {
    words: RefCell<BTreeMap<u64, u64>>,
    frames: RefCell<BTreeMap<u64, u32>>,
    next: RefCell<u64>,
    limit: Option<usize>,
}

impl TableMemory for Model {
    fn load(&self, table: HostAddr, index: usize) -> u64 {
        let at = table.get() + 8 * index as u64;
        self.words.borrow().get(&at).copied().unwrap_or(0)
    }
    fn store(&self, table: HostAddr, index: usize, value: u64) {
        let at = table.get() + 8 * index as u64;
        self.words.borrow_mut().insert(at, value);
    }
    fn barrier(&self) {}
}

impl TableFrames for Model {
    fn allocate(&self, shift: u32) -> Option<HostAddr> {
        if self
            .limit
            .is_some_and(|limit| self.frames.borrow().len() >= limit)
        {
            return None;
        }
        let size = 1u64 << shift;
        let start = (self.next.borrow().max(0x10_0000)).next_multiple_of(size);
        *self.next.borrow_mut() = start + size;
        // What was there before must not matter.
        self.words.borrow_mut().insert(start, u64::MAX);
        self.words.borrow_mut().insert(start + size - 8, u64::MAX);
        self.frames.borrow_mut().insert(start, shift);
        Some(HostAddr::new(start))
    }
    fn free(&self, frame: HostAddr, shift: u32) {
        assert_eq!(self.frames.borrow_mut().remove(&frame.get()), Some(shift));
    }
}

impl Model {
    /// Walks the tree by the words of the architecture alone; returns the leaf
    /// and the base-2 logarithm of its size.
    fn walk(&self, root: u64, guest: u64) -> Option<(u64, u32)> {
        let (mut table, mut bits, mut shift) = (root, 13, 52);
        loop {
            shift -= bits;
            let index = guest >> shift & ((1 << bits) - 1);
            let word = self.load(HostAddr::new(table), index as usize);
            if word >> 63 == 0 {
                return None;
            }
            if word >> 62 & 1 == 1 {
                return Some((word, shift));
            }
            bits = (word & 0x1f) as u32;
            table = word & 0x0fff_ffff_ffff_ff00;
        }
    }
}

fn map(
    tree: &mut RadixTree,
    model: &Model,
    what: (u64, u64, u64),
    kind: Kind,
) -> Result<(), RadixError> {
    let (guest, host, bytes) = what;
    tree.map(
        model,
        (GuestAddr::new(guest), HostAddr::new(host), bytes),
        kind,
    )
}

#[test]
fn the_largest_leaves_that_fit_are_used() {
    let model = Model::default();
    let mut tree = RadixTree::new(&model).unwrap();
    let gib = 1u64 << 30;
    map(
        &mut tree,
        &model,
        (0, 4 * gib, gib + (2 << 20) + 0x1000),
        Kind::Memory,
    )
    .unwrap();
    let root = tree.root().get();
    assert_eq!(root & 0xffff, 0);
    assert_eq!(
        model.walk(root, 0),
        Some(((3 << 62) | (4 * gib) | 0x187, 30))
    );
    assert_eq!(
        model.walk(root, gib),
        Some(((3 << 62) | (5 * gib) | 0x187, 21))
    );
    let last = gib + (2 << 20);
    assert_eq!(
        model.walk(root, last),
        Some(((3 << 62) | (4 * gib + last) | 0x187, 12))
    );
    assert_eq!(model.walk(root, last + 0x1000), None);
    // A gigabyte that is not aligned on both sides takes smaller ones.
    map(
        &mut tree,
        &model,
        (8 * gib, 16 * gib + (2 << 20), gib),
        Kind::Memory,
    )
    .unwrap();
    assert_eq!(model.walk(root, 8 * gib).map(|(_, shift)| shift), Some(21));
}

#[test]
fn what_a_processor_finds_is_what_find_says() {
    let model = Model::default();
    let mut tree = RadixTree::new(&model).unwrap();
    map(
        &mut tree,
        &model,
        (0x20_0000, 0x1234_5000, 0x40_3000),
        Kind::Memory,
    )
    .unwrap();
    map(
        &mut tree,
        &model,
        (1 << 51, 0x6_0000_0000_0000, 0x2_0000),
        Kind::Device,
    )
    .unwrap();
    for (guest, expected) in [
        (0x1f_ffff, None),
        (0x20_0000, Some(0x1234_5000)),
        (0x60_2fff, Some(0x1274_7fff)),
        (0x60_3000, None),
        ((1 << 51) + 0x1_fff8, Some(0x6_0000_0001_fff8)),
        (1 << 52, None),
        (u64::MAX, None),
    ] {
        let found = tree.find(&model, GuestAddr::new(guest));
        assert_eq!(found.map(HostAddr::get), expected, "{guest:#x}");
        let walked = (guest >> 52 == 0)
            .then(|| model.walk(tree.root().get(), guest))
            .flatten();
        let walked = walked
            .map(|(word, shift)| (word & 0x01ff_ffff_ffff_f000) + (guest & ((1 << shift) - 1)));
        assert_eq!(walked, expected, "{guest:#x}");
    }
    let (device, _) = model.walk(tree.root().get(), 1 << 51).unwrap();
    assert_eq!(device & 0xfff, 0x1a6);
}

#[test]
fn all_frames_come_back() {
    let model = Model::default();
    let mut tree = RadixTree::new(&model).unwrap();
    map(
        &mut tree,
        &model,
        (0, 0x4000_0000, 0x123_4000),
        Kind::Memory,
    )
    .unwrap();
    map(
        &mut tree,
        &model,
        (1 << 45, 0x8000_0000, 0x1000),
        Kind::Memory,
    )
    .unwrap();
    assert!(model.frames.borrow().len() > 5);
    tree.release(&model);
    assert!(model.frames.borrow().is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let model = Model::default();
    let mut tree = RadixTree::new(&model).unwrap();
    for what in [
        (0, 0, 0),
        (1, 0, 0x1000),
        (0, 0x800, 0x1000),
        (0, 0, 0x1001),
    ] {
        let error = map(&mut tree, &model, what, Kind::Memory).unwrap_err();
        assert!(matches!(error, RadixError::Alignment { .. }), "{what:?}");
    }
    let page = 0x1000;
    for what in [
        ((1 << 52) - page, 0, 2 * page),
        (0, (1 << 52) - page, 2 * page),
        (u64::MAX - page + 1, 0, page),
        (1 << 52, 0, page),
    ] {
        let error = map(&mut tree, &model, what, Kind::Memory).unwrap_err();
        assert!(matches!(error, RadixError::Beyond { .. }), "{what:?}");
    }
    map(
        &mut tree,
        &model,
        ((1 << 52) - page, (1 << 52) - page, page),
        Kind::Memory,
    )
    .unwrap();
    map(&mut tree, &model, (0, 0, 0x20_0000), Kind::Memory).unwrap();
    // Over a large page, under one, and twice the same.
    for what in [(0x1000, 0, page), (0, 0, 0x20_0000), (0, 0, 1 << 30)] {
        let error = map(&mut tree, &model, what, Kind::Memory).unwrap_err();
        assert!(matches!(error, RadixError::Busy(_)), "{what:?}");
    }
}

#[test]
fn without_frames_nothing_is_lost() {
    for limit in 0..4 {
        let model = Model {
            limit: Some(limit),
            ..Model::default()
        };
        let Ok(mut tree) = RadixTree::new(&model) else {
            assert_eq!(limit, 0);
            continue;
        };
        let error = map(&mut tree, &model, (0, 0, 0x1000), Kind::Memory).unwrap_err();
        assert_eq!(error, RadixError::NoFrame(LEVEL_SHIFT));
        tree.release(&model);
        assert!(model.frames.borrow().is_empty());
    }
}

#[test]
fn table_words_are_the_architectures() {
    let [first, second] = partition_entry(HostAddr::new(0x1234_0000));
    assert_eq!(first, 1 << 63 | 5 << 5 | 2 << 61 | 0x1234_0000 | 13);
    assert_eq!(second, 1 << 63);
    let process = |base, size| process_entry(GuestAddr::new(base), size);
    assert_eq!(process(0x100_0000, 12), Some(1 << 63 | 0x100_0000 | 12));
    assert_eq!(process(0x80_0000, 12), None);
    assert_eq!(process(0, 25), None);
    assert_eq!(process(1 << 52, 0), None);
    assert_eq!(table_register(HostAddr::new(0x1_0000), 16), 0x1_0004);
}

#[test]
fn what_is_unmapped_is_gone_and_nothing_else() {
    let model = Model::default();
    let mut tree = RadixTree::new(&model).unwrap();
    let (mib, root) = (1u64 << 20, tree.root().get());
    let (base, end) = (1u64 << 50, (1u64 << 50) + 6 * (1 << 20) + 0x3000);
    let mut put = |what| map(&mut tree, &model, what, Kind::Device).unwrap();
    put((base - 0x1000, 0x1000, 0x1000));
    put((base, base, 6 * mib + 0x3000));
    put((end, 0x2000, 0x1000));
    // Of a device the pages are not cached.
    assert_eq!(model.walk(root, base).unwrap().0 & 0x3f, 0x26);
    let frames = model.frames.borrow().len();
    tree.unmap(&model, GuestAddr::new(base), 6 * mib + 0x3000);
    for at in (base..end).step_by(0x1000) {
        assert_eq!(model.walk(root, at), None, "{at:#x}");
    }
    for at in [base - 0x1000, end] {
        assert!(model.walk(root, at).is_some(), "{at:#x}");
    }
    // Again, where nothing is, and beyond the end.
    tree.unmap(&model, GuestAddr::new(base), 6 * mib);
    tree.unmap(&model, GuestAddr::new(1 << 41), 1 << 40);
    tree.unmap(&model, GuestAddr::new((1 << 52) - 0x1000), u64::MAX);
    assert!(model.walk(root, end).is_some());
    // It can be mapped again, in the same levels.
    map(&mut tree, &model, (base, base, 4 * mib), Kind::Device).unwrap();
    assert_eq!(model.frames.borrow().len(), frames);
    tree.release(&model);
    assert!(model.frames.borrow().is_empty());
}
