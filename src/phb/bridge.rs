//! One PHB: its lock, its registers, firmware's calls for it.

use super::fault::by_firmware;
use super::ioda::{IodaTable, Tables};
use super::kill::{Kill, QuickKill};
use super::lock::PhbLock;
use super::{Pest, PhbFault, PhbHardware};
use crate::addr::HostAddr;
use crate::audit::Expected;
use crate::opal::gate::Gate;
use crate::opal::pci::{DmaWindow, Freeze, FreezeStatus, NextError, TceKill};
use crate::opal::{Opal, OpalError, RawOpal, Waiter};
use crate::pci::{Bdfn, Generation};
use crate::seam::{DmaTable, KillScope, KillStyle, PhbError, TableLimits, TveSelect};
use crate::tce::tve::Tve;
use spin::Mutex;

/// Most pages for which PHB3 is cheaper killed page by page.
const PAGES3: u64 = 8;

/// Who kills TCEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillPath {
    /// Pinion, at the register.
    Register,
    /// OPAL_PCI_TCE_KILL, which PHB3 does not have.
    Firmware,
}

/// What is fixed about a PHB.
#[derive(Clone, Copy, Debug)]
pub struct PhbSetup {
    /// `ibm,opal-phbid`.
    pub id: u64,
    /// Which registers it has.
    pub generation: Generation,
    /// Number of PEs.
    pub pes: u16,
    /// The PE of what belongs to no other.
    pub reserved: u16,
    /// Who kills TCEs.
    pub kill: KillPath,
    /// IO page sizes: bit `n` for pages of `1 << n` bytes.
    pub page_shifts: u64,
    /// RIDs to PEs, in memory: 65536 entries of two bytes.
    pub rtt: Option<HostAddr>,
    /// States of PEs, in memory: 16 bytes for each PE.
    pub pest: Option<HostAddr>,
}

/// A way to kill a PE at the PHB's registers, without a choice to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quick {
    None,
    Phb4,
    Phb5,
}

/// A PHB.
pub struct Phb<'o, H, F, W> {
    setup: PhbSetup,
    hardware: H,
    opal: &'o Opal<F, W>,
    gate: &'o Gate,
    lock: PhbLock,
    // How a PE is killed in the shortest way, if there is one.
    quick: Quick,
    // What the tables should hold by now: for the audit.
    expected: Mutex<Option<Expected>>,
}

impl<'o, H: PhbHardware, F: RawOpal, W: Waiter> Phb<'o, H, F, W> {
    /// The PHB `setup`. `gate` is the one in front of the same firmware.
    pub const fn new(setup: PhbSetup, hardware: H, opal: &'o Opal<F, W>, gate: &'o Gate) -> Self {
        let quick = match (setup.generation, setup.kill) {
            (Generation::Phb4, KillPath::Register) => Quick::Phb4,
            (Generation::Phb5, KillPath::Register) => Quick::Phb5,
            _ => Quick::None,
        };
        Self {
            setup,
            hardware,
            opal,
            gate,
            lock: PhbLock::new(),
            quick,
            expected: Mutex::new(None),
        }
    }

    /// What is fixed about it.
    pub const fn setup(&self) -> &PhbSetup {
        &self.setup
    }

    /// From here on `expected` follows each step that is carried out.
    pub fn watch(&self, expected: Expected) {
        *self.expected.lock() = Some(expected);
    }

    /// What the tables should hold by now; `None` before [`Self::watch`].
    /// Whoever changes a table past the steps changes it here too.
    pub fn expect<T>(&self, what: impl FnOnce(&mut Expected) -> T) -> Option<T> {
        self.expected.lock().as_mut().map(what)
    }

    /// Time and barriers.
    pub(super) const fn hardware(&self) -> &H {
        &self.hardware
    }

    /// Calls firmware for this PHB, under its lock. `what` gets firmware and
    /// the PHB's number; it neither locks a PHB nor waits.
    pub fn call<T>(&self, what: impl FnOnce(&Opal<F, W>, u64) -> T) -> T {
        let _lock = self.lock.lock();
        what(self.opal, self.setup.id)
    }

    /// Reads tables inside the PHB, with firmware kept out. `what` calls no
    /// firmware: it would be refused.
    pub fn with_tables<T>(&self, what: impl FnOnce(&Tables<'_, H>) -> T) -> T {
        let _lock = self.lock.lock();
        let _closed = self.gate.close(self.hardware.thread());
        what(&Tables::new(&self.hardware))
    }

    /// Which kill is right here.
    pub const fn kill_style(&self) -> KillStyle {
        match (self.setup.generation, self.setup.kill) {
            (Generation::Phb3, KillPath::Register) => KillStyle::Pages { limit: PAGES3 },
            _ => KillStyle::Pe,
        }
    }

    /// The tables that it can walk.
    pub const fn table_limits(&self) -> TableLimits {
        TableLimits {
            page_shifts: self.setup.page_shifts,
            levels: crate::tce::shape::MAX_LEVELS,
        }
    }

    /// See [`crate::seam::PhbPort::kill`].
    ///
    /// # Errors
    /// Fenced, not complete in time, or firmware's refusal.
    #[inline]
    pub fn kill(&self, pe: u16, scope: KillScope) -> Result<(), PhbError> {
        if self.setup.kill == KillPath::Firmware {
            return self.kill_by_firmware(pe, scope);
        }
        let _lock = self.lock.lock();
        self.hardware.quickly(Kill {
            generation: self.setup.generation,
            pe,
            scope,
        })
    }

    /// See [`crate::seam::PhbPort::kill_quickly`].
    #[inline(always)] // A call is a sixth of what it costs.
    pub fn kill_quickly(&self, pe: u16) -> bool {
        if self.quick == Quick::None {
            return false;
        }
        let Some(_lock) = self.lock.try_lock() else {
            return false;
        };
        let is_phb5 = self.quick == Quick::Phb5;
        let complete = self.hardware.unwatched(QuickKill { pe, is_phb5 });
        complete.unwrap_or(false)
    }

    #[cold]
    fn kill_by_firmware(&self, pe: u16, scope: KillScope) -> Result<(), PhbError> {
        let kind = match scope {
            KillScope::All => TceKill::All,
            KillScope::Pe | KillScope::Pages { .. } => TceKill::Pe,
        };
        self.hardware.barrier();
        self.call(|opal, phb| opal.tce_kill(phb, kind, pe, 0x1000, 0, 0))
            .map_err(by_firmware)
    }

    /// Points a TVE at a table or disables it, by firmware, and reads it back.
    ///
    /// # Errors
    /// A table that no TVE can name, firmware's refusal, or another value read
    /// back.
    pub fn set_tve(
        &self,
        pe: u16,
        tve: TveSelect,
        table: Option<&DmaTable>,
    ) -> Result<(), PhbError> {
        let (window, value) = match table {
            None => (DmaWindow::OFF, Tve::DISABLED),
            Some(table) => {
                // Firmware cuts off what is not aligned: checked here.
                let value = Tve::new(table).map_err(|_| PhbError::Firmware(-1))?;
                let window = DmaWindow {
                    levels: table.levels as u16,
                    root: table.root.get(),
                    level_bytes: 1 << table.level_shift,
                    page_bytes: 1 << table.page_shift,
                };
                (window, value)
            }
        };
        let number = number(tve);
        self.call(|opal, phb| opal.map_dma_window(phb, pe, number, &window))
            .map_err(by_firmware)?;
        match self.tve(pe, tve)? {
            read if read == value => Ok(()),
            read => Err(PhbError::ReadBack(read.bits())),
        }
    }

    /// A TVE as it is in the PHB.
    ///
    /// # Errors
    /// The PHB is fenced.
    pub fn tve(&self, pe: u16, tve: TveSelect) -> Result<Tve, PhbError> {
        let index = pe * 2 + number(tve);
        match self.with_tables(|tables| tables.read(IodaTable::Tvt, index)) {
            u64::MAX => Err(PhbError::Fenced),
            bits => Ok(Tve::from_bits(bits)),
        }
    }

    /// Stops MMIO and DMA of a PE.
    ///
    /// # Errors
    /// Firmware's refusal.
    pub fn freeze(&self, pe: u16) -> Result<(), PhbError> {
        self.call(|opal, phb| opal.freeze_set(phb, pe, Freeze::Both))
            .map_err(by_firmware)
    }

    /// Ends a freeze of a PE.
    ///
    /// # Errors
    /// Firmware's refusal.
    pub fn clear_freeze(&self, pe: u16) -> Result<(), PhbError> {
        self.call(|opal, phb| opal.freeze_clear(phb, pe, Freeze::Both))
            .map_err(by_firmware)
    }

    /// Lets MMIO and configuration space of a frozen PE answer again; its DMA
    /// stays stopped.
    ///
    /// # Errors
    /// Firmware's refusal.
    pub fn thaw_mmio(&self, pe: u16) -> Result<(), PhbError> {
        self.call(|opal, phb| opal.freeze_clear(phb, pe, Freeze::Mmio))
            .map_err(by_firmware)
    }

    /// Lets a function that looked absent be asked again; DMA of its PE stays
    /// as it is.
    pub(super) fn answer_again(&self, function: Bdfn) -> Result<(), PhbFault> {
        let pe = self.pe_of(function).unwrap_or(self.setup.reserved);
        Ok(self.thaw_mmio(pe)?)
    }

    /// How a PE is frozen.
    ///
    /// # Errors
    /// Firmware's refusal.
    pub fn freeze_status(&self, pe: u16) -> Result<FreezeStatus, OpalError> {
        self.call(|opal, phb| opal.freeze_status(phb, pe))
    }

    /// The next error that waits to be served.
    ///
    /// # Errors
    /// Firmware's refusal.
    pub fn next_error(&self) -> Result<NextError, OpalError> {
        self.call(Opal::next_error)
    }

    /// What the PHB recorded of its last error, into `buffer`. An error without
    /// consequence counts as served by it (skiboot hw/phb3.c,
    /// phb3_get_diag_data): until then it is the next error each time.
    ///
    /// # Errors
    /// Firmware's refusal: a buffer below `ibm,phb-diag-data-size`, or a PHB that
    /// is dead.
    pub fn diag_data(&self, buffer: &mut [u8]) -> Result<(), OpalError> {
        self.call(|opal, phb| opal.phb_diag_data(phb, buffer))
    }

    /// What the PHB recorded of a PE's error, where its table is known.
    pub fn pest(&self, pe: u16) -> Option<Pest> {
        let at = self.setup.pest?.checked_add(u64::from(pe) * 16)?;
        Some(Pest {
            word0: self.hardware.memory64(at),
            word1: self.hardware.memory64(at.checked_add(8)?),
        })
    }

    /// The PE that a RID belongs to, as the PHB sees it.
    pub fn pe_of(&self, function: Bdfn) -> Option<u16> {
        let at = u64::from(function.rid()) * 2;
        let pe = self.hardware.memory16(self.setup.rtt?.checked_add(at)?);
        (pe < self.setup.pes).then_some(pe)
    }

    /// An access to an absent function freezes the PE of its RID, and all
    /// others of that PE would look absent too (skiboot core/pci.c,
    /// pci_check_clear_freeze).
    pub(super) fn end_probe(&self, function: Bdfn) -> Result<(), PhbFault> {
        let pe = self.pe_of(function).unwrap_or(self.setup.reserved);
        if self.freeze_status(pe)?.is_frozen() {
            self.clear_freeze(pe)?;
        }
        Ok(())
    }
}

fn number(tve: TveSelect) -> u16 {
    match tve {
        TveSelect::Low => 0,
        TveSelect::High => 1,
    }
}
