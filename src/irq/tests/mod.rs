//! The drivers against the model of the hardware.

mod delivery;
mod pure;
mod rig;
mod wake_up;
