//! Commands about PHBs and what is below them.

use crate::boot::audit as auditor;
use crate::boot::banner::plural;
use crate::boot::pci as bus;
use crate::console::arguments::{Argument, Arguments, Outcome, Refusal};
use crate::println;
use crate::seam::PeId;

pub(super) fn bridges() {
    bus::print_bridges();
}

pub(super) fn functions() {
    bus::print_functions();
}

pub(super) fn groups() {
    bus::print_groups();
}

pub(super) fn faults() {
    bus::faults::print();
}

/// A PE by the PHB's number and its own, both hexadecimal: `0000:001`.
struct NamedPe(PeId);

impl Argument for NamedPe {
    const EXPECTED: &'static str = "a PHB and a PE that it has, as in 0000:001,";

    fn read(word: &str) -> Option<Self> {
        let (phb, pe) = word.split_once(':')?;
        let phb = u16::from_str_radix(phb, 16).ok()?;
        let (index, host) = bus::hosts().find(|(_, host)| host.info.id().get() == phb)?;
        let pe = u16::from_str_radix(pe, 16).ok()?;
        (pe < host.info.pes()).then_some(Self(PeId { phb: index, pe }))
    }
}

/// `recover PHB:PE`.
pub(super) fn recover(mut words: Arguments<'_>) -> Outcome<'_> {
    let NamedPe(pe) = words.required()?;
    words.end()?;
    match bus::recover::recover(pe) {
        Ok(opened) => {
            let windows = plural(opened, "window");
            println!("recovered: {opened} {windows} open again, and empty: their owners map anew");
        }
        Err(why) => println!("recover: {why}"),
    }
    Ok(())
}

/// `audit [all]`.
pub(super) fn audit(mut words: Arguments<'_>) -> Outcome<'_> {
    let what = words.word().unwrap_or("");
    words.end()?;
    if !matches!(what, "" | "all") {
        let expected = "all, or nothing,";
        let word = what;
        return Err(Refusal::Wrong { word, expected });
    }
    auditor::print(what);
    Ok(())
}
