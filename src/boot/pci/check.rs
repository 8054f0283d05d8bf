//! DMA of devices, end to end.
