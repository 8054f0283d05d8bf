//! A frozen PE on the console: who did what, where, and whose it is.

use super::{Host, faults, windows};
use crate::addr::BusAddr;
use crate::boot::banner::plural;
use crate::boot::monitor;
use crate::error;
use crate::pci::{FunctionId, GroupIndex, GroupKind};
use crate::phb::Pest;
use crate::seam::PeId;
use alloc::string::{String, ToString};

/// Tells of a freeze of `id`, and of what its PHB recorded.
pub(super) fn tell(host: &Host, id: PeId, group: Option<GroupIndex>, record: Option<Pest>) {
    let phb = host.info.id();
    let pe = id.pe;
    let who = group.map_or_else(
        || String::from("functions that are given to nobody"),
        |at| members(host, at),
    );
    faults::note(id, &who, record);
    error!("PHB {phb}: PE {pe:03x} is frozen: {who}");
    match record {
        None => error!("  the PHB recorded no cause"),
        Some(pest) => {
            let requester = FunctionId::new(phb, pest.requester());
            error!(
                "  {} by {requester} at bus address {:#x} ({:#018x} {:#018x})",
                pest.cause(),
                pest.address(),
                pest.word0,
                pest.word1
            );
        }
    }
    let mut owned = false;
    for window in windows::of(id) {
        owned = true;
        let range = window.range();
        error!(
            "  owner {}, window of {:#x} bytes at {}",
            monitor::owner_name(window.owner()),
            range.bytes(),
            range.base()
        );
        let Some(pest) = record else { continue };
        let bus = BusAddr::new(pest.address());
        match window.last_unmap(bus) {
            Some(last) => error!(
                "  that page was unmapped: {} {} from {}, {} {} ago",
                last.pages,
                plural(last.pages as usize, "page"),
                last.bus,
                last.later + 1,
                plural(last.later as usize + 1, "unmap")
            ),
            None if bus
                .checked_sub(range.base())
                .is_some_and(|at| at < range.bytes()) =>
            {
                error!("  that page is not among the window's last unmaps");
            }
            None => {}
        }
    }
    if !owned {
        error!("  it has no window and no owner");
    }
    if group.is_some_and(|at| host.groups.get(at).kind == GroupKind::Endpoint) {
        error!(
            "  its DMA is stopped; recover {phb}:{pe:03x} resets it and opens its windows again"
        );
    }
}

fn members(host: &Host, at: GroupIndex) -> String {
    let group = host.groups.get(at);
    let functions = group
        .functions
        .iter()
        .map(|at| host.topology[*at].id.to_string());
    let virtuals = group.virtuals.iter().map(|at| {
        let bdfn = host.topology.virtuals[at.get()].bdfn;
        FunctionId::new(host.topology.phb, bdfn).to_string()
    });
    let mut text = String::new();
    for name in functions.chain(virtuals) {
        text.push_str(if text.is_empty() { "" } else { ", " });
        text.push_str(&name);
    }
    text
}
