//! IO page sizes.

use core::fmt;

/// Log2 of the bytes of an IO page: 12, 16, 21, 24, 28 or 30. That it is no other
/// spares each shift by it a mask.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum PageShift {
    /// 4 KiB, on every PHB.
    K4 = 12,
    /// 64 KiB, on every PHB.
    K64 = 16,
    /// 2 MiB, PHB4 and PHB5.
    M2 = 21,
    /// 16 MiB, PHB3.
    M16 = 24,
    /// 256 MiB, PHB3.
    M256 = 28,
    /// 1 GiB, PHB4 and PHB5.
    G1 = 30,
}

/// A page shift that no PHB has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no IO page has a shift of {0}")]
pub struct BadPageShift(pub u32);

impl PageShift {
    /// All page sizes, the smallest first.
    pub const ALL: [Self; 6] = [
        Self::K4,
        Self::K64,
        Self::M2,
        Self::M16,
        Self::M256,
        Self::G1,
    ];

    /// The page size of `1 << shift` bytes, as the device tree's
    /// `ibm,supported-tce-sizes` gives it.
    pub fn new(shift: u32) -> Result<Self, BadPageShift> {
        Self::ALL
            .into_iter()
            .find(|page| page.get() == shift)
            .ok_or(BadPageShift(shift))
    }

    /// Log2 of the bytes of a page.
    #[inline]
    pub const fn get(self) -> u32 {
        self as u32
    }

    /// Bytes of a page.
    #[inline]
    pub const fn bytes(self) -> u64 {
        1u64.wrapping_shl(self.get())
    }
}

impl fmt::Display for PageShift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        match self.get() {
            0..20 => write!(f, "{}K", bytes >> 10),
            20..30 => write!(f, "{}M", bytes >> 20),
            _ => write!(f, "{}G", bytes >> 30),
        }
    }
}

/// A set of IO page sizes: what one PHB supports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageSizes(u64);

impl PageSizes {
    /// No size at all.
    pub const NONE: Self = Self(0);
    /// PHB3, when its device tree names none.
    pub const PHB3: Self = Self(1 << 12 | 1 << 16 | 1 << 24 | 1 << 28);
    /// PHB4 and PHB5 with all that the hardware has.
    pub const PHB4: Self = Self(1 << 12 | 1 << 16 | 1 << 21 | 1 << 30);

    /// This set and `page`.
    #[must_use]
    pub const fn with(self, page: PageShift) -> Self {
        Self(self.0 | 1 << page.get())
    }

    /// Whether `page` is in the set.
    pub const fn contains(self, page: PageShift) -> bool {
        self.0 >> page.get() & 1 != 0
    }

    /// The sizes that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// With a blank between each two.
impl fmt::Display for PageSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for page in PageShift::ALL.into_iter().filter(|it| self.contains(*it)) {
            let blank = if first { "" } else { " " };
            write!(f, "{blank}{page}")?;
            first = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn only_the_six_shifts_exist() {
        let found: alloc::vec::Vec<u32> = (0..70).filter(|&s| PageShift::new(s).is_ok()).collect();
        assert_eq!(found, [12, 16, 21, 24, 28, 30]);
        assert_eq!(PageShift::new(13), Err(BadPageShift(13)));
        let names: alloc::vec::Vec<_> = PageShift::ALL.iter().map(|p| p.to_string()).collect();
        assert_eq!(names, ["4K", "64K", "2M", "16M", "256M", "1G"]);
    }

    #[test]
    fn sizes_of_the_phb_generations() {
        assert!(
            PageSizes::PHB3.contains(PageShift::M16) && !PageSizes::PHB3.contains(PageShift::M2)
        );
        assert!(
            PageSizes::PHB4.contains(PageShift::G1) && !PageSizes::PHB4.contains(PageShift::M256)
        );
        assert_eq!(
            PageSizes::NONE.with(PageShift::M2).and(PageSizes::PHB3),
            PageSizes::NONE
        );
        assert_eq!(
            PageSizes::PHB3.and(PageSizes::PHB4),
            PageSizes::NONE.with(PageShift::K4).with(PageShift::K64)
        );
        assert_eq!(PageSizes::PHB4.to_string(), "4K 64K 2M 1G");
    }
}
