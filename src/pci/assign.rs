//! Which groups may be given to a partition, and beside which others.
//!
//! A group that changes hands is reset between two owners. A reset must stop
//! nobody else's functions: what only a shared bus resets is given to nobody,
//! and as a reset of a physical function ends its virtual ones, the two are
//! never of different owners.

use super::address::FunctionId;
use super::group::{GroupIndex, GroupKind};
use super::steps::Setup;
use super::topology::{FunctionIndex, ResetMethod};

/// Why a group cannot be given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAssignable {
    /// A bridge's, or one of functions with faults.
    #[error("it has no function that can be assigned")]
    NoEndpoint,
    /// It found no PE, or nothing of it has its place.
    #[error("it has no PE")]
    NoPe,
    /// A step of its set-up failed; the console named it at the start.
    #[error("it could not be set up")]
    NotUp,
    /// A function was taken out, and what is in its place now is not known.
    #[error("{0} was taken out")]
    Gone(FunctionId),
    /// A function that nothing resets but a bus that other groups use too.
    #[error("{0} cannot be reset alone")]
    CannotReset(FunctionId),
    /// A reset of `physical`, which another has, would stop it.
    #[error("virtual functions of {physical}, which another has, stop when that is reset")]
    PhysicalHeld {
        /// The physical function of one of its virtual functions.
        physical: FunctionId,
    },
    /// Its own reset would stop `function`, which another has.
    #[error("its reset would stop the virtual function {function}, which another has")]
    VirtualHeld {
        /// The virtual function of the other.
        function: FunctionId,
    },
}

impl Setup<'_> {
    /// Whether `group` may be given to somebody. `held` says of another group
    /// whether anybody else has it, who asks left out: an owner may have a
    /// physical function together with its virtual ones.
    ///
    /// Whoever gives groups away asks for each, with the ones given before
    /// among those held, and gives it with nothing in between.
    ///
    /// # Errors
    /// Why not: the lasting reasons first.
    pub fn assignable(
        &self,
        group: GroupIndex,
        held: impl Fn(GroupIndex) -> bool,
    ) -> Result<(), NotAssignable> {
        if self.groups.get(group).kind != GroupKind::Endpoint {
            return Err(NotAssignable::NoEndpoint);
        }
        if self.plan.group(group).pe.is_none() {
            return Err(NotAssignable::NoPe);
        }
        if let Some(function) = self.cannot_reset(group) {
            return Err(NotAssignable::CannotReset(function));
        }
        for at in &self.groups.get(group).virtuals {
            let physical = self.topology.virtuals[at.get()].physical;
            let other = self.groups.of(physical);
            if other != group && held(other) {
                let physical = self.topology[physical].id;
                return Err(NotAssignable::PhysicalHeld { physical });
            }
        }
        match self.stopped_by(group).find(|(_, other)| held(*other)) {
            Some((function, _)) => Err(NotAssignable::VirtualHeld { function }),
            None => Ok(()),
        }
    }

    /// Virtual functions of other groups that stop when `group` is reset, with
    /// their groups.
    pub fn stopped_by(
        &self,
        group: GroupIndex,
    ) -> impl Iterator<Item = (FunctionId, GroupIndex)> + '_ {
        let all = self.topology.virtuals.iter();
        all.zip(self.groups.of_virtuals())
            .filter(move |(it, own)| *own != group && self.groups.of(it.physical) == group)
            .filter(|(it, _)| self.plan.has_virtuals(self.topology, it.physical))
            .map(|(it, own)| (FunctionId::new(self.topology.phb, it.bdfn), own))
    }

    /// A function that nothing resets but a bus that other groups use too, or a
    /// virtual one without the reset that it must have. A group with one cannot
    /// be handed from one partition to another: it is not to be assigned, and
    /// [`Self::stop`] leaves the function without reset.
    pub fn cannot_reset(&self, group: GroupIndex) -> Option<FunctionId> {
        let stuck = |at: &FunctionIndex| {
            let function = &self.topology[*at];
            let is_bus = self.reset_method(*at) == ResetMethod::Bus;
            !function.is_bridge() && is_bus && self.shares_bus(*at)
        };
        let physical = self.members(group).find(stuck);
        physical.map(|at| self.topology[at].id).or_else(|| {
            let mut all = self.groups.get(group).virtuals.iter().copied();
            let stuck = all.find(|at| {
                self.plan.is_active_virtual(self.topology, *at) && self.reset_virtual(*at).is_none()
            })?;
            let bdfn = self.topology.virtuals[stuck.get()].bdfn;
            Some(FunctionId::new(self.topology.phb, bdfn))
        })
    }

    /// How a function is reset here. D3hot and back is the last choice: firmware
    /// drops writes of a power state to what is right below a root port, and says
    /// that all went well (skiboot hw/phb4.c, phb4_pcicfg_no_dstate; on PHB3 of
    /// some chips too).
    pub(super) fn reset_method(&self, at: FunctionIndex) -> ResetMethod {
        let method = self.topology[at].reset();
        let is_power = matches!(method, ResetMethod::Power { .. });
        let above = self.topology.above(at);
        let has_filter = above.is_none_or(|bridge| self.topology.above(bridge).is_none());
        match is_power && (has_filter || !self.shares_bus(at)) {
            true => ResetMethod::Bus,
            false => method,
        }
    }

    /// Whether a reset of the function's bus reaches other groups, or nothing
    /// is above it that could do it. Groups that are left alone do not count:
    /// nothing of them is ever enabled.
    pub(super) fn shares_bus(&self, at: FunctionIndex) -> bool {
        let Some(bridge) = self.topology.above(at) else {
            return true;
        };
        let own = self.groups.of(at);
        self.topology.below(bridge).any(|other| {
            let group = self.groups.of(other);
            group != own && self.groups.get(group).kind != GroupKind::LeftAlone
        })
    }
}
