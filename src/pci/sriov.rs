//! Virtual functions: the SR-IOV capability and the RIDs it yields.

use super::address::Bdfn;
use super::bar::{self, Bar, BarFault, BarKind, Probe};
use super::config::{ConfigAccess, ConfigError, Registers};
use super::problem::Fault;
use super::registers::sriov as reg;
use super::topology::VfSet;

/// The page size asked for, so that no two partitions find their functions'
/// registers within one 64K page. Every SR-IOV function must support it
/// (SR-IOV 1.1, 3.3.13); one that ignores it is used down to [`SMALLEST_BAR`].
pub const SYSTEM_PAGE: u64 = 64 << 10;

/// Below this two virtual functions would share a page of a partition's MMIO.
pub const SMALLEST_BAR: u64 = 4 << 10;

/// SR-IOV capability of a physical function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sriov {
    /// Its offset in bytes.
    pub offset: u16,
    /// Functions that can be enabled at most.
    pub total: u16,
    /// Device id of the virtual functions.
    pub device: u16,
    /// Page sizes supported: bit n is 4096 << n bytes.
    pub pages: u32,
}

/// Reads the capability at `offset`.
pub fn read<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    offset: u16,
) -> Result<Sriov, ConfigError> {
    Ok(Sriov {
        offset,
        total: registers.read16(offset + reg::TOTAL_VFS)?,
        device: registers.read16(offset + reg::VF_DEVICE)?,
        pages: registers.read32(offset + reg::SUPPORTED_PAGES)?,
    })
}

/// Why virtual functions are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VfFault {
    /// More were asked for than there are.
    #[error("{wanted} virtual functions asked for, the function has {total}")]
    TooMany {
        /// The request.
        wanted: u16,
        /// TotalVFs.
        total: u16,
    },
    /// The number did not stay in NumVFs.
    #[error("NumVFs reads {read} after {written} was written")]
    Stuck {
        /// What was written.
        written: u16,
        /// What came back.
        read: u16,
    },
    /// They were on, and stay so.
    #[error("VF Enable stays on: control reads {0:#x}")]
    StayOn(u16),
    /// Offset and stride lead nowhere, or two functions to one RID.
    #[error(
        "VF offset {offset:#x} and stride {stride:#x} give no distinct RIDs on the bridge's buses"
    )]
    Rids {
        /// First VF Offset.
        offset: u16,
        /// VF Stride.
        stride: u16,
    },
    /// Pages of 64K are not supported or cannot be set.
    #[error("64K system pages not supported: supported sizes {supported:#x}")]
    Pages {
        /// The supported page sizes register.
        supported: u32,
    },
    /// A VF BAR lies.
    #[error("VF BAR {index}: {fault}")]
    Bar {
        /// Register number.
        index: u8,
        /// How.
        fault: BarFault,
    },
    /// Their PEs must be consecutive, and there is no such run.
    #[error("no run of {count} PEs left: the PHB has {pes}")]
    NoPes {
        /// How many are needed.
        count: u16,
        /// How many the PHB has.
        pes: u16,
    },
    /// A VF BAR is IO or smaller than a page.
    #[error("VF BAR {index} of {size:#x} bytes is no memory of at least a page")]
    Kind {
        /// Register number.
        index: u8,
        /// Bytes per virtual function.
        size: u64,
    },
}

/// Where a physical function's virtual functions are, once NumVFs is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VfRange {
    /// How many.
    pub count: u16,
    /// Distance of the first RID from the physical function's.
    pub offset: u16,
    /// Distance between two RIDs; meaningless for one function.
    pub stride: u16,
}

impl VfRange {
    /// The RID of virtual function `number` (0 is the first), or `None` out of
    /// range.
    pub fn rid(&self, physical: Bdfn, number: u16) -> Option<Bdfn> {
        if number >= self.count {
            return None;
        }
        let distance = u32::from(self.offset) + u32::from(self.stride) * u32::from(number);
        physical.checked_add(distance)
    }
}

/// Turns off what an earlier system left on: virtual functions decode and master
/// the bus whatever their physical one's command register says.
///
/// # Errors
/// They stay on, or configuration space refuses.
pub fn turn_off<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    sriov: &Sriov,
) -> Result<(), Fault> {
    let (at, on) = (sriov.offset + reg::CONTROL, reg::VF_ENABLE | reg::VF_MEMORY);
    let before = registers.read16(at).map_err(Fault::Config)?;
    if before & on == 0 {
        return Ok(());
    }
    registers.write16(at, before & !on).map_err(Fault::Config)?;
    // SR-IOV 1.1, 3.3.3.1: until then they may be going.
    registers.pause(1000);
    let read = registers.read16(at).map_err(Fault::Config)?;
    if read & on != 0 {
        return Err(Fault::Virtual(VfFault::StayOn(read)));
    }
    Ok(())
}

/// Sets NumVFs and the page size and reads where the functions will be and
/// what each needs. The functions stay disabled: [`super::steps`] enables them
/// once their PEs are up.
///
/// `last_bus` is the highest bus that the bridge above forwards.
pub fn prepare<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    sriov: &Sriov,
    wanted: u16,
    ari: bool,
    last_bus: u8,
) -> Result<VfSet, Fault> {
    if wanted > sriov.total {
        return Err(Fault::Virtual(VfFault::TooMany {
            wanted,
            total: sriov.total,
        }));
    }
    if u64::from(sriov.pages) & (SYSTEM_PAGE >> 12) == 0 {
        return Err(Fault::Virtual(VfFault::Pages {
            supported: sriov.pages,
        }));
    }
    let range = set_count(registers, sriov.offset, wanted, ari).map_err(Fault::Config)?;
    if range.count != wanted {
        return Err(Fault::Virtual(VfFault::Stuck {
            written: wanted,
            read: range.count,
        }));
    }
    if !distinct(&range, registers.function().bdfn, last_bus) {
        let (offset, stride) = (range.offset, range.stride);
        return Err(Fault::Virtual(VfFault::Rids { offset, stride }));
    }
    let bars = read_bars(registers, sriov.offset + reg::VF_BAR0)?;
    Ok(VfSet { range, bars, ari })
}

/// What came of setting NumVFs: the count as read back, offset and stride.
fn set_count<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    base: u16,
    wanted: u16,
    ari: bool,
) -> Result<VfRange, ConfigError> {
    // Offset and stride depend on NumVFs and on ARI, and NumVFs can change
    // only while VF Enable is clear.
    let control = if ari { reg::ARI_HIERARCHY } else { 0 };
    registers.write16(base + reg::CONTROL, control)?;
    registers.write32(base + reg::SYSTEM_PAGE, (SYSTEM_PAGE >> 12) as u32)?;
    registers.write16(base + reg::NUM_VFS, wanted)?;
    Ok(VfRange {
        count: registers.read16(base + reg::NUM_VFS)?,
        offset: registers.read16(base + reg::FIRST_OFFSET)?,
        stride: registers.read16(base + reg::STRIDE)?,
    })
}

fn read_bars<C: ConfigAccess + ?Sized>(
    registers: &mut Registers<'_, C>,
    first: u16,
) -> Result<[Option<Bar>; 6], Fault> {
    let mut bars = [None; 6];
    let mut index = 0;
    while index < 6 {
        match bar::probe(registers, first, index, 6).map_err(Fault::Config)? {
            Probe::Absent => index += 1,
            Probe::Faulty(fault, _) => {
                return Err(Fault::Virtual(VfFault::Bar { index, fault }));
            }
            Probe::Present(found, used) => {
                if found.kind == BarKind::Io || found.size < SMALLEST_BAR {
                    return Err(Fault::Virtual(VfFault::Kind {
                        index,
                        size: found.size,
                    }));
                }
                bars[usize::from(index)] = Some(found);
                index += used;
            }
        }
    }
    Ok(bars)
}

fn distinct(range: &VfRange, physical: Bdfn, last_bus: u8) -> bool {
    if range.offset == 0 || (range.count > 1 && range.stride == 0) {
        return false;
    }
    match range.count.checked_sub(1) {
        None => true,
        Some(last) => range
            .rid(physical, last)
            .is_some_and(|rid| rid.bus() <= last_bus),
    }
}
