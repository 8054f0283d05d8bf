//! A model of what is below a PHB: configuration space that routes by the bus
//! numbers written into it, boards made of it, and a PHB that checks the order
//! in which it is set up.
pub mod boards;
mod device;
pub mod noise;
pub mod peer;
pub mod phb;
pub mod planned;
pub mod random;
mod tree;

pub use device::{DeviceModel, Lie};
pub use tree::{NodeId, SimPci};
