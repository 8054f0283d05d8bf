//! A kill alone: instructions, and accesses to registers.

use super::rows::{self, Row};
use super::{Asked, told};
use crate::boot::pci::check::candidates;
use crate::boot::pci::host;
use crate::seam::KillScope;

use alloc::string::String;

/// Counts, for a PE that nobody uses.
pub fn run(asked: Asked<'_>) -> Result<(), String> {
    let Some(pe) = candidates::groups().next() else {
        return Ok(());
    };
    let Some(host) = host(pe.phb) else {
        return Ok(());
    };
    let kill = || {
        let killed = host.phb.kill(pe.pe, KillScope::Pe);
        killed.map_err(|error| told("kill", error))
    };
    if asked.has("kill") {
        Row::one("kill").measure(kill, || Ok(()))?;
    }
    if asked.has("kill-mmio") {
        let outside = rows::outside(kill)?;
        Row::one("kill-mmio").print(&mut [outside.mmio], None);
    }
    Ok(())
}
