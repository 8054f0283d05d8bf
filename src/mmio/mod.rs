//! Device registers: the one place that loads and stores them.
//!
//! With translation off an ordinary load or store is cacheable, whatever it
//! hits; a device wants the cache-inhibited instructions (Power ISA 3.0B, book
//! III, 4.4.1), which is why the `volatile` crate does not do here. Device
//! registers of the PHB and the interrupt controller are big-endian.
//!
//! Each access is ordered behind everything before it (sync, as skiboot's
//! include/io.h does), and a load is complete, its machine check included,
//! before anything after it (twi, isync).

use crate::addr::HostAddr;
use core::arch::asm;

macro_rules! access {
    ($read:ident, $write:ident, $type:ty, $load:literal, $store:literal, $doc:literal) => {
        #[doc = concat!("Reads ", $doc, " of a device.")]
        ///
        /// # Safety
        /// A device register of this size answers at the naturally aligned
        /// address, and reading it does nothing to memory that Rust knows.
        #[inline]
        pub unsafe fn $read(at: HostAddr) -> $type {
            let value: u64;
            // SAFETY: the caller answers for the address.
            unsafe {
                asm!(
                    "sync",
                    $load,
                    "twi 0, {0}, 0",
                    "isync",
                    out(reg) value,
                    in(reg) at.get(),
                    options(nostack)
                );
            }
            value as $type
        }

        #[doc = concat!("Writes ", $doc, " of a device.")]
        ///
        /// # Safety
        /// A device register of this size is at the naturally aligned address,
        /// and writing the value does nothing to memory that Rust knows.
        #[inline]
        pub unsafe fn $write(at: HostAddr, value: $type) {
            // SAFETY: the caller answers for the address and the value.
            unsafe {
                asm!(
                    "sync",
                    $store,
                    in(reg) u64::from(value),
                    in(reg) at.get(),
                    options(nostack)
                );
            }
        }
    };
}

access!(
    read8,
    write8,
    u8,
    "lbzcix {0}, 0, {1}",
    "stbcix {0}, 0, {1}",
    "a byte"
);
access!(
    read16,
    write16,
    u16,
    "lhzcix {0}, 0, {1}",
    "sthcix {0}, 0, {1}",
    "a 16-bit register"
);
access!(
    read32,
    write32,
    u32,
    "lwzcix {0}, 0, {1}",
    "stwcix {0}, 0, {1}",
    "a 32-bit register"
);
access!(
    read64,
    write64,
    u64,
    "ldcix {0}, 0, {1}",
    "stdcix {0}, 0, {1}",
    "a 64-bit register"
);

/// Orders all accesses before against all after, memory against devices
/// included (Power ISA 3.0B, book II, 4.6.3: hwsync; lwsync would not).
#[inline]
pub fn full_barrier() {
    // SAFETY: a barrier.
    unsafe { asm!("sync", options(nostack)) };
}
