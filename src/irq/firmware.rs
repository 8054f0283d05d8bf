//! The seam to firmware: the calls that route and mask.

use crate::opal::{Opal, OpalError, RawOpal, Waiter, XiveIrqInfo, XiveQueue};

/// Firmware's part of interrupt delivery. [`Opal`] is one, a model another.
pub trait Firmware {
    /// XIVE: everything off; exploitation mode or emulation of XICS.
    ///
    /// # Errors
    /// What firmware says.
    fn reset_xive(&self, exploitation: bool) -> Result<(), OpalError>;
    /// XIVE: a source's pages.
    ///
    /// # Errors
    /// What firmware says.
    fn irq_info(&self, source: u32) -> Result<XiveIrqInfo, OpalError>;
    /// XIVE: routes a source to a thread's queue, where it shows as `number`;
    /// priority 0xff drops what it sends.
    ///
    /// # Errors
    /// What firmware says.
    fn route(&self, source: u32, server: u32, priority: u8, number: u32) -> Result<(), OpalError>;
    /// XIVE: sets or, with `None`, takes away a thread's queue.
    ///
    /// # Errors
    /// What firmware says.
    fn set_queue(
        &self,
        server: u32,
        priority: u8,
        queue: Option<XiveQueue>,
    ) -> Result<(), OpalError>;
    /// XIVE: returns when all that the source has sent is in its queue.
    ///
    /// # Errors
    /// What firmware says.
    fn sync(&self, source: u32) -> Result<(), OpalError>;
    /// XIVE: a new source that only software triggers.
    ///
    /// # Errors
    /// What firmware says.
    fn allocate(&self) -> Result<u32, OpalError>;
    /// XIVE: gives such a source back.
    ///
    /// # Errors
    /// What firmware says.
    fn free(&self, source: u32) -> Result<(), OpalError>;
    /// XICS: routes a source to a thread; priority 0xff masks it.
    ///
    /// # Errors
    /// What firmware says.
    fn set_xive(&self, source: u32, server: u32, priority: u8) -> Result<(), OpalError>;
    /// PHB3: ends a message in its bridge.
    ///
    /// # Errors
    /// What firmware says.
    fn end_phb3_msi(&self, phb: u64, source: u32) -> Result<(), OpalError>;
}

impl<R: RawOpal, W: Waiter> Firmware for &Opal<R, W> {
    fn reset_xive(&self, exploitation: bool) -> Result<(), OpalError> {
        self.xive_reset(exploitation)
    }
    fn irq_info(&self, source: u32) -> Result<XiveIrqInfo, OpalError> {
        self.xive_irq_info(source)
    }
    fn route(&self, source: u32, server: u32, priority: u8, number: u32) -> Result<(), OpalError> {
        self.xive_set_irq_config(source, u64::from(server), priority, number)
    }
    fn set_queue(
        &self,
        server: u32,
        priority: u8,
        queue: Option<XiveQueue>,
    ) -> Result<(), OpalError> {
        self.xive_set_queue_info(u64::from(server), priority, queue)
    }
    fn sync(&self, source: u32) -> Result<(), OpalError> {
        self.xive_sync(source)
    }
    fn allocate(&self) -> Result<u32, OpalError> {
        self.xive_allocate_irq(None)
    }
    fn free(&self, source: u32) -> Result<(), OpalError> {
        self.xive_free_irq(source)
    }
    fn set_xive(&self, source: u32, server: u32, priority: u8) -> Result<(), OpalError> {
        Opal::set_xive(self, source, server, priority)
    }
    fn end_phb3_msi(&self, phb: u64, source: u32) -> Result<(), OpalError> {
        self.pci_msi_eoi(phb, source)
    }
}
