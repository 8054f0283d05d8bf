//! Numbers of partitions' runs for the processor (LPID, Power ISA 3.0B, book III,
//! 2.4): one each, and none that a run still has.

/// LPIDs are from 1 to this; 0 is Pinion's.
pub const MOST: u16 = 4095;

const WORDS: usize = (MOST as usize + 1) / 64;

/// Which LPIDs are in use.
#[derive(Debug)]
pub struct Lpids {
    used: [u64; WORDS],
    /// The one given last: none is given again before all others were.
    last: u16,
}

/// All of them are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {MOST} LPIDs are in use")]
pub struct NoLpid;

impl Lpids {
    /// None is in use. All zero.
    pub const fn new() -> Self {
        Self {
            used: [0; WORDS],
            last: 0,
        }
    }

    fn word(&mut self, lpid: u16) -> Option<(&mut u64, u64)> {
        let word = self.used.get_mut(usize::from(lpid / 64))?;
        Some((word, 1 << (lpid % 64)))
    }

    /// One that is free, the next in turn.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&mut self) -> Result<u16, NoLpid> {
        let (behind, before) = (self.last + 1..=MOST, 1..=self.last);
        for lpid in behind.chain(before) {
            if let Some((word, bit)) = self.word(lpid)
                && *word & bit == 0
            {
                *word |= bit;
                self.last = lpid;
                return Ok(lpid);
            }
        }
        Err(NoLpid)
    }

    /// Gives one back: no thread has it in a register, and nothing that was
    /// translated for it is remembered.
    pub fn give_back(&mut self, lpid: u16) {
        if let Some((word, bit)) = self.word(lpid) {
            *word &= !bit;
        }
    }
}

impl Default for Lpids {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_starts_again_and_again_gets_no_others() {
        let mut lpids = Lpids::new();
        let [first, second] = [lpids.take(), lpids.take()].map(Result::unwrap);
        assert_eq!([first, second], [1, 2]);
        for turn in 0..3 * u32::from(MOST) {
            let lpid = lpids.take().unwrap();
            assert!(![0, first, second].contains(&lpid), "turn {turn}: {lpid}");
            assert!(lpid <= MOST);
            lpids.give_back(lpid);
        }
    }

    #[test]
    fn none_is_given_again_before_all_others() {
        let mut lpids = Lpids::new();
        let turns: Vec<u16> = (0..MOST)
            .map(|_| {
                let lpid = lpids.take().unwrap();
                lpids.give_back(lpid);
                lpid
            })
            .collect();
        assert!(turns.iter().copied().eq(1..=MOST));
    }

    #[test]
    fn when_all_are_in_use_there_is_none() {
        let mut lpids = Lpids::new();
        assert!((0..MOST).all(|_| lpids.take().is_ok()));
        assert_eq!(lpids.take(), Err(NoLpid));
        lpids.give_back(77);
        assert_eq!(lpids.take(), Ok(77));
    }
}
