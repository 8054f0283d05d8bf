//! A PHB that Pinion has taken: what is below it, grouped and planned, and the
//! steps that carry the plan out.

use super::uses::{Use, Uses};
use super::{Config, Phb, PhbHardware, StepError};
use crate::audit::{Expected, TableBases};
use crate::opal::{RawOpal, Waiter};
use crate::pci::function::Command;
use crate::pci::registers as reg;
use crate::pci::steps::{Setup, Step};
use crate::pci::validate::{PlanFault, validate};
use crate::pci::{
    ConfigAccess, FunctionId, GroupIndex, GroupKind, Groups, NotAssignable, PeNumber, PhbInfo,
    Plan, ScanPolicy, Topology, group, plan, scan,
};
use crate::seam::PhbError;
use alloc::vec::Vec;
use spin::Mutex;

/// A PHB that works.
pub struct Taken<'o, H, F, W> {
    /// The PHB.
    pub phb: Phb<'o, H, F, W>,
    /// Its description.
    pub info: PhbInfo,
    /// What is below.
    pub topology: Topology,
    /// What cannot be kept apart.
    pub groups: Groups,
    /// Where everything goes.
    pub plan: Plan,
    /// Groups that could not be brought up: they stay without DMA.
    pub broken: Vec<Broken>,
    /// Functions that are known to be gone, until the next scan.
    pub(super) gone: Mutex<Vec<FunctionId>>,
    /// Functions that did not answer when they were last looked at, and since when,
    /// in microseconds.
    pub(super) missing: Mutex<Vec<(FunctionId, u64)>>,
    /// What groups may be doing.
    pub(super) uses: Uses,
}

/// A group that could not be brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub group: GroupIndex,
    /// The step that failed.
    pub step: Step,
    /// Why.
    pub error: StepError,
}

/// Why a PHB is left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// The plan breaks one of its promises: a mistake of Pinion's.
    #[error("the plan is wrong: {0}")]
    Plan(PlanFault),
    /// A step of its set-up failed.
    #[error("{step:?}: {error}")]
    Step {
        /// Which.
        step: Step,
        /// Why.
        error: StepError,
    },
}

impl<'o, H: PhbHardware, F: RawOpal, W: Waiter> Taken<'o, H, F, W> {
    /// Takes `phb`: scan, groups, plan, check of the plan, IODA tables, bridges,
    /// then each group, without DMA. The scan turns bus mastering off wherever
    /// it was on, before the tables are reset.
    ///
    /// # Errors
    /// The PHB cannot be used. What is below it decodes and masters nothing.
    pub fn take(
        phb: Phb<'o, H, F, W>,
        info: PhbInfo,
        policy: &ScanPolicy<'_>,
    ) -> Result<Self, TakeError> {
        let topology = scan(&mut Config::probing(&phb), &info, policy);
        let groups = group(&topology, &info);
        let plan = plan(&topology, &info, &groups);
        validate(&topology, &info, &groups, &plan).map_err(TakeError::Plan)?;
        let mut taken = Self {
            phb,
            info,
            topology,
            groups,
            plan,
            broken: Vec::new(),
            gone: Mutex::new(Vec::new()),
            missing: Mutex::new(Vec::new()),
            uses: Uses::default(),
        };
        let expected = Expected::new(&taken.info, TableBases::default());
        taken.phb.watch(expected);
        taken
            .run(&taken.setup().prepare())
            .map_err(|(step, error)| TakeError::Step { step, error })?;
        taken.bring_up_groups();
        Ok(taken)
    }

    fn bring_up_groups(&mut self) {
        let mut broken = Vec::new();
        let mut note = |group, (step, error)| broken.push(Broken { group, step, error });
        for (at, it) in self.groups.iter() {
            if it.kind == GroupKind::Endpoint
                && let Err(why) = self.run(&self.setup().bring_up(at))
            {
                note(at, why);
            }
        }
        for (at, _) in self.topology.iter() {
            if let Err(why) = self.run(&self.setup().enable_virtuals(at)) {
                note(self.groups.of(at), why);
                // Its virtual functions are not there, wherever they belong.
                for (it, own) in self.topology.virtuals.iter().zip(self.groups.of_virtuals()) {
                    if it.physical == at {
                        note(own, why);
                    }
                }
            }
        }
        self.broken = broken;
    }

    /// What step lists are made from.
    pub fn setup(&self) -> Setup<'_> {
        Setup {
            topology: &self.topology,
            phb: &self.info,
            groups: &self.groups,
            plan: &self.plan,
        }
    }

    /// Executes steps.
    ///
    /// # Errors
    /// The one that failed, and why.
    pub fn run(&self, steps: &[Step]) -> Result<(), (Step, StepError)> {
        self.phb.run(&self.topology, steps)
    }

    /// Whether a group is up and may be given a window.
    pub fn is_up(&self, at: GroupIndex) -> bool {
        self.groups.get(at).kind == GroupKind::Endpoint
            && self.plan.group(at).pe.is_some()
            && !self.broken.iter().any(|it| it.group == at)
    }

    /// Whether a group may be given to somebody: see [`Setup::assignable`].
    ///
    /// # Errors
    /// Why not.
    pub fn assignable(
        &self,
        at: GroupIndex,
        held: impl Fn(GroupIndex) -> bool,
    ) -> Result<(), NotAssignable> {
        self.setup().assignable(at, held)?;
        // It could not be stopped: if it only seems gone, it masters the bus.
        if let Some(gone) = self.known_gone(at).first() {
            return Err(NotAssignable::Gone(*gone));
        }
        match self.is_up(at) {
            true => Ok(()),
            false => Err(NotAssignable::NotUp),
        }
    }

    /// The group of a PE, or of a companion of it.
    pub fn group_of(&self, pe: u16) -> Option<GroupIndex> {
        let pe = PeNumber::new(pe);
        let mut all = self.groups.iter().map(|(at, _)| at);
        all.find(|at| {
            let plan = self.plan.group(*at);
            plan.pe == Some(pe) || plan.companions.contains(&pe)
        })
    }

    /// Bus mastering off for all functions of a PE, and read back.
    ///
    /// # Errors
    /// As the engine's seam says it.
    pub fn bus_master_off(&self, pe: u16) -> Result<(), PhbError> {
        let at = self.known(pe)?;
        self.let_answer(pe)?;
        let mut steps = self.setup().stop(at);
        steps.retain(|step| matches!(step, Step::Command { .. }));
        self.run_present(at, steps)
    }

    /// Waits until what the functions of a PE have posted is in memory: the
    /// completion of a read does not pass it.
    ///
    /// # Errors
    /// A function does not answer.
    pub fn push_writes(&self, pe: u16) -> Result<(), PhbError> {
        let at = self.known(pe)?;
        let mut config = Config::known(&self.phb);
        for function in self.members(at) {
            if self.is_gone(function) {
                continue;
            }
            // Not the vendor: a virtual function's is all ones.
            match config.read32(function, reg::REVISION_CLASS) {
                Ok(u32::MAX) => return Err(PhbError::ReadBack(u32::MAX.into())),
                Ok(_) => {}
                Err(error) => return Err(StepError::Config(error).for_engine()),
            }
        }
        Ok(())
    }

    /// Resets all functions of a PE, waits until they are ready, and gives them
    /// back their addresses. Bus mastering stays off, and a freeze of DMA stays:
    /// whoever froze the PE thaws it, after a kill.
    ///
    /// # Errors
    /// As the engine's seam says it; a group of which a function cannot be reset
    /// alone is refused, as its pages could not be given to others.
    pub fn reset_functions(&self, pe: u16) -> Result<(), PhbError> {
        let at = self.known(pe)?;
        let setup = self.setup();
        if setup
            .cannot_reset(at)
            .is_some_and(|function| !self.is_gone(function))
        {
            return Err(PhbError::Firmware(-7));
        }
        self.let_answer(pe)?;
        self.run_present(at, self.reset_steps(at))?;
        self.uses.set(at, Use::Fresh);
        // What it took with it, if anything, is reset too and not started again.
        for (_, other) in setup.stopped_by(at) {
            self.uses.set(other, Use::Fresh);
        }
        Ok(())
    }

    /// Configuration space of a frozen PE reads as all ones and takes no write
    /// (skiboot hw/phb4.c, PHB_CA_PE), so what the engine froze could be neither
    /// stopped nor reset. DMA stays frozen.
    pub(super) fn let_answer(&self, pe: u16) -> Result<(), PhbError> {
        self.with_companions(pe)
            .try_for_each(|pe| self.phb.thaw_mmio(pe))
    }

    /// The group of a PE that the engine knows; without one nothing of Pinion's
    /// can have asked.
    fn known(&self, pe: u16) -> Result<GroupIndex, PhbError> {
        self.group_of(pe).ok_or(PhbError::Firmware(-1))
    }

    /// A PE with those that freeze and thaw with it.
    pub fn with_companions(&self, pe: u16) -> impl Iterator<Item = u16> + '_ {
        let group = self.group_of(pe).map(|at| self.plan.group(at));
        let companions = group.map_or(&[][..], |plan| &plan.companions);
        core::iter::once(pe).chain(companions.iter().map(|it| it.get()))
    }

    /// Stops MMIO and DMA of a PE and its companions: of all of them, though
    /// one refuses.
    ///
    /// # Errors
    /// Firmware's first refusal.
    pub fn freeze(&self, pe: u16) -> Result<(), PhbError> {
        self.with_companions(pe)
            .map(|pe| self.phb.freeze(pe))
            .fold(Ok(()), Result::and)
    }

    /// Ends a freeze of a PE and its companions.
    ///
    /// # Errors
    /// Firmware's first refusal.
    pub fn clear_freeze(&self, pe: u16) -> Result<(), PhbError> {
        self.with_companions(pe)
            .try_for_each(|pe| self.phb.clear_freeze(pe))
    }

    /// Before the machine goes to other hands: virtual functions stop mastering
    /// the bus. Returns how many did not.
    pub fn quiet_virtuals(&self) -> usize {
        let mut failed = 0;
        for (_, group) in self.groups.iter() {
            for at in &group.virtuals {
                let bdfn = self.topology.virtuals[at.get()].bdfn;
                let step = Step::Command {
                    function: FunctionId::new(self.topology.phb, bdfn),
                    command: Command::empty(),
                };
                let active = self.plan.is_active_virtual(&self.topology, *at);
                failed += usize::from(active && self.run(&[step]).is_err());
            }
        }
        failed
    }
}
