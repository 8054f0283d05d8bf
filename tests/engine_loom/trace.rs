//! The ring of operations, read while it is written.

use loom::sync::Arc;
use loom::thread;
use pinion::trace::{Entry, Kind, Ring, Verdict};

/// Two operations go into a ring of one while another thread reads: what it
/// reads is one of them, whole, or nothing.
#[test]
fn a_torn_entry_of_the_trace_is_not_read() {
    loom::model(|| {
        let operation = |number: u64| Entry {
            kind: Kind::Map,
            verdict: Verdict::Done,
            end: number,
            ticks: number,
            owner: number as u32,
            liobn: number as u32,
            bus: number << 12,
            pages: number,
            target: number << 12,
        };
        let ring = Arc::new(Ring::<1>::new());
        let writer = Arc::clone(&ring);
        let thread = thread::spawn(move || {
            writer.note(&operation(1));
            writer.note(&operation(2));
        });
        for entry in ring.entries() {
            assert_eq!(entry, operation(entry.pages));
        }
        thread.join().unwrap();
        let last: Vec<Entry> = ring.entries().collect();
        assert_eq!(last, [operation(2)]);
    });
}
