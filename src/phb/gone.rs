//! Functions that were taken out while they were in use.
//!
//! A function that is gone cannot be told to stop, and needs not be: what it
//! had posted is past its link. Everything else of a detach is done as ever.

use super::reset::{READY_LIMIT_MS, READY_PAUSE_MS};
use super::taken::Taken;
use super::{Config, PhbHardware};
use crate::opal::{RawOpal, Waiter};
use crate::pci::registers as reg;
use crate::pci::steps::Step;
use crate::pci::{ConfigAccess, FunctionId, GroupIndex};
use crate::seam::PhbError;
use alloc::vec::Vec;

/// What a function sent before it went is in memory, or dropped, long before:
/// the PHB gives up on a request after 50 ms at most (PCI Express 4.0, 2.8, the
/// default range). That no later write comes is inferred, not said anywhere.
const DRAIN_MS: u64 = 100;

/// What is done about a PE whose MMIO is frozen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frozen {
    /// Nothing: it tells nothing of its functions.
    Left,
    /// It is thawed for the look, as its functions are being stopped anyway.
    Thawed,
}

impl<H: PhbHardware, F: RawOpal, W: Waiter> Taken<'_, H, F, W> {
    /// Looks at the functions of a PE and returns those that are gone: they read
    /// as absent in looks over more than a second, as one that was just reset may
    /// (PCI Express 4.0, 6.6.1), no freeze explains it, and the bridge above them
    /// answers. A PE whose MMIO was frozen before is left as it is, and nothing new
    /// is learnt; where the look itself freezes it, MMIO is thawed. One
    /// that was found gone stays so until the next scan, whatever is plugged
    /// in: nothing knows what that is.
    pub fn find_gone(&self, pe: u16) -> Vec<FunctionId> {
        self.look(pe, Frozen::Left)
    }

    /// As [`Self::find_gone`], for a PE that an error froze: its MMIO is thawed
    /// for the look, and DMA is not. It waits for one that does not answer.
    pub fn find_gone_behind_freeze(&self, pe: u16) -> Vec<FunctionId> {
        self.look(pe, Frozen::Thawed)
    }

    fn look(&self, pe: u16, frozen: Frozen) -> Vec<FunctionId> {
        let Some(at) = self.group_of(pe) else {
            return Vec::new();
        };
        self.note_gone(at, frozen);
        self.known_gone(at)
    }

    /// Whether none of a PE's functions is there any more.
    pub fn is_deserted(&self, pe: u16) -> bool {
        self.group_of(pe).is_some_and(|at| {
            let mut members = self.members(at).peekable();
            members.peek().is_some() && members.all(|it| self.is_gone(it))
        })
    }

    /// Functions of a group that were found gone.
    pub(super) fn known_gone(&self, at: GroupIndex) -> Vec<FunctionId> {
        let gone = self.gone.lock();
        let members = self.members(at);
        members.filter(|function| gone.contains(function)).collect()
    }

    pub(super) fn is_gone(&self, function: FunctionId) -> bool {
        self.gone.lock().contains(&function)
    }

    /// Executes the steps of functions that are there. One that fails because
    /// its function has gone is no failure.
    pub(super) fn run_present(&self, at: GroupIndex, steps: Vec<Step>) -> Result<(), PhbError> {
        let present = || -> Vec<Step> {
            let there = |step: &&Step| function_of(step).is_none_or(|it| !self.is_gone(it));
            steps.iter().filter(there).copied().collect()
        };
        let mut result = self.run(&present());
        if result.is_err() && self.note_gone(at, Frozen::Thawed) {
            self.phb.hardware().wait_ms(DRAIN_MS);
            result = self.run(&present());
        }
        result.map_err(|(_, error)| error.for_engine())
    }

    /// Whether functions of the group have newly gone.
    ///
    /// A link that goes down may have frozen the PE, and on hardware the access
    /// to a function that is gone freezes it (again). With MMIO thawed just
    /// before, all ones are the function's absence and no freeze.
    fn note_gone(&self, at: GroupIndex, frozen: Frozen) -> bool {
        let Some(pe) = self.plan.group(at).pe else {
            return false;
        };
        let mut any = false;
        for function in self.members(at) {
            // DMA stays frozen.
            if frozen == Frozen::Thawed && self.let_answer(pe.get()).is_err() {
                break;
            }
            let answers = self.phb.freeze_status(pe.get());
            if !answers.is_ok_and(|status| status.answers()) {
                break;
            }
            if self.is_gone(function) {
                continue;
            }
            let is_absent = || self.is_absent(pe.get(), function);
            let stays_away = match frozen {
                Frozen::Left => self.is_missing(function, is_absent()),
                Frozen::Thawed => {
                    let mut looks = 0..=READY_LIMIT_MS / READY_PAUSE_MS;
                    looks.all(|_| {
                        let is_absent = is_absent();
                        if is_absent {
                            self.phb.hardware().wait_ms(READY_PAUSE_MS);
                        }
                        is_absent
                    })
                }
            };
            if stays_away {
                self.gone.lock().push(function);
                any = true;
            }
        }
        any
    }

    /// It may have frozen since it was asked, and there all along: a look that is
    /// right but for that would give up a function that works.
    fn is_absent(&self, pe: u16, function: FunctionId) -> bool {
        self.reads_as_absent(function)
            && self.let_answer(pe).is_ok()
            && self.reads_as_absent(function)
            && self.let_answer(pe).is_ok()
    }

    /// Notes whether a function is absent now; returns whether it has been in all
    /// looks for longer than one may take to be ready.
    fn is_missing(&self, function: FunctionId, is_absent: bool) -> bool {
        let now = self.phb.hardware().microseconds();
        let mut missing = self.missing.lock();
        let since = missing.iter().find(|(it, _)| *it == function);
        let since = since.map(|(_, since)| *since);
        match since {
            Some(since) if is_absent => now.wrapping_sub(since) > 1000 * READY_LIMIT_MS,
            None if is_absent => {
                missing.push((function, now));
                false
            }
            _ => {
                missing.retain(|(it, _)| *it != function);
                false
            }
        }
    }

    fn reads_as_absent(&self, function: FunctionId) -> bool {
        let mut config = Config::known(&self.phb);
        // Not the vendor: a virtual function's is all ones.
        if config.read32(function, reg::REVISION_CLASS) != Ok(u32::MAX) {
            return false;
        }
        let physical = self.topology.find(function.bdfn).or_else(|| {
            let mut virtuals = self.topology.virtuals.iter();
            virtuals
                .find(|it| it.bdfn == function.bdfn)
                .map(|it| it.physical)
        });
        let above = physical.and_then(|at| self.topology.above(at));
        above.is_some_and(|bridge| {
            let bridge = self.topology[bridge].id;
            config
                .read32(bridge, reg::VENDOR)
                .is_ok_and(|value| value != u32::MAX)
        })
    }

    /// The functions of a group that are in use.
    pub(super) fn members(&self, at: GroupIndex) -> impl Iterator<Item = FunctionId> {
        let group = self.groups.get(at);
        let functions = group
            .functions
            .iter()
            .filter(|at| self.plan.is_active(&self.topology, **at))
            .map(|at| self.topology[*at].id);
        let virtuals = group
            .virtuals
            .iter()
            .filter(|at| self.plan.is_active_virtual(&self.topology, **at))
            .map(|at| FunctionId::new(self.topology.phb, self.topology.virtuals[at.get()].bdfn));
        functions.chain(virtuals)
    }
}

fn function_of(step: &Step) -> Option<FunctionId> {
    match *step {
        Step::Write { function, .. }
        | Step::Command { function, .. }
        | Step::Reset { function, .. } => Some(function),
        _ => None,
    }
}
