//! Audits of a machine that goes on working: windows come and go between two
//! pieces that are read.

use super::model::*;
use pinion::addr::HostAddr;
use pinion::audit::passes::{Heard, KEPT, PIECE, in_pieces, settled};
use pinion::audit::{Auditor, Expected, Fault, IodaTable, IodaTables, Listener};
use pinion::pci::{Generation, PhbId};
use std::cell::{Cell, RefCell};

/// A PHB on which something is done before each piece that is read.
struct Busy<F> {
    model: RefCell<Model>,
    /// Gets the number of the piece, over all looks.
    work: F,
    pieces: Cell<u32>,
    looks: Cell<u32>,
}

impl<F: Fn(u32, &mut Model)> Busy<F> {
    fn new(model: Model, work: F) -> Self {
        Self {
            model: RefCell::new(model),
            work,
            pieces: Cell::new(0),
            looks: Cell::new(0),
        }
    }

    fn settled(&self) -> Heard {
        settled(|| {
            self.looks.set(self.looks.get() + 1);
            // As it is when the look begins.
            let expected: Expected = self.model.borrow().expected.clone();
            let mut heard = Heard::new(0);
            let totals = Auditor::new(&Map, &mut heard).phb(self, &expected);
            heard.totals.push((expected.id(), totals));
            heard
        })
    }
}

impl<F: Fn(u32, &mut Model)> IodaTables for Busy<F> {
    fn register(&self, offset: u64) -> u64 {
        self.model.borrow().register(offset)
    }

    fn read_table(&self, table: IodaTable, into: &mut [u64]) {
        in_pieces(into, |first, part| {
            self.pieces.set(self.pieces.get() + 1);
            (self.work)(self.pieces.get(), &mut self.model.borrow_mut());
            let mut all = vec![0; usize::from(first) + part.len()];
            self.model.borrow().read_table(table, &mut all);
            part.copy_from_slice(&all[first.into()..]);
        });
    }

    fn word(&self, at: HostAddr) -> Option<u64> {
        self.model.borrow().word(at)
    }
}

/// A window of 512 pages, of which one is mapped.
fn attach(model: &mut Model, at: u16) {
    model.table(TABLES + 0x10_0000, 12);
    model.entry(TABLES + 0x10_0000, 0, FIRST + 3);
    model.set_tve(at, 0, tve(TABLES + 0x10_0000, 1, 12, 12));
    model.expected.set_owner(pe(at), Some(ONE));
}

fn detach(model: &mut Model, at: u16) {
    model.set_tve(at, 0, 0);
    model.expected.set_owner(pe(at), None);
}

fn quiet() -> Model {
    Model::new(Generation::Phb4, 512)
}

#[test]
fn tables_are_read_in_pieces_and_each_entry_once() {
    for length in [0, 1, 63, 64, 65, 512, 1000, 1024] {
        let mut into = vec![u64::MAX; length];
        let mut pieces = Vec::new();
        in_pieces(&mut into, |first, part| {
            pieces.push((usize::from(first), part.len()));
            for (entry, index) in part.iter_mut().zip(u64::from(first)..) {
                assert_eq!(*entry, u64::MAX, "twice");
                *entry = index;
            }
        });
        assert!(into.iter().copied().eq(0..length as u64), "{length}");
        let (whole, rest) = (length / PIECE, length % PIECE);
        assert_eq!(pieces.len(), whole + usize::from(rest > 0));
        assert!(pieces.iter().all(|(_, part)| (1..=PIECE).contains(part)));
    }
    assert_eq!(PIECE, 64);
}

#[test]
fn what_is_in_order_is_read_once() {
    let busy = Busy::new(quiet(), |_, _| {});
    let heard = busy.settled();
    assert_eq!((heard.faults(), busy.looks.get()), (0, 1));
    assert!(busy.pieces.get() >= 16 + 4, "TVT and MIST in pieces");
}

#[test]
fn a_window_that_comes_meanwhile_is_no_fault() {
    let busy = Busy::new(quiet(), |piece, model| {
        if piece == 3 {
            attach(model, 400);
        }
    });
    let heard = busy.settled();
    assert_eq!(busy.looks.get(), 2, "the first look found it");
    assert_eq!((heard.faults(), heard.faults.len()), (0, 0));
    assert_eq!(heard.totals[0].1.live, 1, "and the second knows it");
}

#[test]
fn windows_that_come_and_go_all_the_time_are_no_fault() {
    // Another PE each look: never the same fault twice.
    let busy = Busy::new(quiet(), |piece, model| {
        let at = 300 + piece as u16;
        detach(model, at - 1);
        attach(model, at);
    });
    let heard = busy.settled();
    assert_eq!(heard.faults(), 0, "{:?}", heard.faults);
}

#[test]
fn a_fault_that_stays_is_one_though_others_come_and_go() {
    let mut model = quiet();
    model.set_tve(7, 1, tve(TABLES, 1, 12, 12));
    let busy = Busy::new(model, |piece, model| {
        let at = 300 + piece as u16;
        detach(model, at - 1);
        attach(model, at);
    });
    let heard = busy.settled();
    assert_eq!(busy.looks.get(), 2);
    assert_eq!((heard.faults(), heard.faults.len()), (1, 1));
    let alone = Busy::new(quiet(), |_, model| {
        model.set_tve(7, 1, tve(TABLES, 1, 12, 12));
    });
    assert_eq!(alone.settled().faults, heard.faults);
}

#[test]
fn a_phb_that_falls_silent_in_the_second_look_is_told() {
    let looks = Cell::new(0);
    let heard = settled(|| {
        looks.set(looks.get() + 1);
        let mut heard = Heard::new(0);
        let fault = if looks.get() == 1 {
            Fault::Rid {
                rid: rid(1, 0, 0),
                value: 1,
                expected: pe(2),
            }
        } else {
            Fault::Fenced
        };
        heard.fault(PhbId::new(0), fault);
        heard
    });
    assert_eq!(heard.faults, [(PhbId::new(0), Fault::Fenced)]);
}

#[test]
fn more_faults_than_can_be_compared_are_all_counted() {
    let mut model = quiet();
    let wrong = KEPT as u16 + 9;
    (0..wrong).for_each(|at| model.set_rid(0x100 + at, 5));
    let busy = Busy::new(model, |_, _| {});
    let heard = busy.settled();
    assert_eq!(heard.faults(), wrong.into());
    assert_eq!((heard.faults.len(), heard.lost), (KEPT, 9));
}
