//! DMA: windows, bus addresses, mapping.
/// Bus addresses for the machine's own DMA.
pub mod iova;
