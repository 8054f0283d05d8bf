//! What a plan needs to know of a host bridge: windows and limits.

use super::address::{PeNumber, PhbId};
use crate::addr::{BusAddr, HostAddr};
use core::fmt;
use core::ops::RangeInclusive;

/// The host bridge's generation: it decides limits, never features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// POWER8.
    Phb3,
    /// POWER9.
    Phb4,
    /// POWER10.
    Phb5,
}

impl Generation {
    /// Least size and alignment of an M64 window in bytes, as firmware checks
    /// it (skiboot `hw/phb3.c`, `hw/phb4.c`, `*_set_phb_mem_window`).
    pub const fn smallest_m64(self) -> u64 {
        match self {
            Self::Phb3 => 1 << 20,
            Self::Phb4 | Self::Phb5 => 4 << 10,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Phb3 => "PHB3",
            Self::Phb4 => "PHB4",
            Self::Phb5 => "PHB5",
        })
    }
}

/// A range of PCI memory space and where the processor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First byte on the bus.
    pub bus: BusAddr,
    /// The same byte for the processor.
    pub host: HostAddr,
    /// Bytes.
    pub size: u64,
}

impl Window {
    /// Where the processor sees `[address, address + size)`, or `None` if that
    /// does not lie inside.
    pub fn host_of(&self, address: BusAddr, size: u64) -> Option<HostAddr> {
        let offset = address.checked_sub(self.bus)?;
        if offset.checked_add(size)? > self.size {
            return None;
        }
        self.host.checked_add(offset)
    }

    fn overflows(&self) -> bool {
        self.size == 0
            || self.bus.checked_add(self.size - 1).is_none()
            || self.host.checked_add(self.size - 1).is_none()
    }
}

/// What the device tree says of a PHB, unchecked.
#[derive(Clone, Debug)]
pub struct PhbDescription {
    /// Its number.
    pub id: PhbId,
    /// From `compatible`.
    pub generation: Generation,
    /// `bus-range`.
    pub buses: RangeInclusive<u8>,
    /// `ibm,opal-num-pes`.
    pub pes: u32,
    /// `ibm,opal-reserved-pe`.
    pub reserved: u32,
    /// The memory entry of `ranges`.
    pub m32: Window,
    /// `ibm,opal-m64-window`; absent where there is none.
    pub m64: Option<Window>,
    /// Numbers of the M64 BARs from `ibm,opal-available-m64-ranges`.
    pub m64_bars: RangeInclusive<u16>,
    /// Message vectors, from `ibm,opal-msi-ranges`; 0 where there are none.
    pub vectors: u32,
    /// Bytes of configuration space that can be reached: 256 or 4096.
    pub config_size: u16,
}

/// Entries of the largest table of message vectors.
pub const MOST_VECTORS: u32 = 4096;

/// Why a PHB is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhbFault {
    /// PE counts that OPAL cannot name or the tables cannot have.
    #[error("{0} PEs: expected a power of two from 2 to 512")]
    PeCount(u32),
    /// The reserved PE is not one of them.
    #[error("reserved PE {reserved} of {pes} PEs")]
    Reserved {
        /// Its number.
        reserved: u32,
        /// How many there are.
        pes: u32,
    },
    /// A window is empty, wraps, or M32 leaves the low 4 GB or is misaligned.
    #[error(
        "{name} window of {size:#x} bytes at bus address {bus} is empty, misaligned or out of range"
    )]
    Window {
        /// "M32" or "M64".
        name: &'static str,
        /// First byte on the bus.
        bus: BusAddr,
        /// Bytes.
        size: u64,
    },
    /// The bus range is empty.
    #[error("bus range {first:#x}..{last:#x} is empty")]
    Buses {
        /// First bus.
        first: u8,
        /// Last bus.
        last: u8,
    },
    /// More than a PHB's table has.
    #[error("{0} message vectors: expected up to {MOST_VECTORS}")]
    Vectors(u32),
    /// Neither 256 nor 4096.
    #[error("configuration space of {0} bytes")]
    ConfigSize(u16),
}

/// The range that the last M64 BAR splits evenly among the PEs: segment n
/// belongs to PE n, which no call can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitWindow {
    /// Power of two, aligned to its size.
    pub window: Window,
    /// Number of the M64 BAR.
    pub bar: u16,
    /// Bytes of a segment, a power of two.
    pub segment: u64,
}

/// A host bridge whose description holds together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhbInfo {
    id: PhbId,
    generation: Generation,
    first_bus: u8,
    last_bus: u8,
    pes: u16,
    reserved: PeNumber,
    m32: Window,
    m32_segment: u64,
    m64: Option<SplitWindow>,
    vf_bars: u16,
    first_vf_bar: u16,
    vectors: u16,
    config_size: u16,
}

impl PhbInfo {
    /// Checks a description.
    pub fn new(from: &PhbDescription) -> Result<Self, PhbFault> {
        if !from.pes.is_power_of_two() || !(2..=512).contains(&from.pes) {
            return Err(PhbFault::PeCount(from.pes));
        }
        if from.reserved >= from.pes {
            return Err(PhbFault::Reserved {
                reserved: from.reserved,
                pes: from.pes,
            });
        }
        if from.buses.is_empty() {
            return Err(PhbFault::Buses {
                first: *from.buses.start(),
                last: *from.buses.end(),
            });
        }
        if from.config_size != 256 && from.config_size != 4096 {
            return Err(PhbFault::ConfigSize(from.config_size));
        }
        if from.vectors > MOST_VECTORS {
            return Err(PhbFault::Vectors(from.vectors));
        }
        let pes = from.pes as u16;
        let (m32, m32_segment) = check_m32(from.m32, pes)?;
        let m64 = match from.m64 {
            Some(window) if !from.m64_bars.is_empty() => Some(check_m64(
                window,
                pes,
                *from.m64_bars.end(),
                from.generation,
            )?),
            _ => None,
        };
        let first_vf_bar = *from.m64_bars.start();
        let vf_bars = if m64.is_some() {
            *from.m64_bars.end() - first_vf_bar
        } else {
            0
        };
        Ok(Self {
            id: from.id,
            generation: from.generation,
            first_bus: *from.buses.start(),
            last_bus: *from.buses.end(),
            pes,
            reserved: PeNumber::new(from.reserved as u16),
            m32,
            m32_segment,
            m64,
            vf_bars,
            first_vf_bar,
            vectors: from.vectors as u16,
            config_size: from.config_size,
        })
    }

    /// Its number.
    pub fn id(&self) -> PhbId {
        self.id
    }

    /// Its generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Bus of the root port.
    pub fn first_bus(&self) -> u8 {
        self.first_bus
    }

    /// Highest bus number.
    pub fn last_bus(&self) -> u8 {
        self.last_bus
    }

    /// Number of PEs, the reserved one included.
    pub fn pes(&self) -> u16 {
        self.pes
    }

    /// The PE of everything unassigned: its TVEs stay zero.
    pub fn reserved(&self) -> PeNumber {
        self.reserved
    }

    /// The 32-bit memory window.
    pub fn m32(&self) -> Window {
        self.m32
    }

    /// Bytes of an M32 segment; any segment can belong to any PE.
    pub fn m32_segment(&self) -> u64 {
        self.m32_segment
    }

    /// M32 segments that lie wholly in the window. The last one does not: the
    /// top 64K of the window are the address of 32-bit MSIs.
    pub fn m32_segments(&self) -> u16 {
        // At most 512 by construction.
        (self.m32.size / self.m32_segment) as u16
    }

    /// The 64-bit window split among the PEs, if there is one.
    pub fn m64(&self) -> Option<SplitWindow> {
        self.m64
    }

    /// M64 BARs below the split one, free for virtual functions' registers.
    /// A lower-numbered BAR wins where two overlap (inferred from Linux's use
    /// of the last one as the default; not tried on hardware).
    pub fn vf_bars(&self) -> core::ops::Range<u16> {
        self.first_vf_bar..self.first_vf_bar + self.vf_bars
    }

    /// Message vectors, numbered from 0: those that firmware's calls give to
    /// PEs. The table has more, for lines.
    pub fn vectors(&self) -> u16 {
        self.vectors
    }

    /// Bytes of configuration space: 256 or 4096.
    pub fn config_size(&self) -> u16 {
        self.config_size
    }
}

fn check_m32(window: Window, pes: u16) -> Result<(Window, u64), PhbFault> {
    let fault = PhbFault::Window {
        name: "M32",
        bus: window.bus,
        size: window.size,
    };
    if window.overflows() || window.size > 1 << 32 {
        return Err(fault);
    }
    let full = window.size.next_power_of_two();
    let segment = full / u64::from(pes);
    let end = window.bus.get() + window.size;
    // Bridges place non-prefetchable memory in units of 1 MB below 4 GB.
    if end > 1 << 32 || segment < 1 << 20 || !window.bus.get().is_multiple_of(full) {
        return Err(fault);
    }
    Ok((window, segment))
}

fn check_m64(
    window: Window,
    pes: u16,
    bar: u16,
    generation: Generation,
) -> Result<SplitWindow, PhbFault> {
    let fault = PhbFault::Window {
        name: "M64",
        bus: window.bus,
        size: window.size,
    };
    if window.overflows() || window.bus.get() != window.host.get() {
        // The M64 BAR matches host addresses and passes them on unchanged.
        return Err(fault);
    }
    // The largest power of two that fits and is aligned to itself at the base.
    let aligned = 1u64 << window.bus.get().trailing_zeros().min(63);
    let size = aligned.min(1 << window.size.ilog2());
    let segment = size / u64::from(pes);
    if segment < 1 << 20 || size < generation.smallest_m64() {
        return Err(fault);
    }
    Ok(SplitWindow {
        window: Window { size, ..window },
        bar,
        segment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> PhbDescription {
        PhbDescription {
            id: PhbId::new(0),
            generation: Generation::Phb4,
            buses: 0..=255,
            pes: 512,
            reserved: 511,
            m32: Window {
                bus: BusAddr::new(0x8000_0000),
                host: HostAddr::new(0x600_c000_0000),
                size: 0x7fff_0000,
            },
            m64: Some(Window {
                bus: BusAddr::new(0x40_0000_0000),
                host: HostAddr::new(0x40_0000_0000),
                size: 64 << 30,
            }),
            m64_bars: 1..=31,
            vectors: 0xff8,
            config_size: 4096,
        }
    }

    #[test]
    fn a_power9_bridge_has_4_mb_segments() {
        let phb = PhbInfo::new(&description()).unwrap();
        assert_eq!(phb.m32_segment(), 4 << 20);
        assert_eq!(phb.m32_segments(), 511);
        assert_eq!(phb.m64().unwrap().segment, 128 << 20);
        assert_eq!(phb.vf_bars(), 1..31);
    }

    #[test]
    fn descriptions_that_do_not_hold_together_are_refused() {
        let refuse = |change: &dyn Fn(&mut PhbDescription)| {
            let mut it = description();
            change(&mut it);
            PhbInfo::new(&it).unwrap_err()
        };
        assert_eq!(refuse(&|p| p.pes = 0), PhbFault::PeCount(0));
        assert_eq!(refuse(&|p| p.pes = 100), PhbFault::PeCount(100));
        assert_eq!(
            refuse(&|p| p.reserved = 512),
            PhbFault::Reserved {
                reserved: 512,
                pes: 512
            }
        );
        assert_eq!(refuse(&|p| p.config_size = 0), PhbFault::ConfigSize(0));
        assert!(matches!(
            refuse(&|p| p.m32.size = 0),
            PhbFault::Window { name: "M32", .. }
        ));
        assert!(matches!(
            refuse(&|p| p.m32.bus = BusAddr::new(0xc000_0000)),
            PhbFault::Window { .. }
        ));
        assert!(matches!(
            refuse(&|p| p.m64 = Some(Window {
                size: u64::MAX,
                ..p.m64.unwrap()
            })),
            PhbFault::Window { name: "M64", .. }
        ));
    }
}
