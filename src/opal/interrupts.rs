//! Calls that route and mask interrupts (skiboot doc/xive.rst, hw/xive.c,
//! core/interrupts.c).

use super::{Opal, OpalError, OpalStatus, RawOpal, Token, Waiter};

/// What OPAL_XIVE_GET_IRQ_INFO says of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XiveIrqInfo {
    /// OPAL_XIVE_IRQ_*.
    pub flags: u64,
    /// Real address of the page that ends interrupts; 0 for none.
    pub eoi_page: u64,
    /// Real address of the page that triggers; 0 for none.
    pub trigger_page: u64,
    /// Base-2 logarithm of both pages' bytes.
    pub page_shift: u32,
    /// `ibm,chip-id` of where it comes from; a hint.
    pub chip: u32,
}

/// An event queue as firmware is told of it. It always notifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XiveQueue {
    /// Real address of its page: naturally aligned, zeroed.
    pub page: u64,
    /// Base-2 logarithm of its bytes: 12, 16, 21 or 24.
    pub shift: u32,
}

/// OPAL_XIVE_EQ_ENABLED | OPAL_XIVE_EQ_ALWAYS_NOTIFY
const QUEUE_FLAGS: u64 = 1 | 2;

/// XIVE_SYNC_EAS
const SYNC_SOURCE: u64 = 1;
/// XIVE_SYNC_QUEUE
const SYNC_QUEUE: u64 = 2;

/// OPAL_XIVE_ANY_CHIP
const ANY_CHIP: u32 = !0;

impl<R: RawOpal, W: Waiter> Opal<R, W> {
    /// Resets the interrupt controller of POWER9 and later: all sources off, no
    /// queues. Then exploitation mode or, on POWER9, emulation of XICS (POWER10
    /// only has the first and takes both: skiboot hw/xive2.c). No other thread
    /// may be inside an interrupt call.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_reset(&self, exploitation: bool) -> Result<(), OpalError> {
        // SAFETY: no pointers.
        unsafe { self.retried(Token::XiveReset, &[u64::from(exploitation)]) }.map(drop)
    }

    /// Pages and flags of a source.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_irq_info(&self, source: u32) -> Result<XiveIrqInfo, OpalError> {
        let (mut flags, mut eoi, mut trigger) = (0u64, 0u64, 0u64);
        let (mut shift, mut chip) = (0u32, 0u32);
        let arguments = [
            u64::from(source),
            &raw mut flags as u64,
            &raw mut eoi as u64,
            &raw mut trigger as u64,
            &raw mut shift as u64,
            &raw mut chip as u64,
        ];
        // SAFETY: pointers to three times eight and twice four bytes that live
        // until the call returns.
        unsafe { self.retried(Token::XiveGetIrqInfo, &arguments)? };
        Ok(XiveIrqInfo {
            flags: u64::from_be(flags),
            eoi_page: u64::from_be(eoi),
            trigger_page: u64::from_be(trigger),
            page_shift: u32::from_be(shift),
            chip: u32::from_be(chip),
        })
    }

    /// Routes a source to a thread or virtual processor, and says which number
    /// its queue shows. Priority 0xff drops what the source sends.
    ///
    /// # Errors
    /// What firmware says: the queue must exist.
    pub fn xive_set_irq_config(
        &self,
        source: u32,
        target: u64,
        priority: u8,
        number: u32,
    ) -> Result<(), OpalError> {
        let arguments = [
            u64::from(source),
            target,
            u64::from(priority),
            u64::from(number),
        ];
        // SAFETY: no pointers.
        unsafe { self.retried(Token::XiveSetIrqConfig, &arguments) }.map(drop)
    }

    /// Gives a thread or virtual processor a queue for a priority, or takes it
    /// away. The controller then writes to the page whatever else is there: it
    /// must be nobody else's until the queue was taken away.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_set_queue_info(
        &self,
        target: u64,
        priority: u8,
        queue: Option<XiveQueue>,
    ) -> Result<(), OpalError> {
        let (page, shift, flags) = match queue {
            Some(queue) => (queue.page, u64::from(queue.shift), QUEUE_FLAGS),
            None => (0, 0, 0),
        };
        let arguments = [target, u64::from(priority), page, shift, flags];
        // SAFETY: the page is used by the controller, not by the call; whoever
        // owns it answers for it as the documentation says.
        unsafe { self.retried(Token::XiveSetQueueInfo, &arguments) }.map(drop)
    }

    /// Waits until changes to the source have taken effect and what it has sent
    /// is in its queue.
    ///
    /// Where a XIVE numbers threads by 7 bits (QEMU's powernv10, the first
    /// POWER10), firmware does not find the queue's thread and refuses the second
    /// half (skiboot hw/xive2.c: VP2PIR keeps a bit of xive_hw_vp_base). The first
    /// half is waited for all the same; it also covers the queue if source and
    /// thread are of one chip.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_sync(&self, source: u32) -> Result<(), OpalError> {
        let sync = |what| {
            // SAFETY: no pointers.
            unsafe { self.retried(Token::XiveSync, &[what, u64::from(source)]) }
        };
        sync(SYNC_SOURCE)?;
        match sync(SYNC_QUEUE) {
            Err(error) if error.status() == Some(OpalStatus::Parameter) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// A new source that only software triggers; on this chip, or on any.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_allocate_irq(&self, chip: Option<u32>) -> Result<u32, OpalError> {
        let token = Token::XiveAllocateIrq;
        let arguments = [u64::from(chip.unwrap_or(ANY_CHIP))];
        // SAFETY: no pointers.
        let number = unsafe { self.retried(token, &arguments)? };
        u32::try_from(number).map_err(|_| OpalError::Nonsense {
            token,
            value: number as u64,
        })
    }

    /// Gives back a source of [`Opal::xive_allocate_irq`].
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_free_irq(&self, source: u32) -> Result<(), OpalError> {
        // SAFETY: no pointers.
        unsafe { self.retried(Token::XiveFreeIrq, &[u64::from(source)]) }.map(drop)
    }

    /// XICS: routes a source to a thread; priority 0xff masks it. Firmware
    /// takes the server number shifted by two (skiboot hw/psi.c, hw/phb3.c).
    ///
    /// # Errors
    /// What firmware says.
    pub fn set_xive(&self, source: u32, server: u32, priority: u8) -> Result<(), OpalError> {
        let arguments = [
            u64::from(source),
            u64::from(server) << 2,
            u64::from(priority),
        ];
        // SAFETY: no pointers.
        unsafe { self.retried(Token::SetXive, &arguments) }.map(drop)
    }

    /// PHB3: ends a message-signalled interrupt in its bridge.
    ///
    /// # Errors
    /// What firmware says.
    pub fn pci_msi_eoi(&self, phb: u64, source: u32) -> Result<(), OpalError> {
        // SAFETY: no pointers.
        unsafe { self.retried(Token::PciMsiEoi, &[phb, u64::from(source)]) }.map(drop)
    }
}
