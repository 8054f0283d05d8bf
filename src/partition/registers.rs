//! Pages of device registers that a partition's processors reach.
//!
//! Processors translate pages, and a BAR may be smaller than one: a page is a
//! partition's only if all registers in it are.

use crate::addr::HostAddr;
use alloc::vec::Vec;

/// Base-2 logarithm of the smallest page that processors translate.
const PAGE_SHIFT: u32 = 12;
const PAGE: u64 = 1 << PAGE_SHIFT;

/// Where registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// First byte.
    pub start: HostAddr,
    /// Bytes.
    pub bytes: u64,
}

impl Registers {
    /// First byte of their first page, and the byte behind their last one; `None`
    /// if there is no such address, or no byte.
    fn ends(&self) -> Option<(u64, u64)> {
        let last = self.bytes.checked_sub(1)?;
        let last = self.start.get().checked_add(last)?;
        Some((
            self.start.get() & !(PAGE - 1),
            (last | (PAGE - 1)).checked_add(1)?,
        ))
    }
}

/// Registers of two owners in one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its registers share the page at {page} with those of another group")]
pub struct SharedPage {
    /// The page.
    pub page: HostAddr,
    /// The other's registers.
    pub other: Registers,
}

/// The whole pages of `own` registers, ascending and joined: what a partition's
/// processors may reach.
pub fn pages(own: &[Registers]) -> Vec<Registers> {
    let mut ends: Vec<(u64, u64)> = own.iter().filter_map(Registers::ends).collect();
    ends.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ends {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    let made = joined.into_iter().map(|(start, end)| Registers {
        start: HostAddr::new(start),
        bytes: end - start,
    });
    made.collect()
}

/// Whether nobody else's registers are in the pages of `own`.
///
/// # Errors
/// The first that are.
pub fn exclusive(
    own: &[Registers],
    others: impl IntoIterator<Item = Registers>,
) -> Result<(), SharedPage> {
    let own = pages(own);
    for other in others {
        let Some((start, end)) = other.ends() else {
            continue;
        };
        let shares = |it: &&Registers| it.ends().is_some_and(|it| it.0 < end && start < it.1);
        if let Some(shared) = own.iter().find(shares) {
            let page = HostAddr::new(shared.start.get().max(start));
            return Err(SharedPage { page, other });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: u64, bytes: u64) -> Registers {
        Registers {
            start: HostAddr::new(start),
            bytes,
        }
    }

    #[test]
    fn whole_pages_are_joined() {
        let own = [at(0x5800, 0x100), at(0x4000, 0x1000), at(0x8ff0, 0x20)];
        assert_eq!(pages(&own), [at(0x4000, 0x2000), at(0x8000, 0x2000)]);
        assert_eq!(pages(&[at(0x4010, 8), at(0x4800, 8)]), [at(0x4000, 0x1000)]);
        assert_eq!(pages(&[at(0x4000, 0), at(u64::MAX, 2)]), []);
    }

    #[test]
    fn a_page_of_two_owners_is_named() {
        let own = [at(0x4000, 0x1000), at(0x7000, 0x10)];
        assert_eq!(
            exclusive(&own, [at(0x5000, 0x1000), at(0x6000, 0x1000)]),
            Ok(())
        );
        assert_eq!(exclusive(&own, [at(0x3000, 0x1000), at(0x8000, 1)]), Ok(()));
        let other = at(0x7ff0, 0x10);
        let shared = exclusive(&own, [at(0x6000, 0x1000), other]).unwrap_err();
        let page = HostAddr::new(0x7000);
        assert_eq!(shared, SharedPage { page, other });
        // A large one over the whole of it.
        let other = at(0, 1 << 20);
        let page = HostAddr::new(0x4000);
        assert_eq!(exclusive(&own, [other]), Err(SharedPage { page, other }));
    }
}
