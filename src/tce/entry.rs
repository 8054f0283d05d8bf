//! One TCE: a real page address and two rights.
//!
//! An entry is empty (0), live (a right is set), or a tombstone: no rights, so
//! that no PHB uses it, but with the address kept until a completed kill lets
//! the page go. A tombstone carries a mark, which also tells that of page 0
//! from an empty entry, and the stamp of the operation that may remove it.

use crate::addr::HostAddr;

/// A device may read the page.
pub const READ: u64 = 0x1;
/// A device may write the page.
pub const WRITE: u64 = 0x2;
/// Both rights, as an indirect entry has them.
pub const RIGHTS: u64 = READ | WRITE;
/// The mark of a tombstone. Without rights, the PHB ignores all other bits.
const TOMBSTONE: u64 = 0x4;
/// In a tombstone: the entry had the right to write.
const WROTE: u64 = 0x8;
const STAMP_SHIFT: u32 = 4;
const STAMP_BITS: u64 = 0x3f << STAMP_SHIFT;
/// What of an entry is the address: tables and pages are aligned to 4 KiB.
const ADDRESS: u64 = !0xfff;

const _: () = assert!((RIGHTS | TOMBSTONE | WROTE | STAMP_BITS) & ADDRESS == 0);

/// What a device may do with a page. In an entry, write implies read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// The device reads memory.
    Read,
    /// The device writes memory.
    Write,
    /// Both.
    ReadWrite,
}

/// Rights that are none of read, write, read-write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no rights have the bits {0:#x}")]
pub struct BadAccess(pub u64);

impl Access {
    /// The rights with these bits: 1 read, 2 write, 3 both.
    #[inline]
    pub fn from_bits(bits: u64) -> Result<Self, BadAccess> {
        match bits {
            READ => Ok(Self::Read),
            WRITE => Ok(Self::Write),
            RIGHTS => Ok(Self::ReadWrite),
            _ => Err(BadAccess(bits)),
        }
    }

    /// The bits in an entry: there is no mapping that can only be written.
    #[inline]
    const fn bits(self) -> u64 {
        match self {
            Self::Read => READ,
            Self::Write | Self::ReadWrite => RIGHTS,
        }
    }

    /// Whether a device may write.
    #[inline]
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Read)
    }
}

/// What one entry of a table is to be: a mapping, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Tce(u64);

impl Tce {
    /// No mapping.
    pub const NONE: Self = Self(0);

    /// A mapping of the page at `host`; `None` if that is not aligned to 4 KiB.
    /// A window may demand more.
    #[inline]
    pub const fn new(host: HostAddr, access: Access) -> Option<Self> {
        if !host.is_aligned(12) {
            return None;
        }
        Some(Self(host.get() | access.bits()))
    }

    /// As [`Tce::new`], by the bits of [`Access::from_bits`]; `None` also if these are
    /// none.
    #[inline]
    pub const fn with_rights(host: HostAddr, rights: u64) -> Option<Self> {
        if rights == 0 || rights > RIGHTS || !host.is_aligned(12) {
            return None;
        }
        // There is no mapping that can only be written.
        Some(Self(host.get() | rights | rights >> 1))
    }

    /// The mapping of the page that begins `bytes`, a multiple of 4 KiB, behind this
    /// one's, with the same rights.
    #[inline]
    pub const fn further(self, bytes: u64) -> Self {
        debug_assert!(bytes & !ADDRESS == 0);
        Self(self.0.wrapping_add(bytes))
    }

    /// The entry as the PHB reads it.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The page; 0 for [`Tce::NONE`].
    #[inline]
    pub const fn host(self) -> HostAddr {
        HostAddr::new(self.0 & ADDRESS)
    }

    /// What a device may do.
    pub const fn access(self) -> Access {
        if self.0 & WRITE != 0 {
            Access::ReadWrite
        } else {
            Access::Read
        }
    }

    /// Whether it maps a page.
    #[inline]
    pub const fn is_mapping(self) -> bool {
        self.0 & RIGHTS != 0
    }
}

impl From<Tce> for u64 {
    #[inline]
    fn from(entry: Tce) -> Self {
        entry.0
    }
}

/// Which operation on a window owns a tombstone: 0 to 63.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(u8);

impl Stamp {
    /// Tombstones that no running operation owns: their kill failed.
    pub const STRANDED: Self = Self(0);
    /// How many stamps there are.
    pub const COUNT: u32 = 64;

    /// Stamp `number`, or `None` above 63.
    pub const fn new(number: u32) -> Option<Self> {
        if number < Self::COUNT {
            Some(Self(number as u8))
        } else {
            None
        }
    }

    /// Its number, 0 to 63.
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// What a read-write entry becomes when it is buried, as the bits that
    /// differ: `live ^ tombstone` for an entry with these rights.
    #[inline]
    pub(crate) const fn burial(self, rights: u64) -> u64 {
        let wrote = if rights & WRITE != 0 { WROTE } else { 0 };
        rights | TOMBSTONE | wrote | (self.0 as u64) << STAMP_SHIFT
    }

    /// The tombstone of the live entry `bits`.
    #[inline]
    pub(crate) const fn bury(self, bits: u64) -> u64 {
        bits ^ self.burial(bits & RIGHTS)
    }

    /// Whether `bits` is a tombstone with this stamp.
    #[inline]
    pub(crate) const fn owns(self, bits: u64) -> bool {
        bits & (RIGHTS | TOMBSTONE | STAMP_BITS) == TOMBSTONE | (self.0 as u64) << STAMP_SHIFT
    }
}

/// An entry as found in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing is mapped.
    Empty,
    /// A device can use it.
    Live {
        /// The page.
        host: HostAddr,
        /// [`Access::Read`] or [`Access::ReadWrite`].
        access: Access,
    },
    /// No device may use it any more, but a PHB may still remember it.
    Tombstone {
        /// The page.
        host: HostAddr,
        /// Whether a device may have written the page.
        wrote: bool,
        /// Who removes it.
        stamp: Stamp,
    },
}

impl Entry {
    /// What `bits` mean. Rights decide first, as in a PHB.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        let host = HostAddr::new(bits & ADDRESS);
        if bits & WRITE != 0 {
            Self::Live {
                host,
                access: Access::ReadWrite,
            }
        } else if bits & READ != 0 {
            Self::Live {
                host,
                access: Access::Read,
            }
        } else if bits & TOMBSTONE != 0 {
            let stamp = Stamp((bits >> STAMP_SHIFT & 0x3f) as u8);
            Self::Tombstone {
                host,
                wrote: bits & WROTE != 0,
                stamp,
            }
        } else {
            Self::Empty
        }
    }
}

/// Whether there may be a tombstone among the entries whose bits are or-ed: a live
/// entry has nothing of its mark.
#[inline]
pub(crate) const fn any_buried(bits: u64) -> bool {
    bits & TOMBSTONE != 0
}

/// Whether a device could write the page of live entry or tombstone `bits`.
#[inline]
pub(crate) const fn wrote(bits: u64) -> bool {
    bits & (WRITE | WROTE) != 0
}

/// Whether `bits` is a tombstone of one of the stamps in the bit set `stamps`.
#[inline]
pub(crate) const fn owned_by(bits: u64, stamps: u64) -> bool {
    bits & (RIGHTS | TOMBSTONE) == TOMBSTONE && stamps >> (bits >> STAMP_SHIFT & 0x3f) & 1 != 0
}

/// What of `bits` is not the address.
#[inline]
pub(crate) const fn low(bits: u64) -> u64 {
    bits & !ADDRESS
}

/// The address in live entry, tombstone or indirect entry `bits`.
#[inline]
pub(crate) const fn address(bits: u64) -> HostAddr {
    HostAddr::new(bits & ADDRESS)
}

/// The indirect entry that leads to `table`: such entries carry both rights.
#[inline]
pub(crate) const fn indirect(table: HostAddr) -> u64 {
    table.get() | RIGHTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_implies_read_in_the_entry() {
        let page = HostAddr::new(0x1234_5000);
        assert_eq!(Tce::new(page, Access::Read).unwrap().bits(), 0x1234_5001);
        assert_eq!(Tce::new(page, Access::Write).unwrap().bits(), 0x1234_5003);
        assert_eq!(
            Tce::new(page, Access::ReadWrite).unwrap().bits(),
            0x1234_5003
        );
        assert_eq!(Tce::new(HostAddr::new(0x1234_5800), Access::Read), None);
        assert!(!Tce::NONE.is_mapping());
    }

    #[test]
    fn rights_by_their_bits_are_those_of_access() {
        for host in [0x1234_5000, 0x1234_5800].map(HostAddr::new) {
            for bits in [0, 1, 2, 3, 4, 5, 7, u64::MAX] {
                let access = Access::from_bits(bits).ok();
                let expected = access.and_then(|access| Tce::new(host, access));
                assert_eq!(Tce::with_rights(host, bits), expected, "{bits:#x}");
            }
        }
    }

    #[test]
    fn rights_are_checked() {
        assert_eq!(Access::from_bits(1), Ok(Access::Read));
        assert_eq!(Access::from_bits(2), Ok(Access::Write));
        assert_eq!(Access::from_bits(3), Ok(Access::ReadWrite));
        for bits in [0, 4, 5, 7, u64::MAX] {
            assert_eq!(Access::from_bits(bits), Err(BadAccess(bits)));
        }
        assert!(Access::Write.writes() && Access::ReadWrite.writes() && !Access::Read.writes());
    }

    #[test]
    fn a_tombstone_has_no_rights_and_keeps_address_and_stamp() {
        for (access, wrote_expected) in [(Access::Read, false), (Access::ReadWrite, true)] {
            for host in [HostAddr::new(0), HostAddr::new(0xf_ffff_f000)] {
                for number in [0, 1, 63] {
                    let stamp = Stamp::new(number).unwrap();
                    let live = Tce::new(host, access).unwrap().bits();
                    assert_eq!(Entry::from_bits(live), Entry::Live { host, access });
                    let dead = live ^ stamp.burial(live & RIGHTS);
                    assert_eq!(dead & RIGHTS, 0);
                    assert_ne!(dead, 0);
                    assert_eq!(
                        Entry::from_bits(dead),
                        Entry::Tombstone {
                            host,
                            wrote: wrote_expected,
                            stamp
                        }
                    );
                    assert_eq!(wrote(dead), wrote_expected);
                    assert!(stamp.owns(dead) && !stamp.owns(live) && !stamp.owns(0));
                    assert!(!Stamp::new(33).unwrap().owns(dead));
                }
            }
        }
        assert_eq!(Stamp::new(64), None);
        assert_eq!(Stamp::new(63).unwrap().get(), 63);
    }

    #[test]
    fn a_tombstone_is_found_by_a_set_of_stamps() {
        let live = Tce::new(HostAddr::new(0x1234_5000), Access::ReadWrite).unwrap();
        for number in 0..64 {
            let tombstone = Stamp::new(number).unwrap().bury(live.bits());
            assert!(owned_by(tombstone, 1 << number));
            assert!(owned_by(tombstone, u64::MAX));
            assert!(!owned_by(tombstone, !(1 << number)));
        }
        assert!(!owned_by(live.bits(), u64::MAX) && !owned_by(0, u64::MAX));
    }
}
