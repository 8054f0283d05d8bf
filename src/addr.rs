//! Host, guest and bus addresses: three types between which nothing converts.
//!
//! A host address names a byte of the machine's real memory or MMIO, a guest
//! address one of a partition's real address space, a bus address (IOBA) one
//! that a device puts on PCI. Mixing them is how isolation is lost, so each
//! step from one to another goes through the table that defines it: a TCE
//! table (bus to host) or a partition's region list (guest to host).

#![forbid(unsafe_code)]

use core::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The address with this value, in bytes.
            #[inline]
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The value, in bytes.
            #[inline]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// This address plus `bytes`, or `None` beyond 2^64 - 1.
            #[inline]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// Bytes from `start` to this address, or `None` if it lies below.
            #[inline]
            pub const fn checked_sub(self, start: Self) -> Option<u64> {
                self.0.checked_sub(start.0)
            }

            /// Whether the low `shift` bits are zero; `shift` is 0 to 63.
            #[inline]
            pub const fn is_aligned(self, shift: u32) -> bool {
                self.0 & 1u64.wrapping_shl(shift).wrapping_sub(1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address! {
    /// A real address of the machine: memory or MMIO.
    HostAddr
}
address! {
    /// A real address as a partition sees it.
    GuestAddr
}
address! {
    /// An address on the PCI bus, as a device uses it for DMA (IOBA).
    BusAddr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_none() {
        assert_eq!(HostAddr::new(u64::MAX).checked_add(1), None);
        assert_eq!(BusAddr::new(4).checked_sub(BusAddr::new(5)), None);
    }

    #[test]
    fn alignment_looks_at_the_low_bits_only() {
        assert!(GuestAddr::new(0x1_0000).is_aligned(16));
        assert!(!GuestAddr::new(0x1_8000).is_aligned(16));
        assert!(GuestAddr::new(1).is_aligned(0));
    }
}
