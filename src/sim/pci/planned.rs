//! A board with its plan: scanned, grouped and planned as at the start.

use super::boards::Board;
use crate::pci::steps::Setup;
use crate::pci::{Groups, Plan, ScanPolicy, Topology, group, plan, scan};

/// A board, and what Pinion makes of it.
pub struct Planned {
    /// PHB and tree.
    pub board: Board,
    /// What the scan found.
    pub topology: Topology,
    /// Who shares a PE.
    pub groups: Groups,
    /// PEs, buses and windows.
    pub plan: Plan,
}

impl Planned {
    /// Scans and plans `board`, with `virtuals` virtual functions of each function
    /// that has any.
    pub fn new(mut board: Board, virtuals: u16) -> Self {
        let policy = ScanPolicy {
            virtuals: &|_| virtuals,
            ..Default::default()
        };
        let topology = scan(&mut board.pci, &board.phb, &policy);
        let groups = group(&topology, &board.phb);
        let plan = plan(&topology, &board.phb, &groups);
        Self {
            board,
            topology,
            groups,
            plan,
        }
    }

    /// What steps are made of.
    pub fn setup(&self) -> Setup<'_> {
        Setup {
            topology: &self.topology,
            phb: &self.board.phb,
            groups: &self.groups,
            plan: &self.plan,
        }
    }
}
