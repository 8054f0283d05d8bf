//! The seam: a PHB's registers, its tables in memory, and time.

use crate::addr::HostAddr;

/// What of a PHB only the image can reach.
pub trait PhbHardware {
    /// Loads the 64-bit register at `offset` bytes, big-endian as all of them,
    /// cache-inhibited; complete before any later access of this thread.
    fn load(&self, offset: u64) -> u64;

    /// Stores to the 64-bit register at `offset`, behind all earlier accesses.
    fn store(&self, offset: u64, value: u64);

    /// Orders all earlier stores to memory before all later accesses (hwsync).
    fn barrier(&self);

    /// Two big-endian bytes of a table in memory that the PHB or firmware writes.
    fn memory16(&self, at: HostAddr) -> u16;

    /// Eight big-endian bytes of such a table.
    fn memory64(&self, at: HostAddr) -> u64;

    /// A clock that does not go back, in microseconds.
    fn microseconds(&self) -> u64;

    /// Lets time go by.
    fn wait_ms(&self, milliseconds: u64);

    /// The running thread's PIR.
    fn thread(&self) -> u64;

    /// Does `work`. Hardware that is watched now and then asks here, once,
    /// whether it is, and not at each access.
    #[inline]
    fn quickly<W: RegisterWork>(&self, work: W) -> W::Done
    where
        Self: Sized,
    {
        work.on(self)
    }

    /// Does `work`, if nobody watches.
    #[inline]
    fn unwatched<W: RegisterWork>(&self, work: W) -> Option<W::Done>
    where
        Self: Sized,
    {
        Some(work.on(self))
    }
}

/// Something to be done with a PHB's registers, whatever stands before them.
pub trait RegisterWork {
    /// What comes of it.
    type Done;

    /// Does it.
    fn on<H: PhbHardware>(self, hardware: &H) -> Self::Done;
}

impl<H: PhbHardware> PhbHardware for &H {
    fn load(&self, offset: u64) -> u64 {
        (**self).load(offset)
    }

    fn store(&self, offset: u64, value: u64) {
        (**self).store(offset, value);
    }

    fn barrier(&self) {
        (**self).barrier();
    }

    fn memory16(&self, at: HostAddr) -> u16 {
        (**self).memory16(at)
    }

    fn memory64(&self, at: HostAddr) -> u64 {
        (**self).memory64(at)
    }

    fn microseconds(&self) -> u64 {
        (**self).microseconds()
    }

    fn wait_ms(&self, milliseconds: u64) {
        (**self).wait_ms(milliseconds);
    }

    fn thread(&self) -> u64 {
        (**self).thread()
    }

    #[inline]
    fn quickly<W: RegisterWork>(&self, work: W) -> W::Done {
        (**self).quickly(work)
    }
}

/// The registers of a PHB in the machine's real address space.
#[cfg(target_os = "none")]
#[derive(Clone, Copy)]
pub struct Mapped {
    registers: HostAddr,
}

#[cfg(target_os = "none")]
impl Mapped {
    /// The PHB whose registers are at `registers`.
    ///
    /// # Safety
    /// The device tree says that a PHB's registers are there (4 KiB), and that
    /// the tables that are read through this lie in memory.
    pub const unsafe fn new(registers: HostAddr) -> Self {
        Self { registers }
    }

    #[inline]
    fn at(&self, offset: u64) -> HostAddr {
        // The offsets are this module's constants, below 4 KiB.
        HostAddr::new(self.registers.get().wrapping_add(offset & 0xff8))
    }
}

#[cfg(target_os = "none")]
impl PhbHardware for Mapped {
    #[inline]
    fn load(&self, offset: u64) -> u64 {
        // SAFETY: see `new`; a PHB's registers have eight bytes.
        unsafe { crate::mmio::read64(self.at(offset)) }
    }

    #[inline]
    fn store(&self, offset: u64, value: u64) {
        // SAFETY: as above. What the registers do to memory is DMA of devices,
        // which `dma` lets reach only pages that Rust does not know.
        unsafe { crate::mmio::write64(self.at(offset), value) }
    }

    #[inline]
    fn barrier(&self) {
        crate::mmio::full_barrier();
    }

    fn memory16(&self, at: HostAddr) -> u16 {
        // SAFETY: see `new`. Another agent writes it, so it is read anew.
        u16::from_be(unsafe { (at.get() as *const u16).read_volatile() })
    }

    fn memory64(&self, at: HostAddr) -> u64 {
        // SAFETY: see `new`. Another agent writes it, so it is read anew.
        u64::from_be(unsafe { (at.get() as *const u64).read_volatile() })
    }

    fn microseconds(&self) -> u64 {
        crate::cpu::timebase() / (crate::cpu::timebase_hz() / 1_000_000).max(1)
    }

    fn wait_ms(&self, milliseconds: u64) {
        crate::cpu::idle::pause_ms(milliseconds);
    }

    fn thread(&self) -> u64 {
        crate::cpu::pir()
    }
}
