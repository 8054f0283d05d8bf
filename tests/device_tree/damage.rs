//! The boards' trees, damaged in many ways, always the same ones: nothing
//! panics, nothing takes long, and what is taken is sound.

use super::build::assemble;
use super::random::Random;
use super::read::{Outcome, read};
use super::{boards, heap};
use std::collections::HashSet;
use std::ops::Range as Span;

/// Damaged trees in all.
const TREES: u64 = 104_000;

/// Most bytes of the heap that reading one may take; the image's has 4 MiB.
const HEAP: usize = 512 << 10;

/// A tree in its parts.
struct Parts {
    blob: Vec<u8>,
    structure: Span<usize>,
    strings: Span<usize>,
    /// Tokens: where each begins and ends, and its kind.
    tokens: Vec<(Span<usize>, u32)>,
}

fn word(blob: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(blob[at..at + 4].try_into().unwrap())
}

fn poke(blob: &mut [u8], at: usize, value: u32) {
    blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

impl Parts {
    /// Takes a sound tree apart.
    fn of(blob: &[u8]) -> Self {
        let span = |at: usize, size: usize| {
            let start = word(blob, at) as usize;
            start..start + word(blob, size) as usize
        };
        let (structure, strings) = (span(8, 36), span(12, 32));
        let mut tokens = Vec::new();
        let mut at = structure.start;
        loop {
            let kind = word(blob, at);
            let end = match kind {
                1 => at + 4 + blob[at + 4..].iter().position(|&b| b == 0).unwrap() + 1,
                3 => at + 12 + word(blob, at + 4) as usize,
                _ => at + 4,
            };
            let end = end.next_multiple_of(4);
            if kind == 9 {
                break;
            }
            tokens.push((at..end, kind));
            at = end;
        }
        Self {
            blob: blob.to_vec(),
            structure,
            strings,
            tokens,
        }
    }

    fn property_name(&self, token: &Span<usize>) -> &str {
        let at = self.strings.start + word(&self.blob, token.start + 8) as usize;
        let rest = &self.blob[at..];
        let end = rest.iter().position(|&byte| byte == 0).unwrap();
        std::str::from_utf8(&rest[..end]).unwrap()
    }

    /// The tree with `structure` instead of its own.
    fn with_structure(&self, structure: &[u8]) -> Vec<u8> {
        let reservations: Vec<(u64, u64)> = pinion::fdt::Tree::check(&self.blob)
            .unwrap()
            .reservations()
            .collect();
        assemble(&reservations, structure, &self.blob[self.strings.clone()])
    }

    /// The end of the token run that makes a whole node from this one on.
    fn node_end(&self, first: usize) -> usize {
        let mut depth = 0;
        for (index, (_, kind)) in self.tokens.iter().enumerate().skip(first) {
            match kind {
                1 => depth += 1,
                2 => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return index + 1;
            }
        }
        self.tokens.len()
    }
}

/// Properties whose numbers decide something.
const INTERESTING: &[&str] = &[
    "reg",
    "#address-cells",
    "#size-cells",
    "ibm,ppc-interrupt-server#s",
    "ibm,chip-id",
    "bus-range",
    "ranges",
    "reserved-ranges",
    "opal-base-address",
    "opal-entry-address",
    "opal-runtime-size",
    "opal-interrupts",
    "ibm,opal-phbid",
    "ibm,opal-num-pes",
    "ibm,heartbeat-ms",
    "timebase-frequency",
    "clock-frequency",
    "current-speed",
    "status",
    "compatible",
    "device_type",
    "bootargs",
    "version",
];

const ABSURD: &[u32] = &[
    0,
    1,
    2,
    3,
    4,
    0xfff,
    0x1000,
    0xffff,
    0x1_0000,
    0x2000_0000,
    0x3000_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_f000,
    0xffff_fffe,
    0xffff_ffff,
];

/// Ways to damage a tree. Each takes a sound one.
type Damage = fn(&Parts, &mut Random) -> Vec<u8>;

const WAYS: &[(&str, Damage)] = &[
    ("bits", bits),
    ("bytes", bytes),
    ("cut", cut),
    ("swapped cells", swapped_cells),
    ("header", header),
    ("tokens", tokens),
    ("whole nodes", whole_nodes),
    ("numbers", numbers),
    ("lengths", lengths),
    ("names", names),
    ("several", several),
];

fn bits(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let mut blob = parts.blob.clone();
    for _ in 0..random.of(&[1, 1, 2, 8]) {
        let at = random.below(blob.len());
        blob[at] ^= 1 << random.below(8);
    }
    blob
}

fn bytes(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let mut blob = parts.blob.clone();
    for _ in 0..random.of(&[1, 1, 2, 8]) {
        let at = random.below(blob.len());
        let any = random.next() as u8;
        blob[at] = random.of(&[0, 0xff, 1, any]);
    }
    blob
}

/// Cut off; the header says the old size, or the new one.
fn cut(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let mut blob = parts.blob.clone();
    blob.truncate(random.below(parts.blob.len()));
    if blob.len() >= 40 && random.below(4) != 0 {
        let total = blob.len() as u32;
        poke(&mut blob, 4, total);
        if random.below(2) == 0 {
            // A shorter structure block, for what is left of it.
            let size = random.below(blob.len()) as u32 & !3;
            poke(&mut blob, 36, size);
            poke(&mut blob, 12, 40);
            poke(&mut blob, 32, (total - 40) / 2);
        }
    }
    blob
}

fn swapped_cells(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let mut blob = parts.blob.clone();
    let cell =
        |random: &mut Random| parts.structure.start + random.below(parts.structure.len() / 4) * 4;
    for _ in 0..=random.below(3) {
        let (a, b) = (cell(random), cell(random));
        let (first, second) = (word(&blob, a), word(&blob, b));
        poke(&mut blob, a, second);
        poke(&mut blob, b, first);
    }
    blob
}

fn header(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let mut blob = parts.blob.clone();
    let field = random.below(10) * 4;
    let old = word(&blob, field);
    let any = random.next() as u32;
    let size = blob.len() as u32;
    let near = old.wrapping_add(random.of(&[4, 8, 16, -4i32 as u32, -8i32 as u32]));
    let value = random.of(&[
        0,
        4,
        40,
        size,
        size - 4,
        0xffff_ffff,
        0xffff_fffc,
        any,
        near,
        near,
    ]);
    poke(&mut blob, field, value);
    blob
}

/// A run of tokens twice, or not at all.
fn tokens(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let first = random.below(parts.tokens.len());
    let last = (first + random.below(6)).min(parts.tokens.len() - 1);
    run(parts, first, last, random)
}

/// A whole node twice, or gone, or somewhere else.
fn whole_nodes(parts: &Parts, random: &mut Random) -> Vec<u8> {
    loop {
        let first = random.below(parts.tokens.len());
        if first > 0 && parts.tokens[first].1 == 1 {
            return run(parts, first, parts.node_end(first) - 1, random);
        }
    }
}

fn run(parts: &Parts, first: usize, last: usize, random: &mut Random) -> Vec<u8> {
    let (start, end) = (parts.tokens[first].0.start, parts.tokens[last].0.end);
    let before = &parts.blob[parts.structure.start..start];
    let it = &parts.blob[start..end];
    let after = &parts.blob[end..parts.structure.end];
    let structure = match random.below(3) {
        0 => [before, after].concat(),
        1 => [before, it, it, after].concat(),
        _ => {
            // Moved to the place of another token behind it.
            let other = last + 1 + random.below((parts.tokens.len() - last).max(2) - 1);
            let place = parts
                .tokens
                .get(other)
                .map_or(end, |(span, _)| span.start.max(end));
            [
                before,
                &parts.blob[end..place],
                it,
                &parts.blob[place..parts.structure.end],
            ]
            .concat()
        }
    };
    parts.with_structure(&structure)
}

fn interesting(parts: &Parts, random: &mut Random) -> Span<usize> {
    loop {
        let (token, kind) = &parts.tokens[random.below(parts.tokens.len())];
        if *kind == 3 && INTERESTING.contains(&parts.property_name(token)) {
            return token.clone();
        }
    }
}

/// Absurd numbers where they matter.
fn numbers(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let mut blob = parts.blob.clone();
    for _ in 0..=random.below(4) {
        let token = interesting(parts, random);
        let cells = (token.len() - 12) / 4;
        for cell in 0..cells {
            if random.below(2) == 0 {
                let any = random.next() as u32;
                let absurd = random.of(ABSURD);
                poke(
                    &mut blob,
                    token.start + 12 + cell * 4,
                    random.of(&[absurd, absurd, any]),
                );
            }
        }
    }
    blob
}

/// Interesting properties longer or shorter than they were.
fn lengths(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let token = interesting(parts, random);
    let mut value = parts.blob[token.start + 12..token.end].to_vec();
    match random.below(3) {
        0 => value.truncate(random.below(value.len() + 1)),
        1 => value.extend(vec![random.next() as u8; random.below(64)]),
        _ => {
            let times = random.below(600);
            value = value.repeat(times);
        }
    }
    let mut property = parts.blob[token.start..token.start + 12].to_vec();
    poke(&mut property, 4, value.len() as u32);
    property.extend(&value);
    property.resize(property.len().next_multiple_of(4), 0);
    let structure = [
        &parts.blob[parts.structure.start..token.start],
        &property,
        &parts.blob[token.end..parts.structure.end],
    ]
    .concat();
    parts.with_structure(&structure)
}

/// Names of properties and nodes.
fn names(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let mut blob = parts.blob.clone();
    for _ in 0..=random.below(4) {
        let at = match random.below(3) {
            0 => parts.strings.start + random.below(parts.strings.len()),
            1 => {
                let (token, kind) = &parts.tokens[random.below(parts.tokens.len())];
                token.start + if *kind == 3 { 8 + random.below(4) } else { 4 }
            }
            _ => {
                let (token, _) = &parts.tokens[random.below(parts.tokens.len())];
                token.start + 4 + random.below(8)
            }
        };
        let any = random.next() as u8;
        blob[at] = random.of(&[0, b'@', b',', 0x1b, 0xff, any]);
    }
    blob
}

/// Two or three kinds of damage at once, as long as the tree can still be
/// taken apart.
fn several(parts: &Parts, random: &mut Random) -> Vec<u8> {
    let gentle: &[Damage] = &[whole_nodes, lengths];
    let blob = random.of(gentle)(parts, random);
    let rough: &[Damage] = &[numbers, bits, bytes, swapped_cells, names];
    random.of(rough)(&Parts::of(&blob), random)
}

#[derive(Default, Debug)]
struct Counts {
    refused: u64,
    no_memory: u64,
    good: u64,
    heap: usize,
}

/// Damages the boards' trees `count` times; seeds count from `first`.
fn damage(first: u64, count: u64) {
    let trees = boards::all();
    let parts: Vec<Parts> = trees.iter().map(|blob| Parts::of(blob)).collect();
    let mut counts: Vec<Counts> = WAYS.iter().map(|_| Counts::default()).collect();
    let mut reasons = HashSet::new();
    for seed in first..first + count {
        let mut random = Random(seed);
        // The small trees more often: they are read faster.
        let tree = random.of(&[0, 0, 0, 1, 1, 2, 2, 3, 4, 5]);
        let way = (seed % WAYS.len() as u64) as usize;
        let blob = WAYS[way].1(&parts[tree], &mut random);
        let told = || format!("seed {seed}, {}", WAYS[way].0);
        let (outcome, heap) = heap::peak(|| {
            std::panic::catch_unwind(|| read(&blob)).unwrap_or_else(|_| panic!("{}", told()))
        });
        let mine = &mut counts[way];
        match outcome {
            Outcome::Refused(error) => {
                mine.refused += 1;
                reasons.insert(std::mem::discriminant(&error));
            }
            Outcome::NoMemory(_) => mine.no_memory += 1,
            Outcome::Good => mine.good += 1,
        }
        mine.heap = mine.heap.max(heap);
        // The allocator's own records are up to 1 MiB of it here.
        assert!(heap <= HEAP + (1 << 20), "{}: {heap} bytes", told());
    }
    for (index, (name, _)) in WAYS.iter().enumerate() {
        println!("{name:<14} {:?}", counts[index]);
        // Damage that everything refuses shows nothing; a cut must be refused.
        assert_eq!(counts[index].good > 0, *name != "cut", "{name}");
    }
    // All that can be wrong, but for endless names and nesting.
    assert!(reasons.len() >= 10, "{reasons:?}");
    let refused: u64 = counts.iter().map(|counts| counts.refused).sum();
    let no_memory: u64 = counts.iter().map(|counts| counts.no_memory).sum();
    assert!(refused > count / 10, "only {refused} were refused");
    assert!(no_memory > count / 1000, "only {no_memory} had bad memory");
}

#[test]
fn damaged_trees_do_no_harm_1() {
    damage(0, TREES / 2);
}

#[test]
fn damaged_trees_do_no_harm_2() {
    damage(TREES / 2, TREES / 2);
}
