//! How much table memory a partition may use.

use crate::seam::sync::{AtomicU64, Ordering};

/// A partition's limit of table memory, shared by all of its windows.
#[derive(Debug)]
pub struct Quota {
    limit: u64,
    used: AtomicU64,
}

/// The limit would be passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{asked:#x} bytes of table memory: {used:#x} of {limit:#x} are used")]
pub struct QuotaError {
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes in use.
    pub used: u64,
    /// The limit, in bytes.
    pub limit: u64,
}

impl Quota {
    /// A limit of `limit` bytes, none of them used.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Bytes of tables now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The limit, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Charges `bytes`, if they fit.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), QuotaError> {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let next = used.checked_add(bytes).filter(|&next| next <= self.limit);
            let next = next.ok_or(QuotaError {
                asked: bytes,
                used,
                limit: self.limit,
            })?;
            match self
                .used
                .compare_exchange_weak(used, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(now) => used = now,
            }
        }
    }

    /// Gives back `bytes` that were charged.
    pub(super) fn refund(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "{bytes:#x} refunded of {before:#x}");
    }
}
