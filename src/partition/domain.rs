//! What a partition has: memory, table memory, windows of its PEs. Not how its
//! vCPUs run.
//!
//! Its devices are *open* while it runs: their PEs' windows are in use. When it
//! stops they are closed in the order of the engine's detach (bus master off,
//! TVE off, kill, reset, entries cleared, pins released), and only then is its
//! memory made ready for another use. A window stays the partition's, with its
//! number, until its device is taken away.

use super::life::Life;
use super::memory::{Blocks, Memory, MemoryError};
use crate::dma::{DetachMode, DmaError, Engine, Quota, Window, WindowConfig};
use crate::memory::ledger::{Ledger, OwnerId};
use crate::seam::sync::{Lock, Rank};
use crate::seam::{PeId, Platform};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most PEs of one partition.
pub const MAX_PES: usize = 32;

/// What a partition is to have.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// Its number in the ledger: never given before.
    pub owner: OwnerId,
    /// Bytes of memory, a multiple of 64K.
    pub memory: u64,
    /// The chip that the memory should be of.
    pub chip: Option<u32>,
    /// Bytes of table memory that its windows may use.
    pub dma_limit: u64,
}

/// Why a device was not given or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// It has this PE already.
    #[error("the partition has {0} already")]
    Has(PeId),
    /// It has not this PE.
    #[error("the partition does not have {0}")]
    HasNot(PeId),
    /// No room.
    #[error("the partition has {MAX_PES} groups of devices already")]
    TooMany,
    /// The engine refused.
    #[error("{0}")]
    Dma(#[from] DmaError),
}

/// Why a partition keeps its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// A device was not made quiet.
    #[error("{pe} does not become quiet: {error}")]
    Device {
        /// Which.
        pe: PeId,
        /// Why.
        error: DmaError,
    },
    /// The memory is held.
    #[error("{0}")]
    Memory(#[from] MemoryError),
}

/// A PE of the partition and its first window, from bus address 0.
struct Device<P: Platform> {
    pe: PeId,
    window: Arc<Window<P>>,
}

impl<P: Platform> Clone for Device<P> {
    fn clone(&self) -> Self {
        Self {
            pe: self.pe,
            window: Arc::clone(&self.window),
        }
    }
}

impl<P: Platform> Device<P> {
    /// If it is closed, only what its window may yet map is let go.
    fn close(&self, engine: &Engine<P>) -> Result<(), DmaError> {
        match engine.detach(&self.window, self.pe, DetachMode::Reset) {
            Err(DmaError::NotAttached(_)) => engine.empty(&self.window),
            closed => closed,
        }
    }
}

/// Whether there is room among `devices` for `pe`.
fn admit<P: Platform>(devices: &[Device<P>], pe: PeId) -> Result<(), DeviceError> {
    match devices.iter().any(|device| device.pe == pe) {
        true => Err(DeviceError::Has(pe)),
        false if devices.len() >= MAX_PES => Err(DeviceError::TooMany),
        false => Ok(()),
    }
}

/// A partition's belongings and its state.
#[must_use = "what it has is lost if this is dropped"]
pub struct Domain<P: Platform> {
    life: Life,
    memory: Memory<P>,
    quota: Arc<Quota>,
    devices: Lock<Vec<Device<P>>, P>,
}

impl<P: Platform> Domain<P> {
    /// Memory and a limit of table memory for a partition without devices. Its
    /// [`Life`] is the caller's to begin.
    ///
    /// # Errors
    /// Not enough memory.
    pub fn new(
        blocks: &impl Blocks,
        ledger: &Ledger<P>,
        grant: &Grant,
    ) -> Result<Self, MemoryError> {
        let Grant { owner, chip, .. } = *grant;
        Ok(Self {
            life: Life::new(),
            memory: Memory::allocate(blocks, ledger, owner, grant.memory, chip)?,
            quota: Arc::new(Quota::new(grant.dma_limit)),
            // No allocation under the lock.
            devices: Lock::new(Rank::Names, Vec::with_capacity(MAX_PES)),
        })
    }

    /// Its state.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Its memory.
    pub fn memory(&self) -> &Memory<P> {
        &self.memory
    }

    /// Its table memory: limit, and what is used.
    pub fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    fn devices(&self) -> Vec<Device<P>> {
        let mut all = Vec::with_capacity(MAX_PES);
        all.extend(self.devices.lock().iter().cloned());
        all
    }

    /// Its PEs.
    pub fn pes(&self) -> Vec<PeId> {
        self.devices().iter().map(|device| device.pe).collect()
    }

    /// The first window of one of its PEs.
    pub fn window(&self, pe: PeId) -> Option<Arc<Window<P>>> {
        let devices = self.devices.lock();
        let device = devices.iter().find(|device| device.pe == pe)?;
        Some(Arc::clone(&device.window))
    }

    /// Gives it a PE that is nobody's, with an empty window that is not in use
    /// yet.
    ///
    /// # Errors
    /// No room, no table memory, or a window that the engine refuses.
    pub fn give(
        &self,
        engine: &Engine<P>,
        pe: PeId,
        config: &WindowConfig,
    ) -> Result<Arc<Window<P>>, DeviceError> {
        admit(&self.devices.lock(), pe)?;
        let holdings = Arc::clone(self.memory.holdings());
        let window = engine.create_window(config, holdings, Arc::clone(&self.quota))?;
        let admitted = {
            let mut devices = self.devices.lock();
            let admitted = admit(&devices, pe);
            if admitted.is_ok() {
                let window = Arc::clone(&window);
                devices.push(Device { pe, window });
            }
            admitted
        };
        if let Err(error) = admitted {
            // Another thread was first.
            engine.remove(&window, DetachMode::Reset)?;
            return Err(error);
        }
        Ok(window)
    }

    /// Lets a PE use its first window. The functions do not master the bus yet.
    ///
    /// # Errors
    /// What the engine says; the PE is closed then, or frozen and to be closed.
    pub fn open(&self, engine: &Engine<P>, pe: PeId) -> Result<(), DeviceError> {
        let window = self.window(pe).ok_or(DeviceError::HasNot(pe))?;
        Ok(engine.attach(&window, pe)?)
    }

    /// Ends the use of a PE's first window: the PE's functions are reset, the
    /// window is empty, and nothing of the partition's memory is in reach. The
    /// PE's other windows were removed before. It may be closed already.
    ///
    /// # Errors
    /// What the engine says; the PE is frozen then, and keeps its pins.
    pub fn close(&self, engine: &Engine<P>, pe: PeId) -> Result<(), DeviceError> {
        let window = self.window(pe).ok_or(DeviceError::HasNot(pe))?;
        Ok(Device { pe, window }.close(engine)?)
    }

    /// Closes all PEs, even though one fails.
    ///
    /// # Errors
    /// The first one that failed.
    pub fn close_all(&self, engine: &Engine<P>) -> Result<(), CloseError> {
        let mut result = Ok(());
        for device in self.devices() {
            let pe = device.pe;
            let closed = device.close(engine);
            result = result.and(closed.map_err(|error| CloseError::Device { pe, error }));
        }
        result
    }

    /// Takes a PE away, and its first window with it. The PE is nobody's then.
    /// Returns the window, which is removed, for whoever knows it by name.
    ///
    /// # Errors
    /// As [`Domain::close`]; the partition keeps it then.
    pub fn take(&self, engine: &Engine<P>, pe: PeId) -> Result<Arc<Window<P>>, DeviceError> {
        let window = self.window(pe).ok_or(DeviceError::HasNot(pe))?;
        self.remove(engine, pe, &window)?;
        Ok(window)
    }

    /// Removes the first window of `pe`, which is nobody's then.
    fn remove(&self, engine: &Engine<P>, pe: PeId, window: &Window<P>) -> Result<(), DmaError> {
        engine.remove(window, DetachMode::Reset)?;
        self.devices.lock().retain(|device| device.pe != pe);
        Ok(())
    }

    /// Makes memory that was used ready for another run: after
    /// [`Domain::close_all`], when no vCPU is in it.
    ///
    /// # Errors
    /// A mapping or a write on its way holds it; it is as it was.
    pub fn renew(
        &self,
        engine: &Engine<P>,
        ledger: &Ledger<P>,
        blocks: &impl Blocks,
    ) -> Result<(), CloseError> {
        Ok(self.memory.renew(engine, ledger, blocks)?)
    }

    /// Gives back all that it has: devices first, then memory.
    ///
    /// # Errors
    /// What is held. The rest of it comes back, to be tried again.
    #[allow(
        clippy::result_large_err,
        reason = "the caller gets back what it gave, on a control path"
    )]
    pub fn release(
        self,
        engine: &Engine<P>,
        ledger: &Ledger<P>,
        blocks: &impl Blocks,
    ) -> Result<(), (Self, CloseError)> {
        for Device { pe, window } in self.devices() {
            if let Err(error) = self.remove(engine, pe, &window) {
                return Err((self, CloseError::Device { pe, error }));
            }
        }
        debug_assert_eq!(self.quota.used(), 0, "tables of no window");
        let Self {
            life,
            memory,
            quota,
            devices,
        } = self;
        memory
            .release(engine, ledger, blocks)
            .map_err(|(memory, error)| {
                let back = Self {
                    life,
                    memory,
                    quota,
                    devices,
                };
                (back, error.into())
            })
    }
}
