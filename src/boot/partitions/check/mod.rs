//! Self-tests of the lives of partitions: with memory and devices, through the
//! functions that manifest and prompt use, without a kernel, so that they run on
//! every processor. Only with devices that no partition has.

mod attacker;
mod cycles;
mod moves;
mod often;
mod steps;
mod subject;

pub use cycles::come_and_go;
pub use moves::check as moves;
pub use often::stop_often;
pub use steps::stop_steps;
