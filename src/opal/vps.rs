//! Calls for virtual processors: what interrupts of partitions go to (skiboot
//! doc/xive.rst, hw/xive.c, hw/xive2.c).

use super::{Opal, OpalError, RawOpal, Token, Waiter, XiveQueue};

/// OPAL_XIVE_EQ_ENABLED
const QUEUE_ENABLED: u64 = 1;
/// OPAL_XIVE_EQ_ALWAYS_NOTIFY
const QUEUE_NOTIFIES: u64 = 2;
/// OPAL_XIVE_EQ_ESCALATE
const QUEUE_ESCALATES: u64 = 4;

/// OPAL_XIVE_VP_ENABLED
const VP_ENABLED: u64 = 1;
/// OPAL_XIVE_VP_SINGLE_ESCALATION
const VP_SINGLE_ESCALATION: u64 = 2;

/// A queue of a virtual processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpQueue {
    /// It stores to this page, notifies, and escalates while its virtual
    /// processor is not dispatched.
    Page(XiveQueue),
    /// It stores nowhere, but keeps where it escalates to, which
    /// [`VpQueue::Off`] loses.
    Empty,
    /// As a new virtual processor has it.
    Off,
}

impl<R: RawOpal, W: Waiter> Opal<R, W> {
    /// 2^`order` new virtual processors, off, with queues that are off; the first
    /// one's number, the others follow.
    ///
    /// # Errors
    /// What firmware says: [`super::OpalStatus::XiveProvisioning`] if it needs
    /// memory first ([`Opal::xive_donate_page`]).
    pub fn xive_allocate_vps(&self, order: u32) -> Result<u64, OpalError> {
        // SAFETY: no pointers.
        let base = unsafe { self.retried(Token::XiveAllocateVpBlock, &[u64::from(order)])? };
        Ok(base as u64)
    }

    /// Gives back what [`Opal::xive_allocate_vps`] returned. All are off, and so
    /// are their queues. Firmware refuses blocks of fewer than twice as many as
    /// there are chips.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_free_vps(&self, base: u64) -> Result<(), OpalError> {
        // SAFETY: no pointers.
        unsafe { self.retried(Token::XiveFreeVpBlock, &[base]) }.map(drop)
    }

    /// Gives firmware a page for its tables, until the controller is reset:
    /// naturally aligned, of `ibm,xive-provision-page-size` bytes, of this chip,
    /// and nobody else's.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_donate_page(&self, chip: u32, page: u64) -> Result<(), OpalError> {
        // SAFETY: whoever owns the page answers for it as the documentation says.
        unsafe { self.retried(Token::XiveDonatePage, &[u64::from(chip), page]) }.map(drop)
    }

    /// Turns a virtual processor on, or off. All its queues escalate to one
    /// source, which costs it the last priority.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_set_vp(&self, vp: u64, on: bool) -> Result<(), OpalError> {
        let flags = if on {
            VP_ENABLED | VP_SINGLE_ESCALATION
        } else {
            0
        };
        // SAFETY: no pointers: there is no line for reports.
        unsafe { self.retried(Token::XiveSetVpInfo, &[vp, flags, 0]) }.map(drop)
    }

    /// The word that dispatches a virtual processor (`cam_value`), without the
    /// valid bit.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_vp_word(&self, vp: u64) -> Result<u32, OpalError> {
        let (mut flags, mut word, mut report, mut chip) = (0u64, 0u64, 0u64, 0u32);
        let arguments = [
            vp,
            &raw mut flags as u64,
            &raw mut word as u64,
            &raw mut report as u64,
            &raw mut chip as u64,
        ];
        // SAFETY: pointers to three times eight and four bytes that live until
        // the call returns.
        unsafe { self.retried(Token::XiveGetVpInfo, &arguments)? };
        Ok(u64::from_be(word) as u32)
    }

    /// The source that fires when an interrupt comes for a virtual processor that
    /// is on, but not dispatched.
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_escalation(&self, vp: u64) -> Result<u32, OpalError> {
        let (mut page, mut size, mut end, mut flags) = (0u64, 0u64, 0u64, 0u64);
        let mut source = 0u32;
        let arguments = [
            vp,
            0,
            &raw mut page as u64,
            &raw mut size as u64,
            &raw mut end as u64,
            &raw mut source as u64,
            &raw mut flags as u64,
        ];
        // SAFETY: pointers to four times eight and four bytes that live until
        // the call returns.
        unsafe { self.retried(Token::XiveGetQueueInfo, &arguments)? };
        Ok(u32::from_be(source))
    }

    /// Sets a queue of a virtual processor. See [`Opal::xive_set_queue_info`].
    ///
    /// # Errors
    /// What firmware says.
    pub fn xive_set_vp_queue(
        &self,
        vp: u64,
        priority: u8,
        queue: VpQueue,
    ) -> Result<(), OpalError> {
        let (page, shift, flags) = match queue {
            VpQueue::Page(XiveQueue { page, shift }) => {
                let flags = QUEUE_ENABLED | QUEUE_NOTIFIES | QUEUE_ESCALATES;
                (page, u64::from(shift), flags)
            }
            VpQueue::Empty => (0, 0, QUEUE_ENABLED),
            VpQueue::Off => (0, 0, 0),
        };
        let arguments = [vp, u64::from(priority), page, shift, flags];
        // SAFETY: as there.
        unsafe { self.retried(Token::XiveSetQueueInfo, &arguments) }.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls_tests::{Counted, Pretend};
    use super::*;

    #[test]
    fn answers_come_from_where_firmware_puts_them() {
        let (raw, waited) = (Pretend::default(), Counted::default());
        let opal = Opal::new(&raw, &waited);
        raw.fills
            .set(Some((2, &[0, 0, 0, 0, 0x40, 0x00, 0x01, 0x23])));
        assert_eq!(opal.xive_vp_word(0x10).unwrap(), 0x4000_0123);
        raw.fills.set(Some((5, &[0x01, 0x00, 0x02, 0x07])));
        assert_eq!(opal.xive_escalation(0x10).unwrap(), 0x0100_0207);
        let asked: Vec<_> = raw.asked.borrow().iter().map(|it| it.0).collect();
        assert_eq!(asked, [Token::XiveGetVpInfo, Token::XiveGetQueueInfo]);
    }

    #[test]
    fn flags_are_those_of_the_interface() {
        let (raw, waited) = (Pretend::answering(&[0x140]), Counted::default());
        let opal = Opal::new(&raw, &waited);
        assert_eq!(opal.xive_allocate_vps(5).unwrap(), 0x140);
        opal.xive_set_vp(0x141, true).unwrap();
        let queue = XiveQueue {
            page: 0x9_0000,
            shift: 16,
        };
        opal.xive_set_vp_queue(0x141, 6, VpQueue::Page(queue))
            .unwrap();
        opal.xive_set_vp_queue(0x141, 6, VpQueue::Empty).unwrap();
        opal.xive_set_vp_queue(0x141, 6, VpQueue::Off).unwrap();
        opal.xive_set_vp(0x141, false).unwrap();
        let asked = raw.asked.borrow();
        let arguments: Vec<_> = asked.iter().map(|it| &it.1[..5]).collect();
        assert_eq!(arguments[1], [0x141, 3, 0, 0, 0]);
        assert_eq!(arguments[2], [0x141, 6, 0x9_0000, 16, 7]);
        assert_eq!(arguments[3], [0x141, 6, 0, 0, 1]);
        assert_eq!(arguments[4], [0x141, 6, 0, 0, 0]);
        assert_eq!(arguments[5], [0x141, 0, 0, 0, 0]);
    }
}
