//! Models of hardware for the PC. Never part of the image.
/// QEMU's teaching device.
pub mod edu;
/// An NVMe drive and the memory it reaches.
pub mod nvme;
/// Buses, functions and PHBs.
pub mod pci;
