//! A PHB that executes steps and refuses those that come in the wrong order,
//! judged by what lies in its tables and in the functions' registers.

use super::tree::{NodeId, SimPci};
use crate::pci::function::Command;
use crate::pci::registers as reg;
use crate::pci::steps::{Step, Width};
use crate::pci::{ConfigAccess, ConfigError, FunctionId, PeNumber, PhbInfo};
use std::collections::BTreeSet;

/// Why a step is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderFault {
    /// The tables were not reset first.
    NotReset,
    /// No such PE, segment or M64 BAR, or the reserved PE is to have a window.
    Number,
    /// An M64 BAR that is already enabled, or enabled without a range.
    M64,
    /// A register did not take its value.
    ReadBack(FunctionId),
    /// A BAR changes while its function decodes memory.
    Decoding(FunctionId),
    /// Memory decoding with a BAR outside the segments of the function's PE.
    Segment(FunctionId),
    /// Memory decoding below a bridge that does not pass the BAR.
    NotPassed(FunctionId),
    /// A window for a PE without RIDs, without its own PELT-V bit, or frozen.
    NotUp(PeNumber),
    /// Bus mastering before the PE's window is open and its TCEs killed.
    NotLive(FunctionId),
    /// Bus mastering while the function's PE may send messages that nobody gave
    /// it.
    Vectors(FunctionId),
    /// The window goes while a function may still use it, or a function is
    /// reset or remapped while it may.
    StillMaster(FunctionId),
    /// Configuration space refused.
    Config(ConfigError),
}

/// State of a PE's DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dma {
    Closed,
    /// Open, TCEs not killed yet.
    Open,
    Live,
}

#[derive(Clone, Copy, Debug, Default)]
struct M64 {
    base: u64,
    size: u64,
    enabled: bool,
}

/// The model.
pub struct SimPhb {
    info: PhbInfo,
    reset: bool,
    rtt: Vec<PeNumber>,
    peltv: BTreeSet<(PeNumber, PeNumber)>,
    m32: Vec<PeNumber>,
    m64: Vec<M64>,
    vectors: Vec<PeNumber>,
    dma: Vec<Dma>,
    frozen: Vec<bool>,
    masters: BTreeSet<FunctionId>,
}

impl SimPhb {
    /// A PHB as firmware leaves it: every PE frozen, nothing set.
    pub fn new(info: &PhbInfo) -> Self {
        let pes = usize::from(info.pes());
        Self {
            info: info.clone(),
            reset: false,
            rtt: vec![info.reserved(); 1 << 16],
            peltv: BTreeSet::new(),
            m32: vec![PeNumber::new(0); pes],
            m64: vec![M64::default(); 64],
            // Where a reset leaves them.
            vectors: vec![PeNumber::new(0); info.vectors().into()],
            dma: vec![Dma::Closed; pes],
            frozen: vec![true; pes],
            masters: BTreeSet::new(),
        }
    }

    /// The PE that a RID belongs to.
    pub fn pe_of(&self, function: FunctionId) -> PeNumber {
        self.rtt[usize::from(function.bdfn.rid())]
    }

    /// Whether an error of `parent` freezes `child`.
    pub fn freezes(&self, parent: PeNumber, child: PeNumber) -> bool {
        self.peltv.contains(&(parent, child))
    }

    /// Functions that may master the bus, bridges left out.
    pub fn masters(&self) -> impl Iterator<Item = FunctionId> + '_ {
        self.masters.iter().copied()
    }

    /// Executes a list; the first refused step with its fault.
    pub fn run(&mut self, pci: &mut SimPci, steps: &[Step]) -> Result<(), (Step, OrderFault)> {
        steps
            .iter()
            .try_for_each(|step| self.step(pci, *step).map_err(|fault| (*step, fault)))
    }

    fn step(&mut self, pci: &mut SimPci, step: Step) -> Result<(), OrderFault> {
        if !self.reset && step != Step::ResetIoda {
            return Err(OrderFault::NotReset);
        }
        match step {
            Step::ResetIoda => {
                *self = Self {
                    reset: true,
                    ..Self::new(&self.info)
                }
            }
            Step::SetM64 { number, base, size } => {
                let bar = self
                    .m64
                    .get_mut(usize::from(number))
                    .ok_or(OrderFault::Number)?;
                if bar.enabled || !size.is_power_of_two() || base.get() % size != 0 {
                    return Err(OrderFault::M64);
                }
                *bar = M64 {
                    base: base.get(),
                    size,
                    enabled: false,
                };
            }
            Step::SplitM64 { number } => {
                let bar = self
                    .m64
                    .get_mut(usize::from(number))
                    .ok_or(OrderFault::Number)?;
                if bar.size == 0 {
                    return Err(OrderFault::M64);
                }
                bar.enabled = true;
            }
            Step::MapM32 { segment, pe } => {
                self.known(pe)?;
                *self
                    .m32
                    .get_mut(usize::from(segment))
                    .ok_or(OrderFault::Number)? = pe;
            }
            Step::MapVectors { count, pe } => {
                self.known(pe)?;
                let vectors = self.vectors.get_mut(..usize::from(count));
                vectors.ok_or(OrderFault::Number)?.fill(pe);
            }
            Step::MapRids { pe, rids } => self.map_rids(pe, rids)?,
            Step::ClearFreeze { pe } => {
                self.known(pe)?;
                self.frozen[usize::from(pe.get())] = false;
            }
            Step::Peltv { parent, child, on } => {
                self.known(parent)?;
                self.known(child)?;
                if on {
                    self.peltv.insert((parent, child));
                } else {
                    self.peltv.remove(&(parent, child));
                }
            }
            Step::Write {
                function,
                offset,
                width,
                value,
                verify,
            } => {
                self.write(pci, function, offset, width, value, verify)?;
            }
            Step::Command { function, command } => self.command(pci, function, command)?,
            Step::OpenDma { pe } => self.open(pe)?,
            Step::CloseDma { pe } => {
                self.known(pe)?;
                if let Some(master) = self.masters.iter().find(|it| self.pe_of(**it) == pe) {
                    return Err(OrderFault::StillMaster(*master));
                }
                self.dma[usize::from(pe.get())] = Dma::Closed;
            }
            Step::KillTces { pe } => {
                self.known(pe)?;
                let dma = &mut self.dma[usize::from(pe.get())];
                if *dma == Dma::Open {
                    *dma = Dma::Live;
                }
            }
            Step::Reset { function, .. } => {
                if self.masters.contains(&function) {
                    return Err(OrderFault::StillMaster(function));
                }
                pci.reset(function.bdfn);
            }
            Step::Wait { milliseconds } => pci.pause(milliseconds),
        }
        Ok(())
    }

    fn known(&self, pe: PeNumber) -> Result<(), OrderFault> {
        if pe.get() < self.info.pes() {
            Ok(())
        } else {
            Err(OrderFault::Number)
        }
    }

    fn map_rids(&mut self, pe: PeNumber, rids: crate::pci::RidMatch) -> Result<(), OrderFault> {
        self.known(pe)?;
        let (bdfn, bus, device, function) = rids.arguments();
        let mut mask = if device == 1 { 0xf8 } else { 0 } | if function == 1 { 7 } else { 0 };
        // As SET_PE: 0 compares no bus bits, n the top n + 1.
        if bus != 0 {
            mask |= 0xffff_u32 << (15 - u32::from(bus)) & 0xffff & !0xff;
        }
        for rid in 0..=0xffff_u32 {
            if (rid ^ u32::from(bdfn)) & mask == 0 {
                let master = self
                    .masters
                    .iter()
                    .find(|it| u32::from(it.bdfn.rid()) == rid);
                if let Some(master) = master {
                    return Err(OrderFault::StillMaster(*master));
                }
                self.rtt[rid as usize] = pe;
            }
        }
        Ok(())
    }

    fn open(&mut self, pe: PeNumber) -> Result<(), OrderFault> {
        self.known(pe)?;
        if pe == self.info.reserved() {
            return Err(OrderFault::Number);
        }
        let up =
            self.rtt.contains(&pe) && self.freezes(pe, pe) && !self.frozen[usize::from(pe.get())];
        if !up {
            return Err(OrderFault::NotUp(pe));
        }
        self.dma[usize::from(pe.get())] = Dma::Open;
        Ok(())
    }

    fn write(
        &mut self,
        pci: &mut SimPci,
        function: FunctionId,
        offset: u16,
        width: Width,
        value: u32,
        verify: u32,
    ) -> Result<(), OrderFault> {
        let command = pci
            .read16(function, reg::COMMAND)
            .map_err(OrderFault::Config)?;
        let is_bar = (reg::BAR0..reg::BAR0 + 8).contains(&offset);
        if is_bar && command & Command::MEMORY.bits() != 0 {
            return Err(OrderFault::Decoding(function));
        }
        let read = match width {
            Width::Two => {
                pci.write16(function, offset, value as u16)
                    .map_err(OrderFault::Config)?;
                pci.read16(function, offset)
                    .map_err(OrderFault::Config)?
                    .into()
            }
            Width::Four => {
                pci.write32(function, offset, value)
                    .map_err(OrderFault::Config)?;
                pci.read32(function, offset).map_err(OrderFault::Config)?
            }
        };
        if (read ^ value) & verify != 0 {
            return Err(OrderFault::ReadBack(function));
        }
        Ok(())
    }

    fn command(
        &mut self,
        pci: &mut SimPci,
        function: FunctionId,
        command: Command,
    ) -> Result<(), OrderFault> {
        let Some((node, number)) = pci.route(function.bdfn) else {
            return Err(OrderFault::ReadBack(function));
        };
        let is_bridge = pci.is_bridge(node);
        if command.contains(Command::MEMORY) && number.is_none() {
            self.decodes(pci, node, function)?;
        }
        let master = command.contains(Command::BUS_MASTER);
        let pe = self.pe_of(function);
        if master && !is_bridge && self.dma[usize::from(pe.get())] != Dma::Live {
            return Err(OrderFault::NotLive(function));
        }
        if master && !is_bridge && self.vectors.contains(&pe) {
            return Err(OrderFault::Vectors(function));
        }
        if number.is_none() {
            pci.write16(function, reg::COMMAND, command.bits())
                .map_err(OrderFault::Config)?;
            let read = pci
                .read16(function, reg::COMMAND)
                .map_err(OrderFault::Config)?;
            if (read ^ command.bits()) & Command::LIVE.bits() != 0 {
                return Err(OrderFault::ReadBack(function));
            }
        }
        if master && !is_bridge {
            self.masters.insert(function);
        } else {
            self.masters.remove(&function);
        }
        Ok(())
    }

    /// Every memory BAR lies in segments of the function's PE, and it is passed by
    /// all bridges above.
    fn decodes(&self, pci: &SimPci, node: NodeId, function: FunctionId) -> Result<(), OrderFault> {
        let pe = self.pe_of(function);
        for (address, size) in pci.memory_bars(node) {
            // A companion's segment freezes and thaws with the function's own.
            let own = |at: u64| {
                let owner = self.owner_of(at);
                owner.is_some_and(|it| it == pe || self.freezes(pe, it) && self.freezes(it, pe))
            };
            if !own(address) || !own(address + size - 1) {
                return Err(OrderFault::Segment(function));
            }
            if !pci.is_passed(node, address, size) {
                return Err(OrderFault::NotPassed(function));
            }
        }
        Ok(())
    }

    /// The PE whose segment an address lies in.
    fn owner_of(&self, address: u64) -> Option<PeNumber> {
        let m32 = self.info.m32();
        if let Some(offset) = address
            .checked_sub(m32.bus.get())
            .filter(|offset| *offset < m32.size)
        {
            return self
                .m32
                .get((offset / self.info.m32_segment()) as usize)
                .copied();
        }
        let holds = |bar: &&M64| bar.enabled && address.wrapping_sub(bar.base) < bar.size;
        let bar = self.m64.iter().find(holds)?;
        let segment = bar.size / u64::from(self.info.pes());
        Some(PeNumber::new(((address - bar.base) / segment) as u16))
    }
}
