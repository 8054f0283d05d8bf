//! A source's life: registered, masked and unmasked, ended, taken out of use.

use super::esb::Esb;
use super::interrupts::{Interrupts, Presenter};
use super::source::{Kind, Registration, Source};
use super::table::{Refused, Slot, SlotState, Use};
use super::{Bus, Firmware, IrqError, icp};
use core::sync::atomic::Ordering;

impl<B: Bus, F: Firmware> Interrupts<B, F> {
    /// Registers a source, routed to thread `server`, masked. Whatever an earlier
    /// system left in it is gone.
    ///
    /// # Errors
    /// It is in use, cannot be used, or firmware refuses.
    pub fn register(
        &self,
        source: Source,
        mut registration: Registration,
        server: u32,
    ) -> Result<(), IrqError> {
        let mut esb = None;
        match &self.presenter {
            Presenter::Icp(_) => {
                self.port(server).ok_or(IrqError::NoThread(server))?;
                if source.get() >> 24 != 0 || source.get() <= icp::IPI {
                    return Err(IrqError::Number(source.get()));
                }
            }
            Presenter::Xive { targets, .. } => {
                let mut servers = targets.iter().map(|target| target.server);
                if !servers.any(|known| known == server) {
                    return Err(IrqError::NoThread(server));
                }
                let pages = Esb::new(source, &self.firmware.irq_info(source.get())?)?;
                registration.kind = pages.kind();
                esb = Some(pages);
            }
        }
        let contents = Use {
            registration,
            server,
            esb,
        };
        self.table
            .add(source, contents)
            .map_err(|refused| match refused {
                Refused::Taken => IrqError::InUse(source),
                Refused::Full => IrqError::Full(source),
            })?;
        let prepared = self.prepare(source, &contents);
        if prepared.is_err() {
            self.table.remove(source);
        }
        prepared
    }

    /// Makes the hardware agree with a source that was just added.
    fn prepare(&self, source: Source, contents: &Use) -> Result<(), IrqError> {
        match (&self.presenter, contents.esb) {
            (Presenter::Xive { priority, .. }, Some(esb)) => {
                esb.off(&self.bus);
                let number = source.get();
                self.firmware
                    .route(number, contents.server, *priority, number)?;
            }
            _ => {
                self.firmware
                    .set_xive(source.get(), contents.server, icp::NO_PRIORITY)?;
                // One that was taken and never ended would stay silent for ever
                // (skiboot hw/psi.c ends its own like this at a fast reboot).
                if let Some(port) = self.own_port() {
                    port.end(&self.bus, source.get());
                }
            }
        }
        Ok(())
    }

    fn slot(&self, source: Source) -> Result<(&Slot, Use), IrqError> {
        self.table
            .find(source)
            .and_then(|slot| Some((slot, slot.contents()?)))
            .ok_or(IrqError::NotInUse(source))
    }

    /// Lets a source fire, again or for the first time. `true`: an interrupt
    /// came while it was masked and cannot be repeated by hardware, so the
    /// driver has to look at its device.
    ///
    /// # Errors
    /// It is not registered, or firmware refuses.
    pub fn unmask(&self, source: Source) -> Result<bool, IrqError> {
        let (slot, contents) = self.slot(source)?;
        let before = slot
            .clear(SlotState::MASKED | SlotState::MISSED | SlotState::STORM | SlotState::UNTOLD);
        if !before.contains(SlotState::MASKED) {
            return Ok(false);
        }
        if before.contains(SlotState::UNTOLD) {
            self.untold.fetch_sub(1, Ordering::Relaxed);
        }
        slot.watch.reset();
        let started = slot.set(SlotState::STARTED).contains(SlotState::STARTED);
        if contents.esb.is_none() {
            self.firmware
                .set_xive(source.get(), contents.server, icp::DEVICE_PRIORITY)?;
        }
        match contents.esb {
            Some(esb) if !started => {
                esb.start(&self.bus);
                return Ok(false);
            }
            // Its end, which is still to come, does the rest.
            _ if before.contains(SlotState::WAITING) => return Ok(false),
            Some(_) => {}
            None if !before.contains(SlotState::HELD) => return Ok(false),
            None => {}
        }
        slot.clear(SlotState::HELD);
        self.finish(source, &contents)?;
        if !before.contains(SlotState::MISSED) || contents.registration.kind == Kind::Lsi {
            // A level that is still there fires by itself.
            return Ok(false);
        }
        Ok(!contents.esb.is_some_and(|esb| esb.trigger(&self.bus)))
    }

    /// Keeps a source from calling its handler. What it sends meanwhile is
    /// remembered: once, however often it comes.
    ///
    /// # Errors
    /// It is not registered, or firmware refuses.
    pub fn mask(&self, source: Source) -> Result<(), IrqError> {
        let (slot, contents) = self.slot(source)?;
        let before = slot.set(SlotState::MASKED);
        if before.intersects(SlotState::MASKED | SlotState::HELD) {
            // Silent already.
            return Ok(());
        }
        match contents.esb {
            Some(esb) => {
                if esb.hold(&self.bus).is_queued() {
                    slot.set(SlotState::MISSED);
                }
            }
            None => {
                self.firmware
                    .set_xive(source.get(), contents.server, icp::NO_PRIORITY)?;
            }
        }
        Ok(())
    }

    /// Ends an interrupt whose handler answered [`Outcome::Later`].
    ///
    /// # Errors
    /// It is not registered, or firmware refuses.
    pub fn end(&self, source: Source) -> Result<(), IrqError> {
        let (slot, contents) = self.slot(source)?;
        let state = slot.state();
        if state.contains(SlotState::MASKED) || !state.contains(SlotState::HELD) {
            return Ok(());
        }
        slot.clear(SlotState::HELD);
        self.finish(source, &contents)
    }

    /// Tells the controller that an interrupt is over.
    pub(super) fn finish(&self, source: Source, contents: &Use) -> Result<(), IrqError> {
        if let Some(esb) = contents.esb {
            esb.end(&self.bus);
            return Ok(());
        }
        if let Kind::Phb3Msi { phb } = contents.registration.kind {
            self.firmware.end_phb3_msi(phb, source.get())?;
        }
        if let Some(port) = self.own_port() {
            port.end(&self.bus, source.get());
        }
        Ok(())
    }

    /// Takes a source out of use. When this returns its handler is not called
    /// any more by the running thread; another that is inside it comes out by
    /// itself.
    ///
    /// # Errors
    /// It is not registered, or firmware refuses: then it stays, masked.
    pub fn unregister(&self, source: Source) -> Result<(), IrqError> {
        let (slot, contents) = self.slot(source)?;
        let before = slot.set(SlotState::MASKED);
        self.turn_off(source, &contents)?;
        if let Some(target) = self.own_target() {
            // What is on its way is in the queue by now, and finds its source.
            self.drain(target);
        } else if let Some(port) = self.own_port() {
            // A mask does not take back what the ICP has already.
            self.collect(port);
        }
        if contents.esb.is_none() && slot.state().contains(SlotState::HELD) {
            self.finish(source, &contents)?;
        }
        if before.contains(SlotState::WAITING) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        if before.contains(SlotState::UNTOLD) {
            self.untold.fetch_sub(1, Ordering::Relaxed);
        }
        self.table.remove(source);
        Ok(())
    }

    pub(super) fn turn_off(&self, source: Source, contents: &Use) -> Result<(), IrqError> {
        let number = source.get();
        match contents.esb {
            Some(esb) => {
                esb.off(&self.bus);
                // Before the route goes: it says which queue to wait for.
                self.firmware.sync(number)?;
                self.firmware
                    .route(number, contents.server, icp::NO_PRIORITY, number)?;
            }
            None => self
                .firmware
                .set_xive(number, contents.server, icp::NO_PRIORITY)?,
        }
        Ok(())
    }

    /// A new source that only software triggers (XIVE).
    ///
    /// # Errors
    /// There is none (POWER8), or firmware refuses.
    pub fn allocate(&self) -> Result<Source, IrqError> {
        let number = self.firmware.allocate()?;
        Source::new(number).ok_or(IrqError::Number(number))
    }

    /// Gives back a source of [`Interrupts::allocate`], not registered any more.
    ///
    /// # Errors
    /// Firmware refuses.
    pub fn free(&self, source: Source) -> Result<(), IrqError> {
        Ok(self.firmware.free(source.get())?)
    }

    /// Makes a registered source fire.
    ///
    /// # Errors
    /// It is not registered, or software cannot.
    pub fn trigger(&self, source: Source) -> Result<(), IrqError> {
        let (_, contents) = self.slot(source)?;
        match contents.esb {
            Some(esb) if esb.trigger(&self.bus) => Ok(()),
            _ => Err(IrqError::NoTrigger(source)),
        }
    }
}
