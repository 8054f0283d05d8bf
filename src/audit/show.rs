//! Faults, facts and totals as lines for a person.

use core::fmt;

use super::finding::{Fact, Fault, Named, Totals};
use super::{Holder, M64Bar};
use crate::seam::DmaTable;

impl fmt::Display for Named<Fault> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phb = self.0;
        match self.1 {
            Fault::Fenced => write!(f, "PHB {phb}: registers read as all ones: fenced"),
            Fault::Base { table, value, told } => {
                write!(f, "PHB {phb}: register of the {table} is {value:#x}")?;
                match told {
                    Some(told) => write!(f, ", firmware told {told:#x}"),
                    None => f.write_str(", which is off"),
                }
            }
            Fault::BaseHolder { table, at, holder } => {
                write!(f, "PHB {phb}: the {table} at {at:#x} is {holder}")
            }
            Fault::Rid {
                rid,
                value,
                expected,
            } => write!(
                f,
                "{phb}:{rid} belongs to PE {value:03x}, expected PE {expected}"
            ),
            Fault::Link { parent, child, set } => {
                let is = if set { "freezes" } else { "does not freeze" };
                let not = if set { "should not" } else { "should" };
                write!(
                    f,
                    "PHB {phb}: an error of PE {parent} {is} PE {child}, but {not}"
                )
            }
            Fault::Control { value } => write!(
                f,
                "PHB {phb}: control register {value:#x} does not select two TVEs by bit 59"
            ),
            Fault::TveOfNobody { pe, tve, value } => write!(
                f,
                "PHB {phb} PE {pe}: nobody owns it, but its TVE#{tve} is {value:#x}"
            ),
            Fault::Bypass {
                pe,
                tve,
                value,
                start,
                end,
            } => write!(
                f,
                "PHB {phb} PE {pe}: TVE#{tve} {value:#x} translates nothing: {start:#x} to {end:#x} is open"
            ),
            Fault::TveMalformed { pe, tve, value } => write!(
                f,
                "PHB {phb} PE {pe}: TVE#{tve} {value:#x} describes no table"
            ),
            Fault::TableHolder {
                pe,
                bus,
                level,
                at,
                holder,
            } => write!(
                f,
                "PHB {phb} PE {pe}: table of level {level} for {bus:#x}: {at:#x} is {holder}"
            ),
            Fault::TableMisaligned {
                pe,
                bus,
                level,
                entry,
            } => write!(
                f,
                "PHB {phb} PE {pe}: entry {entry:#x} for {bus:#x} names a misaligned table of level {level}"
            ),
            Fault::TableTwice { pe, bus, level, at } => write!(
                f,
                "PHB {phb} PE {pe}: table of level {level} for {bus:#x} at {at:#x} is in use elsewhere, or in a loop"
            ),
            Fault::TableShared {
                pe,
                at,
                other_phb,
                other,
                owner,
            } => write!(
                f,
                "PHB {phb} PE {pe}: table at {at:#x} is that of PHB {other_phb} PE {other} of partition {}",
                owner.0
            ),
            Fault::Tce {
                pe,
                bus,
                entry,
                at,
                holder,
                expected,
            } => write!(
                f,
                "PHB {phb} PE {pe}: TCE {entry:#x} for {bus:#x}: {at:#x} is {holder}, expected partition {}'s",
                expected.0
            ),
            Fault::TceBits {
                pe,
                bus,
                entry,
                page_shift,
            } => write!(
                f,
                "PHB {phb} PE {pe}: TCE {entry:#x} for {bus:#x} has bits below its page of 2^{page_shift} bytes"
            ),
            Fault::Msi {
                vector,
                value,
                expected,
            } => write!(
                f,
                "PHB {phb}: MSI vector {vector:#x} belongs to PE {value}, expected PE {expected}"
            ),
            Fault::Segment {
                segment,
                value,
                expected,
            } => write!(
                f,
                "PHB {phb}: M32 segment {segment:#x} belongs to PE {value:03x}, expected PE {expected}"
            ),
            Fault::M32 { value, expected } => write!(
                f,
                "PHB {phb}: M32 window {:#x} to bus {:#x}, {:#x} bytes; expected {:#x} to {:#x}, {:#x}",
                value[0], value[1], value[2], expected[0], expected[1], expected[2]
            ),
            Fault::Bar {
                number,
                value,
                expected,
            } => {
                write!(
                    f,
                    "PHB {phb}: memory BAR {number} is {:#x} {:#x}, expected ",
                    value[0], value[1]
                )?;
                match expected {
                    Some(M64Bar { base, size }) => {
                        write!(f, "{size:#x} bytes at {base:#x}, split among the PEs")
                    }
                    None => f.write_str("off"),
                }
            }
            Fault::BarSegment {
                number,
                segment,
                value,
            } => write!(
                f,
                "PHB {phb}: segment {segment:#x} of memory BAR {number} belongs to PE {value:03x}, expected PE {segment:03x}"
            ),
        }
    }
}

impl fmt::Display for Named<Fact> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phb = self.0;
        match self.1 {
            Fact::Rid(rid, pe) => write!(f, "{phb}:{rid} -> PE {pe}"),
            Fact::Link(parent, child) => {
                write!(f, "PHB {phb} PE {parent}: its errors freeze PE {child}")
            }
            Fact::Window {
                pe,
                tve,
                owner,
                table:
                    DmaTable {
                        root,
                        levels,
                        level_shift,
                        page_shift,
                    },
            } => write!(
                f,
                "PHB {phb} PE {pe} TVE#{tve}: partition {}'s; root {root:#x}, {levels} levels of 2^{level_shift} bytes, pages of 2^{page_shift}",
                owner.0
            ),
            Fact::Run {
                pe,
                bus,
                host,
                pages,
                page_shift,
                writes,
                owner,
            } => write!(
                f,
                "PHB {phb} PE {pe} {bus:#x} -> {host:#x}, {pages:#x} pages of 2^{page_shift}, {}: {}",
                if writes { "read-write" } else { "read only" },
                Holder::Owner(owner)
            ),
            Fact::Msi(vector, pe) => write!(f, "PHB {phb} MSI vector {vector:#x} -> PE {pe}"),
            Fact::Segment(segment, pe) => {
                write!(f, "PHB {phb} M32 segment {segment:#x} -> PE {pe}")
            }
            Fact::Bar(number, M64Bar { base, size }) => write!(
                f,
                "PHB {phb} memory BAR {number}: {size:#x} bytes at {base:#x}, segment n -> PE n"
            ),
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RIDs {}, links {}, TVEs {}, tables {}, TCEs {}, MSIs {}, M32 segments {}, M64 BARs {}: faults {}",
            self.rids,
            self.links,
            self.windows,
            self.tables,
            self.live,
            self.msis,
            self.segments,
            self.bars,
            self.faults
        )
    }
}
