//! The message vectors of a PHB, and which PE has each.

use crate::pci::address::{PeNumber, PhbId};
use alloc::vec::Vec;

/// Most messages that a PCI function's MSI capability can have.
pub const MOST_TOGETHER: u16 = 32;

/// Why a PHB has no vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolFault {
    /// More than firmware's calls can number, or none.
    #[error("{count} message sources from {first:#x} on")]
    Range {
        /// First source.
        first: u32,
        /// How many.
        count: u32,
    },
}

/// Why vectors are not handed out or not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// A count of nothing, or more than can be had together.
    #[error("{0} vectors cannot be asked for")]
    Count(u16),
    /// Not as many are free, or not side by side.
    #[error("{wanted} vectors asked for, {free} are free on PHB {phb}")]
    Exhausted {
        /// The PHB.
        phb: PhbId,
        /// How many were asked for.
        wanted: u16,
        /// How many are free.
        free: u16,
    },
    /// They are another PHB's, or not given out.
    #[error("vectors of PHB {0} that were not given out here")]
    Foreign(PhbId),
}

/// Vectors of one PE. Neither `Copy` nor `Clone`: they go back once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the vectors stay in use until they are given back"]
pub struct Vectors {
    phb: PhbId,
    pe: PeNumber,
    first_source: u32,
    numbers: Vec<u16>,
}

impl Vectors {
    /// The PE that may send them.
    pub fn pe(&self) -> PeNumber {
        self.pe
    }

    /// How many there are; never 0.
    pub fn count(&self) -> u16 {
        // At most a PHB's 4096.
        self.numbers.len() as u16
    }

    /// A vector's number as firmware's calls have it: counted from the PHB's
    /// first source.
    pub fn number(&self, index: u16) -> Option<u16> {
        self.numbers.get(usize::from(index)).copied()
    }

    /// A vector's interrupt source.
    pub fn source(&self, index: u16) -> Option<u32> {
        Some(self.first_source + u32::from(self.number(index)?))
    }
}

/// The vectors of a PHB.
#[derive(Debug)]
pub struct VectorPool {
    phb: PhbId,
    first_source: u32,
    /// For each vector the PE that has it.
    owners: Vec<Owner>,
    free: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    Firmware,
    Pe(PeNumber),
}

impl VectorPool {
    /// Vectors for `count` sources from `first_source` on
    /// (`ibm,opal-msi-ranges`), but for those that are firmware's own.
    ///
    /// # Errors
    /// No source, more than 4096, or numbers that wrap.
    pub fn new(
        phb: PhbId,
        (first_source, count): (u32, u32),
        is_firmware: impl Fn(u32) -> bool,
    ) -> Result<Self, PoolFault> {
        let fault = PoolFault::Range {
            first: first_source,
            count,
        };
        let end = first_source.checked_add(count).ok_or(fault)?;
        if !(1..=4096).contains(&count) {
            return Err(fault);
        }
        let owners: Vec<Owner> = (first_source..end)
            .map(|source| match is_firmware(source) {
                true => Owner::Firmware,
                false => Owner::Nobody,
            })
            .collect();
        let free = owners.iter().filter(|it| **it == Owner::Nobody).count() as u16;
        Ok(Self {
            phb,
            first_source,
            owners,
            free,
        })
    }

    /// Vectors that nobody has.
    pub fn free(&self) -> u16 {
        self.free
    }

    /// Vectors that a PE has.
    pub fn held_by(&self, pe: PeNumber) -> u16 {
        self.owners
            .iter()
            .filter(|it| **it == Owner::Pe(pe))
            .count() as u16
    }

    /// `count` vectors for a PE, in any place: for MSI-X.
    ///
    /// # Errors
    /// Not as many are free: nothing is handed out.
    pub fn allocate(&mut self, pe: PeNumber, count: u16) -> Result<Vectors, VectorError> {
        if count == 0 {
            return Err(VectorError::Count(count));
        }
        if count > self.free {
            return Err(self.exhausted(count));
        }
        let numbers = (0u16..)
            .zip(&self.owners)
            .filter(|(_, owner)| **owner == Owner::Nobody)
            .map(|(number, _)| number)
            .take(count.into())
            .collect();
        Ok(self.hand_out(pe, numbers))
    }

    /// `count` vectors side by side, aligned to their count, which is a power of
    /// two up to 32: for MSI, where the function makes the low bits of the data.
    ///
    /// # Errors
    /// No such block is free: nothing is handed out.
    pub fn allocate_block(&mut self, pe: PeNumber, count: u16) -> Result<Vectors, VectorError> {
        if !count.is_power_of_two() || count > MOST_TOGETHER {
            return Err(VectorError::Count(count));
        }
        // Alignment is the number's, which makes address and data, not the
        // source's.
        let place = self
            .owners
            .chunks_exact(count.into())
            .position(|block| block.iter().all(|owner| *owner == Owner::Nobody))
            .ok_or(self.exhausted(count))?;
        let first = place as u16 * count;
        Ok(self.hand_out(pe, (first..first + count).collect()))
    }

    fn exhausted(&self, wanted: u16) -> VectorError {
        VectorError::Exhausted {
            phb: self.phb,
            wanted,
            free: self.free,
        }
    }

    fn hand_out(&mut self, pe: PeNumber, numbers: Vec<u16>) -> Vectors {
        for number in &numbers {
            self.owners[usize::from(*number)] = Owner::Pe(pe);
        }
        self.free -= numbers.len() as u16;
        Vectors {
            phb: self.phb,
            pe,
            first_source: self.first_source,
            numbers,
        }
    }

    /// Takes vectors back: their sources are off, and the PE may not send them
    /// any more.
    ///
    /// # Errors
    /// The vectors, if they are not of this pool.
    pub fn release(&mut self, vectors: Vectors) -> Result<(), (VectorError, Vectors)> {
        let owner = Owner::Pe(vectors.pe);
        let is_ours = |number: &u16| self.owners.get(usize::from(*number)) == Some(&owner);
        let same = vectors.phb == self.phb && vectors.first_source == self.first_source;
        if !same || !vectors.numbers.iter().all(is_ours) {
            return Err((VectorError::Foreign(vectors.phb), vectors));
        }
        for number in &vectors.numbers {
            self.owners[usize::from(*number)] = Owner::Nobody;
        }
        self.free += vectors.count();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHB: PhbId = PhbId::new(3);
    const A: PeNumber = PeNumber::new(1);
    const B: PeNumber = PeNumber::new(2);

    fn pool(count: u32, firmware: &[u32]) -> VectorPool {
        VectorPool::new(PHB, (0x1000, count), |source| firmware.contains(&source)).unwrap()
    }

    #[test]
    fn absurd_ranges_are_refused() {
        for range in [(0, 0), (0, 4097), (u32::MAX, 2)] {
            let fault = VectorPool::new(PHB, range, |_| false).unwrap_err();
            assert_eq!(
                fault,
                PoolFault::Range {
                    first: range.0,
                    count: range.1
                }
            );
        }
    }

    #[test]
    fn what_is_firmware_s_is_never_handed_out() {
        let mut pool = pool(8, &[0x1000, 0x1003, 0x2000]);
        assert_eq!(pool.free(), 6);
        let all = pool.allocate(A, 6).unwrap();
        let sources: Vec<u32> = (0..6).filter_map(|index| all.source(index)).collect();
        assert_eq!(sources, [0x1001, 0x1002, 0x1004, 0x1005, 0x1006, 0x1007]);
        assert_eq!(all.number(0), Some(1));
        assert_eq!((all.number(6), all.source(6)), (None, None));
        assert_eq!(pool.held_by(A), 6);
        let none = VectorError::Exhausted {
            phb: PHB,
            wanted: 1,
            free: 0,
        };
        assert_eq!(pool.allocate(B, 1), Err(none));
        pool.release(all).unwrap();
        assert_eq!((pool.free(), pool.held_by(A)), (6, 0));
    }

    #[test]
    fn blocks_are_aligned_by_their_number() {
        let mut pool = pool(0x7f8, &[]);
        let one = pool.allocate(A, 1).unwrap();
        for count in [1, 2, 4, 8, 16, 32] {
            let block = pool.allocate_block(B, count).unwrap();
            let first = block.number(0).unwrap();
            assert!(first.is_multiple_of(count) && first > 0);
            assert_eq!(block.number(count - 1), Some(first + count - 1));
            // Address and data differ in the data's low bits only.
            assert_eq!(first >> 5, (first + count - 1) >> 5);
            assert_eq!(pool.held_by(B), count);
            pool.release(block).unwrap();
        }
        for count in [0, 3, 64] {
            assert_eq!(
                pool.allocate_block(A, count),
                Err(VectorError::Count(count))
            );
        }
        assert_eq!(pool.allocate(A, 0), Err(VectorError::Count(0)));
        pool.release(one).unwrap();
        assert_eq!(pool.free(), 0x7f8);
    }

    #[test]
    fn a_rest_that_is_no_block_is_not_one() {
        let mut pool = pool(12, &[0x1002]);
        assert!(pool.allocate_block(A, 8).is_err());
        let block = pool.allocate_block(A, 4).unwrap();
        assert_eq!(block.number(0), Some(4));
        assert_eq!(pool.free(), 7);
        pool.release(block).unwrap();
    }

    #[test]
    fn vectors_of_another_pool_come_back() {
        let mut ours = pool(8, &[]);
        let mut other = VectorPool::new(PhbId::new(4), (0x1000, 8), |_| false).unwrap();
        let _held = ours.allocate(A, 4).unwrap();
        let vectors = other.allocate(A, 2).unwrap();
        let (error, vectors) = ours.release(vectors).unwrap_err();
        assert_eq!(error, VectorError::Foreign(PhbId::new(4)));
        other.release(vectors).unwrap();
        assert_eq!((ours.free(), other.free()), (4, 8));
    }
}
