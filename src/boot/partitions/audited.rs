//! What the audit is told of partitions that run: from the plan of the PHBs and
//! from what firmware said of interrupt sources, not from the trees.

use super::{Partition, groups, memory, partitions, xive};
use crate::addr::HostAddr;
use crate::audit::spaces::Run;
use crate::boot::pci;
use crate::memory::ranges::Range;
use crate::papr::xive::PAGE_SHIFT;
use alloc::vec::Vec;

/// The partition table, if there is one, and the partitions that run.
pub fn audited() -> Option<(HostAddr, Vec<Run>)> {
    let table = memory::table()?;
    let runs = partitions().iter().map(|run| described(run)).collect();
    Some((table, runs))
}

fn described(run: &Partition) -> Run {
    let mut registers = Vec::new();
    for group in run.defined.groups() {
        let (phb, at) = group.place;
        let pages = pci::host(phb).map(|host| groups::pages(host, at));
        for it in pages.unwrap_or_default() {
            registers.extend(Range::new(it.start.get(), it.bytes));
        }
    }
    if let Some(exploited) = &run.xive {
        let mut page = |at: HostAddr| registers.extend(Range::new(at.get(), 1 << PAGE_SHIFT));
        xive::thread_pages().into_iter().for_each(&mut page);
        exploited.with(&run.memory, &mut |state, _| {
            for source in state.sources() {
                page(source.management);
                source.trigger.into_iter().for_each(&mut page);
            }
        });
    }
    Run {
        lpid: run.lpid as u16,
        owner: run.defined.domain().memory().owner(),
        registers,
    }
}
