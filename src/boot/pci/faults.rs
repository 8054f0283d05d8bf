//! The history of freezes: what `faults` shows, recovered or not.

use super::{errors, host, pe_text};
use crate::boot::runtime;
use crate::pci::FunctionId;
use crate::phb::{Pest, PestCause};
use crate::println;
use crate::seam::PeId;
use alloc::collections::VecDeque;
use alloc::string::String;
use spin::{Mutex, Once};

/// Freezes that are kept; the oldest goes when another comes.
const KEPT: usize = 32;

/// A freeze.
struct Fault {
    microseconds: u64,
    pe: PeId,
    /// The functions that could have done it.
    members: String,
    /// Who did what, and where.
    cause: Option<(FunctionId, PestCause, u64)>,
}

/// An empty queue is not zero, and `.data` stays empty: hence the `Once`.
static FAULTS: Once<Mutex<(u64, VecDeque<Fault>)>> = Once::new();

fn faults() -> &'static Mutex<(u64, VecDeque<Fault>)> {
    FAULTS.call_once(|| Mutex::new((0, VecDeque::with_capacity(KEPT))))
}

/// Remembers a freeze of `pe`, and what its PHB recorded of it.
pub(super) fn note(pe: PeId, members: &str, record: Option<Pest>) {
    let cause = record.and_then(|pest| {
        let phb = host(pe.phb)?.info.id();
        let requester = FunctionId::new(phb, pest.requester());
        Some((requester, pest.cause(), pest.address()))
    });
    let fault = Fault {
        microseconds: runtime::microseconds(),
        pe,
        members: members.into(),
        cause,
    };
    let mut all = faults().lock();
    let (count, kept) = &mut *all;
    *count += 1;
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(fault);
}

/// `faults`: the last freezes, oldest first, and which PEs are frozen still.
pub fn print() {
    let all = faults().lock();
    let (count, kept) = &*all;
    if kept.is_empty() {
        println!("No PE was frozen since the start.");
        return;
    }
    println!("  [seconds]       PE        bus address         what");
    for fault in kept {
        let time = fault.microseconds;
        let name = pe_text(fault.pe);
        let (address, what) = match fault.cause {
            Some((requester, cause, address)) => (
                alloc::format!("{address:#018x}"),
                alloc::format!("{cause} by {requester}"),
            ),
            None => (
                String::from("-"),
                alloc::format!("no cause recorded; {}", fault.members),
            ),
        };
        println!(
            "  [{:5}.{:06}]  {name:<8}  {address:<18}  {what}",
            time / 1_000_000,
            time % 1_000_000
        );
    }
    if *count > KEPT as u64 {
        println!("  the last {KEPT} of {count}");
    }
    let mut frozen = errors::failed();
    frozen.sort_unstable();
    frozen.dedup();
    for &pe in &frozen {
        let name = pe_text(pe);
        println!("  frozen now: {name}; recover {name} resets it");
    }
    if frozen.is_empty() {
        println!("  none is frozen now");
    }
}
