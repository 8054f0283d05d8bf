//! Messages of a PHB, by firmware's calls.

use super::{Phb, PhbHardware};
use crate::opal::{OpalError, RawOpal, Waiter};
use crate::pci::PeNumber;
use crate::pci::msi::{Message, MessagePort};

impl<H: PhbHardware, F: RawOpal, W: Waiter> MessagePort for Phb<'_, H, F, W> {
    type Error = OpalError;

    fn give(&self, vector: u16, pe: PeNumber) -> Result<(), OpalError> {
        self.call(|opal, phb| opal.set_xive_pe(phb, pe.get(), vector.into()))?;
        let owner = (pe.get() != self.setup().reserved).then_some(pe);
        self.expect(|expected| expected.set_msi(vector, owner));
        Ok(())
    }

    fn take_back(&self, vector: u16) -> Result<(), OpalError> {
        self.give(vector, PeNumber::new(self.setup().reserved))
    }

    fn message(&self, vector: u16, pe: PeNumber, wide: bool) -> Result<Message, OpalError> {
        let answer = self.call(|opal, phb| match wide {
            true => opal.msi64(phb, pe.get(), vector.into()),
            false => opal.msi32(phb, pe.get(), vector.into()),
        })?;
        Ok(Message {
            address: answer.address,
            data: answer.data,
        })
    }
}
