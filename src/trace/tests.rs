use super::costs::{BUCKETS, Histogram, bucket};
use super::entry::{HEADING, Line, MAGIC, STRIDE, WORDS};
use super::*;

fn operation(number: u64) -> Entry {
    Entry {
        kind: Kind::Unmap,
        verdict: Verdict::Done,
        end: number,
        ticks: number % 100,
        owner: 7,
        liobn: 0x8000_0000,
        bus: number << 12,
        pages: 3,
        target: 0,
    }
}

#[test]
fn an_entry_comes_back_as_it_was() {
    for kind in Kind::ALL {
        let entry = Entry {
            kind,
            verdict: Verdict::Hardware,
            end: (1 << 52) - 1,
            ticks: (1 << 52) - 1,
            owner: u32::MAX,
            liobn: u32::MAX,
            bus: !0xfff,
            pages: (1 << 52) - 1,
            target: !0xfff,
        };
        for lap in [1, 2, 4095, 4096, u64::MAX] {
            assert_eq!(Entry::decode(&entry.encode(lap), lap), Some(entry));
        }
    }
}

#[test]
fn a_word_of_another_lap_spoils_the_entry() {
    let (old, new) = (operation(1).encode(1), operation(2).encode(2));
    for torn in 0..WORDS {
        let mut words = new;
        words[torn] = old[torn];
        assert_eq!(Entry::decode(&words, 1), None);
        assert_eq!(Entry::decode(&words, 2), None);
    }
    assert_eq!(Entry::decode(&[0; WORDS], 1), None);
}

#[test]
fn a_ring_keeps_the_last() {
    let ring = Ring::<4>::new();
    assert_eq!(ring.entries().count(), 0);
    for number in 0..10 {
        ring.note(&operation(number));
    }
    let kept: Vec<u64> = ring.entries().map(|entry| entry.end).collect();
    assert_eq!(kept, [6, 7, 8, 9]);
    assert_eq!(ring.written(), 10);
}

#[test]
fn costs_add_up_over_rings() {
    let (one, other) = (Ring::<4>::new(), Ring::<4>::new());
    for ticks in [0, 1, 2, 3, 64, 127, u64::MAX >> 12] {
        one.note(&Entry {
            ticks,
            ..operation(0)
        });
    }
    other.note(&Entry {
        verdict: Verdict::Busy,
        ..operation(0)
    });
    let mut costs = Costs::NONE;
    one.add_to(&mut costs);
    other.add_to(&mut costs);
    let cost = costs.of(Kind::Unmap);
    assert_eq!((cost.count(), cost.below(50)), (8, Some(4)));
    assert_eq!((cost.below(75), cost.below(100)), (Some(128), None));
    assert_eq!(
        cost.to_string(),
        "  unmap             8        1         4   endless   endless"
    );
    assert_eq!(costs.of(Kind::Map).count(), 0);
    let text = Histogram(cost).to_string();
    assert!(
        text.starts_with(
            "            ticks      count\n        0..1                 3  ##########"
        ),
        "{text}"
    );
    assert!(text.contains("       64..127               2  "), "{text}");
    assert!(text.contains(" and more          1  #"), "{text}");
    assert_eq!(Histogram(costs.of(Kind::Map)).to_string(), "  none\n");
}

#[test]
fn buckets_are_powers_of_two() {
    for (ticks, expected) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (1023, 9)] {
        assert_eq!(bucket(ticks), expected, "{ticks}");
    }
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
}

#[test]
fn lines_stand_below_their_heading_and_are_not_wide() {
    let wide = Entry {
        kind: Kind::Map,
        verdict: Verdict::Done,
        end: 0,
        ticks: 9_999_999,
        owner: 0xbe00_0000,
        liobn: 0x8000_003f,
        bus: 0x0800_0000_0010_0000,
        pages: 1 << 20,
        target: 0x2000_0000_0000,
    };
    let named = |entry: &Entry, owner| {
        let line = Line {
            entry,
            thread: 0x7f8,
            microseconds: 12_345_678,
            owner,
        };
        line.to_string()
    };
    let line = |entry: &Entry| named(entry, None);
    let of = |name| named(&wide, Some(name)).replace(name.get(..8).unwrap_or(name), "");
    assert_eq!(of("web").len(), line(&wide).len() - 3);
    assert_eq!(of("a-long-name").len(), line(&wide).len() - 8);
    assert_eq!(
        line(&wide),
        "  [   12.345678] 07f8 map     be000000 8000003f  800000000100000 1048576 9999999 to 200000000000"
    );
    assert_eq!(
        line(&wide).find(" to "),
        Some(HEADING.len()),
        "{}\n{}",
        HEADING,
        line(&wide)
    );
    let kill = Entry {
        kind: Kind::Kill,
        verdict: Verdict::Hardware,
        owner: Entry::NOBODY,
        liobn: 0,
        target: Entry::pe(1, 0x12),
        ..wide
    };
    assert!(
        line(&kill).ends_with(" PE 1:012: hardware"),
        "{}",
        line(&kill)
    );
    let refused = Entry {
        verdict: Verdict::Busy,
        ..wide
    };
    assert!(line(&refused).ends_with(" 9999999 busy"));
    for entry in [wide, kill, refused] {
        assert!(line(&entry).len() <= 100, "{}", line(&entry));
    }
}

#[test]
fn stamps_count_from_the_start() {
    let entry = Entry {
        end: 5,
        ..operation(0)
    };
    // The clock's low 52 bits have come round.
    let start = (7 << 52) - 512_000_000 + 5;
    assert_eq!(entry.microseconds(start, 512_000_000), 1_000_000);
    assert_eq!(entry.microseconds(5, 0), 0);
}

#[test]
fn the_layout_is_the_documented_one() {
    assert_eq!(MAGIC.to_be_bytes(), *b"PINIONTR");
    assert_eq!(
        size_of::<Ring<4>>(),
        STRIDE + 4 * STRIDE + 16 * 32 * 8 + 128
    );
}
