use super::*;

fn range(start: u64, size: u64) -> Range {
    Range::new(start, size).unwrap()
}

fn storage(ranges: &[Range]) -> Vec<u64> {
    vec![0; ranges.iter().map(FrameAllocator::storage_for).sum()]
}

/// Free bytes, and whether a second allocator over the same ranges has the
/// same bits: "exact return".
fn bits_when_new(ranges: &[Range]) -> Vec<u64> {
    let mut words = storage(ranges);
    let mut frames = FrameAllocator::new(&mut words);
    for range in ranges {
        frames.add_zone(*range, 0).unwrap();
    }
    words
}

#[test]
fn memory_is_of_the_chip_of_its_zone() {
    let ranges = [range(0x1000, 0x1_0000), range(0x8_0000, 0x1000)];
    let mut words = storage(&ranges);
    let mut frames = FrameAllocator::new(&mut words);
    frames.add_zone(ranges[0], 3).unwrap();
    frames.add_zone(ranges[1], 8).unwrap();
    let of = |at| frames.chip_of(HostAddr::new(at));
    assert_eq!(
        (of(0x1000), of(0x1_0fff), of(0x8_0000)),
        (Some(3), Some(3), Some(8))
    );
    assert_eq!((of(0xfff), of(0x1_1000), of(0x8_1000)), (None, None, None));
}

#[test]
fn random_use_never_overlaps_and_returns_exactly() {
    let ranges = [
        range(0x1000, 0x0fff_0000),
        range(0x3010_0800, 0x4fff_f000),
        range(0x1_8000_0000, 1 << 31),
    ];
    let fresh = bits_when_new(&ranges);
    let mut words = storage(&ranges);
    let mut frames = FrameAllocator::new(&mut words);
    for (chip, range) in ranges.iter().enumerate() {
        frames.add_zone(*range, chip as u32).unwrap();
    }
    let total = frames.free_bytes();
    let mut held: Vec<Block> = Vec::new();
    let mut random = 99u64;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        if random >> 62 != 0 || held.is_empty() {
            let shift = MIN_SHIFT + (random >> 40) as u32 % 16;
            if let Ok(block) = frames.allocate(shift, Some((random >> 20) as u32 % 3)) {
                assert!(block.start().is_aligned(shift));
                let mine = range(block.start().get(), block.size());
                assert!(ranges.iter().any(|range| range.contains(&mine)));
                let apart = |other: &Block| {
                    other.start().get() + other.size() <= mine.start().get()
                        || mine.end() <= other.start()
                };
                assert!(held.iter().all(apart));
                held.push(block);
            }
        } else {
            let index = (random >> 30) as usize % held.len();
            frames.free(held.swap_remove(index)).unwrap();
        }
        if held.len() > 200 {
            held.drain(..).for_each(|block| frames.free(block).unwrap());
        }
        let in_use: u64 = held.iter().map(Block::size).sum();
        assert_eq!(frames.free_bytes(), total - in_use);
    }
    for block in held {
        frames.free(block).unwrap();
    }
    assert_eq!(words, fresh);
}

#[test]
fn a_gibibyte_comes_aligned_or_not_at_all() {
    let ranges = [range(0x1000_0000, 5 << 30)];
    let mut words = storage(&ranges);
    let mut frames = FrameAllocator::new(&mut words);
    frames.add_zone(ranges[0], 0).unwrap();
    let blocks: Vec<Block> = (0..4).map(|_| frames.allocate(30, None).unwrap()).collect();
    assert!(blocks.iter().all(|block| block.start().is_aligned(30)));
    assert_eq!(frames.allocate(30, None), Err(FrameError::OutOfMemory(30)));
    assert_eq!(frames.largest_free(), Some(29));
}

#[test]
fn what_is_not_in_use_is_refused() {
    let ranges = [range(0, 1 << 20)];
    let mut words = storage(&ranges);
    let mut frames = FrameAllocator::new(&mut words);
    frames.add_zone(ranges[0], 0).unwrap();
    let block = frames.allocate(16, None).unwrap();
    let copy = Block {
        start: block.start,
        shift: block.shift,
    };
    let half = Block {
        start: block.start,
        shift: 15,
    };
    frames.free(block).unwrap();
    assert!(matches!(frames.free(copy), Err(FrameError::NotInUse(_))));
    assert!(matches!(frames.free(half), Err(FrameError::NotInUse(_))));
    let outside = Block {
        start: HostAddr::new(1 << 20),
        shift: 12,
    };
    assert!(matches!(frames.free(outside), Err(FrameError::NotInUse(_))));
    assert_eq!(frames.allocate(11, None), Err(FrameError::Size(11)));
    assert_eq!(frames.allocate(31, None), Err(FrameError::Size(31)));
}

#[test]
fn the_wanted_chip_comes_first_and_the_others_after() {
    let ranges = [range(0, 1 << 20), range(1 << 40, 1 << 20)];
    let mut words = storage(&ranges);
    let mut frames = FrameAllocator::new(&mut words);
    frames.add_zone(ranges[0], 0).unwrap();
    frames.add_zone(ranges[1], 8).unwrap();
    let near = frames.allocate(20, Some(8)).unwrap();
    assert_eq!(near.start().get(), 1 << 40);
    let refused = frames.allocate_on(20, Some(8));
    assert_eq!(refused, Err(FrameError::OutOfMemory(20)));
    let far = frames.allocate(20, Some(8)).unwrap();
    assert_eq!(far.start().get(), 0);
}

#[test]
fn too_little_storage_is_refused() {
    let mut words = [0; 2];
    let mut frames = FrameAllocator::new(&mut words);
    let refused = frames.add_zone(range(0, 1 << 30), 0);
    assert!(matches!(refused, Err(FrameError::Storage { given: 2, .. })));
}
