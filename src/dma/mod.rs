//! Map, unmap, remap, detach: joins tables, ledger and kill.
//!
//! `docs/tce-engine.md` explains the orders and why they are safe.
#![forbid(unsafe_code)]

mod attach;
mod calls;
mod clear;
mod detach;
mod engine;
mod error;
mod flush;
mod inspect;
pub mod iova;
mod kill;
mod liobn;
mod map;
mod one;
mod operation;
mod patience;
mod pes;
mod quiet;
mod quota;
mod recent;
mod recover;
mod remap;
mod reserve;
mod state;
mod unmap;
mod walk;
mod wanted;
mod window;

pub use detach::{DetachMode, DetachStep};
pub use engine::Engine;
pub use error::{DmaError, ErrorKind};
pub use inspect::{Audit, Holds, Mapping, Translation};
pub use liobn::Liobn;
pub use pes::PES_PER_WINDOW;
pub use quota::{Quota, QuotaError};
pub use recent::LastUnmap;
pub use walk::{Meaning, WalkStep};
pub use window::{MOST_PAGES_AT_ONCE, Window, WindowConfig};
