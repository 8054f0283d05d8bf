//! The isolation audit on the running machine: `audit` at the prompt, and after
//! each part of the self-test.

mod provoke;
mod reader;

pub use provoke::check;

use super::pci::{self, Host};
use super::{partitions, runtime};
use crate::addr::HostAddr;
use crate::audit::passes::{Heard, KEPT, settled};
use crate::audit::spaces::{self, SpaceFault, SpaceTotals};
use crate::audit::{Auditor, Expected, Holder, Holders, Named, Stretch, TableBases};
use crate::memory::ranges::Range;
use crate::pci::PeNumber;
use crate::println;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use reader::{Piecewise, Reader};

/// Valid entries that `audit all` shows.
const FACTS: usize = 512;

/// What the tables of `host` should hold: the steps that were carried out, and
/// the owners of the windows that there are.
fn expected(index: u16, host: &Host) -> Option<Expected> {
    let described = pci::bridges().get(usize::from(index))?.described;
    let bases = TableBases {
        rtt: described.tables.rtt.map(|table| table.start),
        peltv: described.tables.peltv.map(|table| table.start),
    };
    let mut expected = host.phb.expect(|expected| expected.clone())?;
    expected.set_tables(bases);
    for window in pci::windows::all() {
        window.each_pe(|pe| {
            if pe.phb == index {
                expected.set_owner(PeNumber::new(pe.pe), Some(window.owner()));
            }
        });
    }
    Some(expected)
}

/// Whose memory is: the machine's memory map, and the ledger.
struct Map;

impl Holders for Map {
    fn holder(&self, at: HostAddr) -> Stretch {
        let (is_memory, last) = memory_at(at);
        if !is_memory {
            let holder = Holder::NoMemory;
            return Stretch { holder, last };
        }
        let ledger = pci::platform::ledger();
        let (owner, same) = ledger.map_or((None, last), |ledger| ledger.owner_up_to(at));
        Stretch {
            holder: owner.map_or(Holder::Nobody, Holder::Owner),
            last: last.min(same),
        }
    }
}

/// Whether there is memory at `at`, and the last byte up to which that is so.
fn memory_at(at: HostAddr) -> (bool, HostAddr) {
    let all = HostAddr::new(u64::MAX);
    let Some(map) = runtime::memory() else {
        return (false, all);
    };
    let end = |range: &Range| HostAddr::new(range.start().get() + (range.size() - 1));
    for range in map.memory.iter() {
        if at < range.start() {
            return (false, HostAddr::new(range.start().get() - 1));
        }
        if at <= end(range) {
            return (true, end(range));
        }
    }
    (false, all)
}

/// Audits all PHBs, keeping at most so many valid entries to be shown.
fn listen(most_facts: usize) -> Heard {
    settled(|| {
        let mut heard = Heard::new(most_facts);
        let mut totals = Vec::new();
        let mut auditor = Auditor::new(&Map, &mut heard);
        for (index, host) in pci::hosts() {
            let Some(expected) = expected(index, host) else {
                continue;
            };
            let seen = auditor.phb(&Piecewise(host), &expected);
            totals.push((expected.id(), seen));
        }
        drop(auditor);
        heard.totals = totals;
        heard
    })
}

/// Audits what processors translate for partitions, if any were started. Nothing
/// of it changes meanwhile: partitions come and go on this thread.
fn spaces(fault: impl FnMut(SpaceFault)) -> Option<SpaceTotals> {
    let (table, runs) = partitions::audited()?;
    Some(spaces::audit(table, &runs, reader::word, &Map, fault))
}

/// Audits everything without a word: how many live TCEs there are, or the first
/// fault with the number of all. For the self-test, after each part and in the middle of those that map pages.
pub fn in_order() -> Result<u64, String> {
    let mut space = None;
    spaces(|fault| {
        space.get_or_insert(fault);
    });
    if let Some(fault) = space {
        return Err(format!("audit: {fault}"));
    }
    let heard = listen(0);
    let faults = heard.faults();
    match heard.faults.first() {
        None if faults == 0 => Ok(heard.totals.iter().map(|(_, totals)| totals.live).sum()),
        None => Err(format!("audit: {faults} faults")),
        Some((phb, fault)) => Err(format!("audit: {faults} faults: {}", Named(*phb, *fault))),
    }
}

/// `audit [all]`: a line for each PHB, for all partitions, and for each fault; with
/// `all`, for each valid entry of the PHBs too.
pub fn print(what: &str) {
    if !matches!(what, "" | "all") {
        println!("audit {what}: there are audit and audit all.");
        return;
    }
    let most_facts = if what == "all" { FACTS } else { 0 };
    let heard = listen(most_facts);
    for (phb, totals) in &heard.totals {
        println!("  PHB {phb}: {totals}");
    }
    for bridge in pci::bridges().iter().filter(|it| it.host().is_none()) {
        println!("  {}: left alone, not audited", bridge.described.name());
    }
    for (phb, fact) in &heard.facts {
        println!("    {}", Named(*phb, *fact));
    }
    if heard.facts.len() == FACTS {
        println!("    and more: only {FACTS} are shown");
    }
    for (phb, fault) in &heard.faults {
        println!("  FAULT {}", Named(*phb, *fault));
    }
    if heard.lost != 0 {
        println!("  and {} faults more", heard.lost);
    }
    let mut faults = heard.faults();
    let mut lines = Vec::new();
    let keep = |fault| {
        if lines.len() < KEPT {
            lines.push(format!("  FAULT {fault}"));
        }
    };
    if let Some(totals) = spaces(keep) {
        println!("  partitions: {totals}");
        faults += totals.faults;
    }
    for line in &lines {
        println!("{line}");
    }
    println!("audit: {} PHBs, {faults} faults", heard.totals.len());
}
