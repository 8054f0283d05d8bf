//! What a person sees of PHBs, functions and groups.

use super::{Fate, bridges, describe, hosts};
use crate::boot::{banner, partitions};
use crate::pci::GroupKind;
use crate::pci::show::{GroupTable, PciTree};
use crate::{print, println};
use alloc::string::ToString;

/// `phbs`: each PHB, and why one is left alone.
pub fn print_bridges() {
    if bridges().is_empty() {
        println!("PHBs: none");
        return;
    }
    println!("  name        id    chip  PEs  functions  groups  IO pages         state");
    for bridge in bridges() {
        let described = bridge.described;
        let (functions, groups) = bridge.host().map_or((0, 0), |host| {
            (
                host.topology.functions.len() + host.topology.virtuals.len(),
                devices(host),
            )
        });
        let sizes = describe::page_sizes(described).to_string();
        print!(
            "  {:<10}  {:04x}  {:>4}  {:>3}  {functions:>9}  {groups:>6}  {sizes:<15}  ",
            described.name(),
            described.id,
            described.chip,
            described.endpoints
        );
        match &bridge.fate {
            Fate::Taken(_) => println!("taken"),
            Fate::LeftAlone(why) => println!("left alone: {why}"),
        }
    }
    if let Some(machine) = crate::boot::runtime::machine() {
        for master in &machine.masters {
            println!("  {}: {}, given to nobody", master.node, master.what);
        }
    }
}

fn devices(host: &super::Host) -> usize {
    let groups = host.groups.iter();
    groups
        .filter(|(at, it)| it.kind == GroupKind::Endpoint && host.plan.group(*at).pe.is_some())
        .count()
}

/// `pci`: all functions, as they are connected.
pub fn print_functions() {
    for (_, host) in hosts() {
        print!("{}", PciTree(host.setup()));
    }
}

/// `groups`: what can be given to a partition as a whole, and why it is not
/// smaller. PHBs with nothing but a root port are left out.
pub fn print_groups() {
    let mut shown = false;
    for (phb, host) in hosts().filter(|(_, host)| host.topology.functions.len() > 1) {
        let owner = |at| partitions::owner_of((phb, at));
        print!("{}", GroupTable(host.setup(), &owner));
        for (at, it) in host.groups.iter() {
            if it.kind == GroupKind::Endpoint
                && let Some(function) = host.setup().cannot_reset(at)
            {
                println!("      not to be assigned: {function} has no reset of its own");
            }
        }
        for broken in &host.broken {
            println!("      not up: {:?}: {}", broken.step, broken.error);
        }
        shown = true;
    }
    if !shown {
        println!("No devices: no PHB that was taken has anything below its root port.");
    }
}

/// One line at the start.
pub fn print_summary() {
    let taken = hosts().count();
    let all = bridges().len();
    let functions: usize = hosts().map(|(_, host)| host.topology.functions.len()).sum();
    let groups: usize = hosts().map(|(_, host)| devices(host)).sum();
    println!(
        "PCI: {taken} of {all} {} taken, {functions} {}, {groups} {} to assign",
        banner::plural(all, "PHB"),
        banner::plural(functions, "function"),
        banner::plural(groups, "group")
    );
}
