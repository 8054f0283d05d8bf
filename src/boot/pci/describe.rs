//! From what the tree says of a PHB to what `pci` and `phb` want.

use super::phb_id;
use crate::machine::{Phb as Described, PhbWindow};
use crate::pci::{Generation, PhbDescription, PhbInfo, Window};
use crate::phb::{KillPath, PhbSetup};
use crate::tce::{PageShift, PageSizes};
use alloc::string::{String, ToString};

fn generation(described: &Described) -> Generation {
    match described.kind {
        "ibm,power8-pciex" => Generation::Phb3,
        "ibm,power9-pciex" => Generation::Phb4,
        _ => Generation::Phb5,
    }
}

fn window(from: PhbWindow) -> Window {
    Window {
        bus: from.bus,
        host: from.host,
        size: from.size,
    }
}

/// What a plan needs, checked.
pub(super) fn info(described: &Described) -> Result<PhbInfo, String> {
    let (first, last) = described.buses;
    let (first_bar, last_bar) = described.m64_bars;
    let description = PhbDescription {
        id: phb_id(described)?,
        generation: generation(described),
        buses: first..=last,
        pes: described.endpoints,
        reserved: described.reserved.ok_or("it has no ibm,opal-reserved-pe")?,
        m32: window(described.m32.ok_or("it has no 32-bit memory in ranges")?),
        m64: described.m64.map(window),
        m64_bars: first_bar..=last_bar,
        vectors: described.interrupts.messages.map_or(0, |(_, count)| count),
        config_size: 4096,
    };
    PhbInfo::new(&description).map_err(|fault| fault.to_string())
}

/// What drives it.
pub(super) fn setup(described: &Described, info: &PhbInfo, kill: KillPath) -> PhbSetup {
    // Tables that are too small for what is read of them are not read.
    let tables = &described.tables;
    let at = |table: Option<crate::machine::PhbTable>, bytes: u64| {
        table.filter(|table| table.size >= bytes).map(|it| it.start)
    };
    PhbSetup {
        id: described.id,
        generation: info.generation(),
        pes: info.pes(),
        reserved: info.reserved().get(),
        kill,
        page_shifts: described
            .tce_shifts
            .iter()
            .filter(|shift| PageShift::new(**shift).is_ok())
            .fold(0, |set, shift| set | 1 << shift),
        rtt: at(tables.rtt, 2 << 16),
        pest: at(tables.pest, u64::from(info.pes()) * 16),
    }
}

/// The IO page sizes of a PHB.
pub fn page_sizes(described: &Described) -> PageSizes {
    let known = described
        .tce_shifts
        .iter()
        .filter_map(|shift| PageShift::new(*shift).ok());
    known.fold(PageSizes::NONE, PageSizes::with)
}
