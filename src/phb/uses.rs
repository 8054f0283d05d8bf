//! What the functions of a group may be doing, and their first start.
//!
//! Firmware, or the system before a kexec, may leave a function with queues set
//! up and requests in flight. Bus mastering alone would let it go on with bus
//! addresses that meant something to the owner before, so a group is reset
//! before it masters the bus for the first time.

use super::PhbHardware;
use super::execute::StepError;
use super::taken::Taken;
use crate::opal::{RawOpal, Waiter};
use crate::pci::function::Command;
use crate::pci::steps::Step;
use crate::pci::topology::ResetMethod;
use crate::pci::{GroupIndex, PeNumber};
use alloc::vec::Vec;
use spin::Mutex;

/// What is known of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Reset, and without bus mastering ever since.
    Fresh,
    /// It may be doing DMA in its windows.
    Started,
}

/// Groups of which something is known: of all others it is not known what they
/// were doing when the PHB was taken.
#[derive(Default)]
pub(super) struct Uses(Mutex<Vec<(GroupIndex, Use)>>);

impl Uses {
    pub(super) fn get(&self, group: GroupIndex) -> Option<Use> {
        let all = self.0.lock();
        all.iter().find(|(at, _)| *at == group).map(|(_, it)| *it)
    }

    pub(super) fn set(&self, group: GroupIndex, to: Use) {
        let mut all = self.0.lock();
        match all.iter_mut().find(|(at, _)| *at == group) {
            Some((_, it)) => *it = to,
            None => all.push((group, to)),
        }
    }
}

impl<H: PhbHardware, F: RawOpal, W: Waiter> Taken<'_, H, F, W> {
    /// Lets a group whose windows are open use them. What a group was doing
    /// before it is started for the first time ends with a reset of its
    /// functions: interrupts are set up after it.
    ///
    /// # Errors
    /// The step that failed; the engine's detach ends what was started.
    pub fn start(&self, at: GroupIndex) -> Result<(), (Step, StepError)> {
        // Nothing could stop it, or look at what is in its place now.
        if let Some(gone) = self.known_gone(at).first() {
            let (function, command) = (*gone, Command::BUS_MASTER);
            let step = Step::Command { function, command };
            return Err((step, StepError::Absent(function)));
        }
        if self.uses.get(at).is_none() {
            self.reset_first(at)?;
        }
        self.uses.set(at, Use::Started);
        self.run(&self.setup().start(at))
    }

    fn reset_first(&self, at: GroupIndex) -> Result<(), (Step, StepError)> {
        let setup = self.setup();
        let Some(pe) = self.plan.group(at).pe else {
            return Ok(());
        };
        if let Some(function) = setup.cannot_reset(at) {
            let method = ResetMethod::Bus;
            let step = Step::Reset { function, method };
            return Err((step, StepError::NotAlone(function)));
        }
        // Whatever froze it is for `recover`, not for a start.
        if let Some(frozen) = self.frozen(pe) {
            return Err((Step::OpenDma { pe }, StepError::Frozen(frozen)));
        }
        self.run(&self.reset_steps(at))?;
        // A hot reset takes the link down, which is an error of the PE's to some
        // PHBs. Nothing of it masters the bus.
        if self.frozen(pe).is_some() {
            let steps: Vec<Step> = self
                .with_companions(pe.get())
                .map(|pe| Step::ClearFreeze {
                    pe: PeNumber::new(pe),
                })
                .collect();
            self.run(&steps)?;
        }
        self.was_reset(at)
    }

    /// Notes that a group was reset. Virtual functions of other groups went with
    /// it: those of the same owner's that were started go on.
    fn was_reset(&self, at: GroupIndex) -> Result<(), (Step, StepError)> {
        self.uses.set(at, Use::Fresh);
        let setup = self.setup();
        let mut others: Vec<GroupIndex> = setup.stopped_by(at).map(|(_, it)| it).collect();
        others.dedup();
        others.retain(|other| self.uses.get(*other) == Some(Use::Started));
        others
            .into_iter()
            .try_for_each(|other| self.run(&setup.start(other)))
    }

    /// The resets of a group, and what they lose set up again, without DMA. A
    /// freeze stays: whoever froze it thaws it, after a kill.
    pub(super) fn reset_steps(&self, at: GroupIndex) -> Vec<Step> {
        let setup = self.setup();
        let mut steps = setup.stop(at);
        steps.retain(|step| matches!(step, Step::Reset { .. }));
        let up = setup.bring_up(at).into_iter();
        steps.extend(up.filter(|step| !matches!(step, Step::ClearFreeze { .. })));
        let functions = self.groups.get(at).functions.iter();
        steps.extend(functions.flat_map(|at| setup.enable_virtuals(*at)));
        steps
    }

    /// The first of a PE and its companions that is frozen, or does not say.
    fn frozen(&self, pe: PeNumber) -> Option<PeNumber> {
        let is_frozen = |pe: &u16| {
            let status = self.phb.freeze_status(*pe);
            status.map_or(true, |status| status.is_frozen())
        };
        let mut all = self.with_companions(pe.get());
        all.find(is_frozen).map(PeNumber::new)
    }
}
