//! Models of hardware for the PC. Never part of the image.
/// Buses, functions and PHBs.
pub mod pci;
