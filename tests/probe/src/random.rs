//! Numbers at random, the same in each run.

/// A xorshift generator (Marsaglia, 2003); its seed is not 0.
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Of any size: small ones are as frequent as large ones.
    pub fn any(&mut self) -> u64 {
        let shift = self.next() & 63;
        self.next() >> shift
    }
}
