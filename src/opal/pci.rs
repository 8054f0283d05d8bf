//! Calls that name a PHB or one of its slots (skiboot core/pci-opal.c,
//! doc/opal-api/opal-pci-*.rst).
//!
//! Whoever makes them holds the PHB's lock: see `phb`.

use super::{Opal, OpalError, RawOpal, Token, Waiter};

/// OPAL_M32_WINDOW_TYPE and OPAL_M64_WINDOW_TYPE
const M32: u64 = 1;
const M64: u64 = 2;

/// OPAL_ENABLE_M64_SPLIT
const SPLIT: u64 = 1;

/// What of a PE freezes or thaws (OPAL_EEH_ACTION_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Freeze {
    /// Loads and stores of the processor.
    Mmio = 1,
    /// DMA.
    Dma = 2,
    /// Both.
    Both = 3,
}

/// What OPAL_PCI_EEH_FREEZE_STATUS says of a PE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreezeStatus {
    /// Bit 0: MMIO is frozen; bit 1: DMA is; 4 or more: a reset or an absent
    /// slot (OPAL_EEH_STOPPED_*).
    pub state: u8,
    /// OPAL_EEH_*_ERROR.
    pub kind: u16,
}

impl FreezeStatus {
    /// Whether configuration space and MMIO answer, DMA frozen or not.
    pub const fn answers(self) -> bool {
        self.state & !(Freeze::Dma as u8) == 0
    }

    /// Whether anything is frozen.
    pub const fn is_frozen(self) -> bool {
        self.state != 0
    }
}

/// What a reset reaches (OPAL_RESET_*), of what Pinion asks for. A whole PHB, 1,
/// and a slot by its reset line, 5, are left out: docs/hardware.md says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum ResetScope {
    /// Everything below a slot, by the link.
    Hot = 4,
    /// The IODA tables.
    IodaTable = 6,
}

/// What is reset: a PHB, or the slot below a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u64);

impl SlotId {
    /// The PHB itself.
    pub const fn phb(phb: u64) -> Self {
        Self(phb)
    }

    /// The slot below the bridge with this RID (skiboot include/pci-slot.h,
    /// PCI_SLOT_ID).
    pub const fn below(phb: u64, bridge: u16) -> Self {
        Self(1 << 63 | (bridge as u64) << 16 | phb)
    }
}

/// An error of a PHB that waits to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextError {
    /// The first frozen PE, where the error is one of a PE.
    pub pe: u64,
    /// OPAL_EEH_*_ERROR: 0 none, 1 IOC, 2 PHB, 3 PE, 4 its MMIO, 5 its DMA.
    pub kind: u16,
    /// OPAL_EEH_SEV_*: 0 none, 1 IOC dead, 2 PHB dead, 3 PHB fenced, 4 PE, 5 information.
    pub severity: u16,
}

/// What a TCE kill reaches (OPAL_PCI_TCE_KILL_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum TceKill {
    /// Some pages.
    Pages = 0,
    /// A PE.
    Pe = 1,
    /// The whole PHB.
    All = 2,
}

/// Where a function sends an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Bus address.
    pub address: u64,
    /// What is written there.
    pub data: u32,
}

/// A TCE table as OPAL_PCI_MAP_PE_DMA_WINDOW takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaWindow {
    /// Levels, 1 to 5.
    pub levels: u16,
    /// Real address of the root. Firmware does not check its alignment.
    pub root: u64,
    /// Bytes of a level; 0 disables the window.
    pub level_bytes: u64,
    /// Bytes of an IO page.
    pub page_bytes: u64,
}

impl DmaWindow {
    /// No window.
    pub const OFF: Self = Self {
        levels: 1,
        root: 0,
        level_bytes: 0,
        page_bytes: 0,
    };
}

/// All errors are what firmware says.
#[allow(clippy::missing_errors_doc)]
impl<R: RawOpal, W: Waiter> Opal<R, W> {
    fn pci(&self, token: Token, arguments: &[u64]) -> Result<i64, OpalError> {
        // SAFETY: used below for calls without pointers only.
        unsafe { self.retried(token, arguments) }
    }

    /// Reads 8 bits of config space.
    pub fn config_read8(&self, phb: u64, bdfn: u16, offset: u16) -> Result<u8, OpalError> {
        let mut data = 0u8;
        let pointer = &raw mut data as u64;
        let arguments = [phb, u64::from(bdfn), u64::from(offset), pointer];
        // SAFETY: one pointer, to a byte that lives until the call returns.
        unsafe { self.retried(Token::PciConfigRead8, &arguments)? };
        Ok(data)
    }

    /// Reads 16 bits of config space.
    pub fn config_read16(&self, phb: u64, bdfn: u16, offset: u16) -> Result<u16, OpalError> {
        let mut data = 0u16;
        let pointer = &raw mut data as u64;
        let arguments = [phb, u64::from(bdfn), u64::from(offset), pointer];
        // SAFETY: one pointer, to two bytes that live until the call returns.
        unsafe { self.retried(Token::PciConfigRead16, &arguments)? };
        Ok(u16::from_be(data))
    }

    /// Reads 32 bits of config space.
    pub fn config_read32(&self, phb: u64, bdfn: u16, offset: u16) -> Result<u32, OpalError> {
        let mut data = 0u32;
        let pointer = &raw mut data as u64;
        let arguments = [phb, u64::from(bdfn), u64::from(offset), pointer];
        // SAFETY: one pointer, to four bytes that live until the call returns.
        unsafe { self.retried(Token::PciConfigRead32, &arguments)? };
        Ok(u32::from_be(data))
    }

    /// Writes 8 bits of config space.
    pub fn config_write8(
        &self,
        phb: u64,
        bdfn: u16,
        offset: u16,
        value: u8,
    ) -> Result<(), OpalError> {
        let arguments = [phb, bdfn.into(), offset.into(), value.into()];
        self.pci(Token::PciConfigWrite8, &arguments).map(drop)
    }

    /// Writes 16 bits of config space.
    pub fn config_write16(
        &self,
        phb: u64,
        bdfn: u16,
        offset: u16,
        value: u16,
    ) -> Result<(), OpalError> {
        let arguments = [phb, bdfn.into(), offset.into(), value.into()];
        self.pci(Token::PciConfigWrite16, &arguments).map(drop)
    }

    /// Writes 32 bits of config space.
    pub fn config_write32(
        &self,
        phb: u64,
        bdfn: u16,
        offset: u16,
        value: u32,
    ) -> Result<(), OpalError> {
        let arguments = [phb, bdfn.into(), offset.into(), value.into()];
        self.pci(Token::PciConfigWrite32, &arguments).map(drop)
    }

    /// How a PE is frozen.
    pub fn freeze_status(&self, phb: u64, pe: u16) -> Result<FreezeStatus, OpalError> {
        let (mut state, mut kind) = (0u8, 0u16);
        let pointers = [&raw mut state as u64, &raw mut kind as u64];
        let arguments = [phb, pe.into(), pointers[0], pointers[1], 0];
        // SAFETY: pointers to a byte and to two bytes; the last may be null.
        unsafe { self.retried(Token::PciEehFreezeStatus, &arguments)? };
        Ok(FreezeStatus {
            state,
            kind: u16::from_be(kind),
        })
    }

    /// Ends a freeze of a PE.
    pub fn freeze_clear(&self, phb: u64, pe: u16, what: Freeze) -> Result<(), OpalError> {
        let arguments = [phb, pe.into(), what as u64];
        self.pci(Token::PciEehFreezeClear, &arguments).map(drop)
    }

    /// Freezes a PE.
    pub fn freeze_set(&self, phb: u64, pe: u16, what: Freeze) -> Result<(), OpalError> {
        let arguments = [phb, pe.into(), what as u64];
        self.pci(Token::PciEehFreezeSet, &arguments).map(drop)
    }

    /// Enables an M64 BAR, split evenly among all PEs.
    pub fn enable_m64_split(&self, phb: u64, number: u16) -> Result<(), OpalError> {
        let arguments = [phb, M64, number.into(), SPLIT];
        self.pci(Token::PciPhbMmioEnable, &arguments).map(drop)
    }

    /// Sets an M64 BAR's range, a power of two aligned to its size; the bus
    /// address is the same.
    pub fn set_m64(&self, phb: u64, number: u16, base: u64, size: u64) -> Result<(), OpalError> {
        let arguments = [phb, M64, number.into(), base, base, size];
        self.pci(Token::PciSetPhbMemWindow, &arguments).map(drop)
    }

    /// Gives an M32 segment to a PE.
    pub fn map_m32(&self, phb: u64, pe: u16, segment: u16) -> Result<(), OpalError> {
        let arguments = [phb, pe.into(), M32, 0, segment.into()];
        self.pci(Token::PciMapPeMmioWindow, &arguments).map(drop)
    }

    /// Maps RIDs to a PE, or unmaps them. `compare` is what of bus, device and
    /// function must match (7, 1, 1: all; 7, 0, 0: the bus; 0, 0, 0: nothing).
    pub fn set_pe(
        &self,
        phb: u64,
        pe: u16,
        bdfn: u16,
        compare: (u8, u8, u8),
        map: bool,
    ) -> Result<(), OpalError> {
        let (bus, device, function) = compare;
        let arguments = [
            phb,
            pe.into(),
            bdfn.into(),
            bus.into(),
            device.into(),
            function.into(),
            map.into(),
        ];
        self.pci(Token::PciSetPe, &arguments).map(drop)
    }

    /// Lets an error of `parent` freeze `child`, or no longer.
    pub fn set_peltv(&self, phb: u64, parent: u16, child: u16, on: bool) -> Result<(), OpalError> {
        let arguments = [phb, parent.into(), child.into(), on.into()];
        self.pci(Token::PciSetPeltv, &arguments).map(drop)
    }

    /// Gives an MSI vector of the PHB to a PE.
    pub fn set_xive_pe(&self, phb: u64, pe: u16, vector: u32) -> Result<(), OpalError> {
        let arguments = [phb, pe.into(), vector.into()];
        self.pci(Token::PciSetXivePe, &arguments).map(drop)
    }

    /// Address and data of a vector as a 32-bit MSI.
    pub fn msi32(&self, phb: u64, pe: u16, vector: u32) -> Result<MsiMessage, OpalError> {
        let (mut address, mut data) = (0u32, 0u32);
        let pointers = [&raw mut address as u64, &raw mut data as u64];
        let arguments = [phb, pe.into(), vector.into(), 1, pointers[0], pointers[1]];
        // SAFETY: two pointers, each to four bytes that live until the return.
        unsafe { self.retried(Token::GetMsi32, &arguments)? };
        Ok(MsiMessage {
            address: u32::from_be(address).into(),
            data: u32::from_be(data),
        })
    }

    /// Address and data of a vector as a 64-bit MSI.
    pub fn msi64(&self, phb: u64, pe: u16, vector: u32) -> Result<MsiMessage, OpalError> {
        let (mut address, mut data) = (0u64, 0u32);
        let pointers = [&raw mut address as u64, &raw mut data as u64];
        let arguments = [phb, pe.into(), vector.into(), 1, pointers[0], pointers[1]];
        // SAFETY: pointers to eight and to four bytes that live until the return.
        unsafe { self.retried(Token::GetMsi64, &arguments)? };
        Ok(MsiMessage {
            address: u64::from_be(address),
            data: u32::from_be(data),
        })
    }

    /// Points TVE `tve` (0 or 1) of a PE at a table, or disables it.
    pub fn map_dma_window(
        &self,
        phb: u64,
        pe: u16,
        tve: u16,
        window: &DmaWindow,
    ) -> Result<(), OpalError> {
        let arguments = [
            phb,
            pe.into(),
            u64::from(pe) * 2 + u64::from(tve & 1),
            window.levels.into(),
            window.root,
            window.level_bytes,
            window.page_bytes,
        ];
        self.pci(Token::PciMapPeDmaWindow, &arguments).map(drop)
    }

    /// Starts or ends a reset. `Some` is a wait in milliseconds, after which
    /// [`Opal::pci_poll`] is to be called.
    pub fn pci_reset(
        &self,
        slot: SlotId,
        scope: ResetScope,
        assert: bool,
    ) -> Result<Option<u64>, OpalError> {
        let arguments = [slot.0, scope as u64, assert.into()];
        self.pci(Token::PciReset, &arguments).map(wait)
    }

    /// Goes on with a reset.
    pub fn pci_poll(&self, slot: SlotId) -> Result<Option<u64>, OpalError> {
        self.pci(Token::PciPoll, &[slot.0]).map(wait)
    }

    /// Sets up in a function, after its reset, what firmware sets up at the
    /// start: error reporting, masks and severities of AER, ECRC, payload size,
    /// time-outs of completions (skiboot hw/phb4.c, phb4_device_init). A function
    /// that firmware did not find, as a virtual one, is a bad parameter.
    pub fn pci_reinit(&self, phb: u64, bdfn: u16) -> Result<(), OpalError> {
        /// OPAL_REINIT_PCI_DEV
        const DEVICE: u64 = 1000;
        self.pci(Token::PciReinit, &[phb, DEVICE, bdfn.into()])
            .map(drop)
    }

    /// The next error of a PHB.
    pub fn next_error(&self, phb: u64) -> Result<NextError, OpalError> {
        let (mut pe, mut kind, mut severity) = (0u64, 0u16, 0u16);
        let arguments = [
            phb,
            &raw mut pe as u64,
            &raw mut kind as u64,
            &raw mut severity as u64,
        ];
        // SAFETY: three pointers, to eight, two and two bytes.
        unsafe { self.retried(Token::PciNextError, &arguments)? };
        Ok(NextError {
            pe: u64::from_be(pe),
            kind: u16::from_be(kind),
            severity: u16::from_be(severity),
        })
    }

    /// What the PHB recorded of an error, into `buffer`, which has at least
    /// `ibm,phb-diag-data-size` bytes.
    pub fn phb_diag_data(&self, phb: u64, buffer: &mut [u8]) -> Result<(), OpalError> {
        let arguments = [phb, buffer.as_mut_ptr() as u64, buffer.len() as u64];
        // SAFETY: firmware writes at most as many bytes as it is told.
        unsafe { self.retried(Token::PciGetPhbDiagData2, &arguments) }.map(drop)
    }

    /// Invalidates cached TCEs: all, a PE's, or those of `pages` IO pages of
    /// `page_bytes` from `address` on.
    pub fn tce_kill(
        &self,
        phb: u64,
        kill: TceKill,
        pe: u16,
        page_bytes: u64,
        address: u64,
        pages: u64,
    ) -> Result<(), OpalError> {
        let arguments = [phb, kill as u64, pe.into(), page_bytes, address, pages];
        self.pci(Token::PciTceKill, &arguments).map(drop)
    }
}

fn wait(answer: i64) -> Option<u64> {
    u64::try_from(answer).ok().filter(|&wait| wait > 0)
}
