//! The seams: what the pure layers ask of the machine, as small traits.
//!
//! The image implements them over volatile stores and MMIO, a PC over the
//! models in `sim`. All dispatch is static.
#![forbid(unsafe_code)]

pub mod lent;
mod owner;
mod phb;
pub mod sync;
mod table;

pub use owner::OwnerId;
pub use phb::{DmaTable, KillScope, KillStyle, PeId, PhbError, PhbPort, TableLimits, TveSelect};
pub use table::{TableFrames, TableMemory};

use crate::trace::Noted;

/// Masking of external interrupts on this hardware thread. Locks of the engine
/// are held with interrupts off, so that no handler can spin on its own thread.
pub trait Interrupts {
    /// Masks interrupts; returns the previous state for [`Interrupts::restore`].
    fn mask() -> u64;

    /// Restores the state that [`Interrupts::mask`] returned.
    fn restore(state: u64);
}

/// All seams of the DMA engine, implemented by one type.
pub trait Platform: TableMemory + TableFrames + PhbPort + Interrupts + Noted {}

impl<P: TableMemory + TableFrames + PhbPort + Interrupts + Noted> Platform for P {}
