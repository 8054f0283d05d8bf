//! What an audit says.

use core::fmt;

use super::Holder;
use super::expected::M64Bar;
use crate::addr::{BusAddr, HostAddr};
use crate::memory::ledger::OwnerId;
use crate::pci::{Bdfn, PeNumber, PhbId};
use crate::seam::DmaTable;

/// Something that must not be, with what was read and what was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The registers read as all ones: nothing could be audited.
    Fenced,
    /// A register that names a table is off, or names another place than
    /// firmware told.
    Base {
        /// "RTT", "PELT-V" or "IVT".
        table: &'static str,
        /// The register.
        value: u64,
        /// What firmware told.
        told: Option<HostAddr>,
    },
    /// A table of firmware's is not in memory that nobody owns.
    BaseHolder {
        /// "RTT", "PELT-V" or "IVT".
        table: &'static str,
        /// The first byte that is not.
        at: HostAddr,
        /// Whose it is.
        holder: Holder,
    },
    /// A RID belongs to another PE.
    Rid {
        /// The RID.
        rid: Bdfn,
        /// What the RTT says.
        value: u16,
        /// Whose it should be.
        expected: PeNumber,
    },
    /// An error of one PE freezes another and should not, or does not and should.
    Link {
        /// The PE with the error.
        parent: PeNumber,
        /// The other.
        child: PeNumber,
        /// Whether the bit is set.
        set: bool,
    },
    /// The PHB selects TVEs otherwise than all tables assume.
    Control {
        /// The register.
        value: u64,
    },
    /// A TVE of a PE that nobody owns is not zero.
    TveOfNobody {
        /// The PE.
        pe: PeNumber,
        /// 0 or 1.
        tve: u8,
        /// The entry.
        value: u64,
    },
    /// A TVE lets DMA through untranslated.
    Bypass {
        /// The PE.
        pe: PeNumber,
        /// 0 or 1.
        tve: u8,
        /// The entry.
        value: u64,
        /// First host address, by the entry's fields.
        start: HostAddr,
        /// End, exclusive.
        end: HostAddr,
    },
    /// A TVE is not zero and describes no table.
    TveMalformed {
        /// The PE.
        pe: PeNumber,
        /// 0 or 1.
        tve: u8,
        /// The entry.
        value: u64,
    },
    /// A table lies where a partition or nobody at all has the memory.
    TableHolder {
        /// The PE.
        pe: PeNumber,
        /// First bus address below it.
        bus: BusAddr,
        /// 0 is the root.
        level: u32,
        /// The first byte that is wrong.
        at: HostAddr,
        /// Whose it is.
        holder: Holder,
    },
    /// An indirect entry names a table that is not aligned to its size.
    TableMisaligned {
        /// The PE.
        pe: PeNumber,
        /// First bus address below it.
        bus: BusAddr,
        /// The level of the table that is named.
        level: u32,
        /// The entry.
        entry: u64,
    },
    /// A table is reached twice: a loop, or two windows in one table.
    TableTwice {
        /// The PE.
        pe: PeNumber,
        /// First bus address below it.
        bus: BusAddr,
        /// 0 is the root.
        level: u32,
        /// Where the table is.
        at: HostAddr,
    },
    /// Two PEs of different owners use one table.
    TableShared {
        /// The PE.
        pe: PeNumber,
        /// Root of the table.
        at: HostAddr,
        /// The other PE's PHB.
        other_phb: PhbId,
        /// The other PE.
        other: PeNumber,
        /// Its owner.
        owner: OwnerId,
    },
    /// A TCE leads to memory that the PE's owner does not own.
    Tce {
        /// The PE.
        pe: PeNumber,
        /// The bus address.
        bus: BusAddr,
        /// The entry.
        entry: u64,
        /// The first byte that is not the owner's.
        at: HostAddr,
        /// Whose it is.
        holder: Holder,
        /// The PE's owner.
        expected: OwnerId,
    },
    /// A live TCE has bits below its page that are no rights.
    TceBits {
        /// The PE.
        pe: PeNumber,
        /// The bus address.
        bus: BusAddr,
        /// The entry.
        entry: u64,
        /// Log2 of the IO page's bytes.
        page_shift: u32,
    },
    /// An MSI vector belongs to another PE.
    Msi {
        /// The vector.
        vector: u16,
        /// The PE that may send it.
        value: PeNumber,
        /// Whose it should be; the reserved PE's if it is nobody's.
        expected: PeNumber,
    },
    /// An M32 segment belongs to another PE.
    Segment {
        /// The segment.
        segment: u16,
        /// What the PHB says.
        value: u16,
        /// Whose it should be.
        expected: PeNumber,
    },
    /// The 32-bit window is elsewhere.
    M32 {
        /// First host address, bus address and bytes, by the registers.
        value: [u64; 3],
        /// The same, expected.
        expected: [u64; 3],
    },
    /// A memory BAR is not as expected: on or off, elsewhere, or not split so
    /// that segment *n* is PE *n*'s.
    Bar {
        /// Its number.
        number: u16,
        /// Its entry, or both.
        value: [u64; 2],
        /// What was expected; `None`: off.
        expected: Option<M64Bar>,
    },
    /// A segment of a memory BAR belongs to another PE.
    BarSegment {
        /// The BAR's number.
        number: u16,
        /// The segment, and the PE it should have.
        segment: u16,
        /// What the PHB says.
        value: u16,
    },
}

/// A valid entry that leads where it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    /// A RID and its PE.
    Rid(Bdfn, PeNumber),
    /// An error of the first PE freezes the second.
    Link(PeNumber, PeNumber),
    /// A window's table.
    Window {
        /// The PE.
        pe: PeNumber,
        /// 0 or 1.
        tve: u8,
        /// Whose it is.
        owner: OwnerId,
        /// The table.
        table: DmaTable,
    },
    /// Entries that follow each other to a run of one owner's pages.
    Run {
        /// The PE.
        pe: PeNumber,
        /// First bus address.
        bus: BusAddr,
        /// First host address.
        host: HostAddr,
        /// IO pages.
        pages: u64,
        /// Log2 of the IO page's bytes.
        page_shift: u32,
        /// Whether devices may write.
        writes: bool,
        /// Whose pages they are.
        owner: OwnerId,
    },
    /// An MSI vector and its PE.
    Msi(u16, PeNumber),
    /// An M32 segment and its PE.
    Segment(u16, PeNumber),
    /// A memory BAR that is split among the PEs.
    Bar(u16, M64Bar),
}

/// How much an audit has seen of a PHB.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Faults.
    pub faults: u64,
    /// RIDs that are not the reserved PE's.
    pub rids: u32,
    /// Bits set in the PELT-V.
    pub links: u32,
    /// TVEs that are not zero.
    pub windows: u32,
    /// Tables of all levels, each once.
    pub tables: u64,
    /// Live TCEs.
    pub live: u64,
    /// MSI vectors that are a PE's other than the reserved one's.
    pub msis: u32,
    /// M32 segments that are a PE's other than the reserved one's.
    pub segments: u32,
    /// M64 BARs that are on.
    pub bars: u32,
}

/// A fault or a fact with its PHB, for a person to read.
pub struct Named<T>(pub PhbId, pub T);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(owner) => write!(f, "partition {}'s", owner.0),
            Self::Nobody => f.write_str("the hypervisor's"),
            Self::NoMemory => f.write_str("not memory"),
        }
    }
}
