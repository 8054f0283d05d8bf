//! TCE tables: entries, TVEs, geometry, and the tree of levels.
//!
//! Pure logic over the [`TableMemory`](crate::seam::TableMemory) seam: no locks,
//! no policy, no hardware.
#![forbid(unsafe_code)]

pub mod chain;
pub mod entry;
pub mod leaf;
pub mod page;
pub mod segments;
pub mod shape;
pub mod tree;
pub mod tve;
pub mod window;

pub use entry::{Access, Entry, Stamp, Tce};
pub use page::{PageShift, PageSizes};
pub use shape::{ShapeError, TableShape};
pub use tree::Tree;
pub use window::{PageIndex, RangeError, Slot, SlotRange, WindowRange};
