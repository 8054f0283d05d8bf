//! Offsets and bits of configuration space (PCI Local Bus 3.0, PCI Express
//! Base 4.0, SR-IOV 1.1). All offsets in bytes.
#![allow(missing_docs, reason = "the names are the specification's")]

pub const VENDOR: u16 = 0x00;
pub const COMMAND: u16 = 0x04;
pub const STATUS: u16 = 0x06;
pub const REVISION_CLASS: u16 = 0x08;
pub const HEADER_TYPE: u16 = 0x0e;
pub const BAR0: u16 = 0x10;
pub const ROM_BAR: u16 = 0x30;
pub const BRIDGE_ROM_BAR: u16 = 0x38;
pub const CAPABILITY_POINTER: u16 = 0x34;
pub const INTERRUPT_PIN: u16 = 0x3d;

/// Primary, secondary, subordinate bus and the secondary latency timer.
pub const BUS_NUMBERS: u16 = 0x18;
pub const IO_WINDOW: u16 = 0x1c;
pub const MEMORY_WINDOW: u16 = 0x20;
pub const PREFETCH_WINDOW: u16 = 0x24;
pub const PREFETCH_BASE_HIGH: u16 = 0x28;
pub const PREFETCH_LIMIT_HIGH: u16 = 0x2c;
pub const IO_WINDOW_HIGH: u16 = 0x30;

pub const HEADER_MULTI_FUNCTION: u8 = 0x80;
pub const STATUS_CAPABILITIES: u16 = 0x10;

/// Extended capabilities start here.
pub const EXTENDED: u16 = 0x100;

pub mod capability {
    pub const POWER: u8 = 0x01;
    pub const MSI: u8 = 0x05;
    pub const EXPRESS: u8 = 0x10;
    pub const MSIX: u8 = 0x11;
    pub const ADVANCED: u8 = 0x13;

    pub const AER: u16 = 0x0001;
    pub const ACS: u16 = 0x000d;
    pub const ARI: u16 = 0x000e;
    pub const SRIOV: u16 = 0x0010;
}

/// Offsets within the PCI Express capability.
pub mod express {
    pub const FLAGS: u16 = 0x02;
    pub const DEVICE_CAPABILITY: u16 = 0x04;
    pub const DEVICE_CONTROL: u16 = 0x08;
    pub const DEVICE_STATUS: u16 = 0x0a;
    pub const DEVICE_CAPABILITY_2: u16 = 0x24;
    pub const DEVICE_CONTROL_2: u16 = 0x28;

    pub const DEVICE_FLR: u32 = 1 << 28;
    pub const CONTROL_START_FLR: u16 = 1 << 15;
    pub const STATUS_TRANSACTIONS_PENDING: u16 = 1 << 5;
    pub const ARI_FORWARDING: u32 = 1 << 5;
}

/// Offsets within the SR-IOV capability.
pub mod sriov {
    pub const CAPABILITY: u16 = 0x04;
    pub const CONTROL: u16 = 0x08;
    pub const INITIAL_VFS: u16 = 0x0c;
    pub const TOTAL_VFS: u16 = 0x0e;
    pub const NUM_VFS: u16 = 0x10;
    pub const FIRST_OFFSET: u16 = 0x14;
    pub const STRIDE: u16 = 0x16;
    pub const VF_DEVICE: u16 = 0x1a;
    pub const SUPPORTED_PAGES: u16 = 0x1c;
    pub const SYSTEM_PAGE: u16 = 0x20;
    pub const VF_BAR0: u16 = 0x24;

    pub const VF_ENABLE: u16 = 1 << 0;
    pub const VF_MEMORY: u16 = 1 << 3;
    pub const ARI_HIERARCHY: u16 = 1 << 4;
}
