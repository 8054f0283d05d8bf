//! Tables that a map may need, taken before it changes anything.

use super::error::DmaError;
use super::quota::Quota;
use super::window::Window;
use crate::addr::HostAddr;
use crate::kill::Killed;
use crate::seam::Platform;
use crate::tce::chain::Tables;
use crate::tce::tree::Missing;

/// Spare tables of one operation. What is not used goes back when it is
/// dropped; never with the window's lock held.
pub(super) struct Reserve<'a, P: Platform> {
    engine: &'a super::Engine<P>,
    window: &'a Window<P>,
    pub(super) spare: Tables,
}

impl<'a, P: Platform> Reserve<'a, P> {
    #[inline]
    pub(super) fn new(engine: &'a super::Engine<P>, window: &'a Window<P>) -> Self {
        Self {
            engine,
            window,
            spare: Tables::default(),
        }
    }

    /// Whether the spare tables are enough.
    #[inline]
    pub(super) fn covers(&self, missing: Missing) -> bool {
        self.spare.leaves.len() >= missing.leaves && self.spare.nodes.len() >= missing.nodes
    }

    /// Takes tables until they are enough. Tables that the window has retired
    /// but not freed are flushed out first if there is no other way.
    #[cold]
    pub(super) fn fill(&mut self, missing: Missing) -> Result<(), DmaError> {
        if self.take(missing).is_err() {
            self.engine.flush(self.window)?;
            self.take(missing)?;
        }
        // The zeroes reach the PHB before any link to them is stored.
        self.engine.platform.barrier();
        Ok(())
    }

    fn take(&mut self, missing: Missing) -> Result<(), DmaError> {
        let (platform, quota) = (&self.engine.platform, &self.window.quota);
        let shape = self.window.range.shape();
        while self.spare.leaves.len() < missing.leaves {
            let table = self.engine.new_table(quota, shape.level_shift())?;
            self.spare.leaves.push(platform, table);
        }
        while self.spare.nodes.len() < missing.nodes {
            let table = self.engine.new_table(quota, shape.level_shift() + 1)?;
            self.spare.nodes.push(platform, table);
        }
        Ok(())
    }
}

impl<P: Platform> Drop for Reserve<'_, P> {
    #[inline]
    fn drop(&mut self) {
        if !self.spare.is_empty() {
            self.engine.free_spare(self.window, &mut self.spare);
        }
    }
}

impl<P: Platform> super::Engine<P> {
    /// Frees tables that were in the tree, for a completed kill.
    pub(super) fn free_retired(&self, window: &Window<P>, tables: &mut Tables, killed: &Killed) {
        if window.believes(killed) {
            self.free_spare(window, tables);
        }
    }

    /// Frees the root of a window that no PE uses any more, and which is empty.
    pub(super) fn free_root(&self, window: &Window<P>, root: HostAddr, killed: &Killed) {
        if !window.believes(killed) {
            return;
        }
        let shift = window.range.shape().frame_shift(0);
        self.free_table(&window.quota, root, shift);
    }

    /// Frees tables that no PHB has ever found.
    #[cold]
    fn free_spare(&self, window: &Window<P>, tables: &mut Tables) {
        let shift = window.range.shape().level_shift();
        while let Some(table) = tables.leaves.pop(&self.platform) {
            self.free_table(&window.quota, table, shift);
        }
        while let Some(table) = tables.nodes.pop(&self.platform) {
            self.free_table(&window.quota, table, shift + 1);
        }
    }

    fn free_table(&self, quota: &Quota, table: HostAddr, shift: u32) {
        self.platform.free(table, shift);
        quota.refund(1 << shift);
    }
}
