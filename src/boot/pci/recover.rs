//! `recover`: a frozen PE is reset, and its windows are open again, empty.

use super::{errors, host, windows, withdraw};
use crate::boot::banner::plural;
use crate::info;
use crate::seam::PeId;
use alloc::format;
use alloc::string::{String, ToString};

/// Resets the functions of a PE and opens its windows again, empty: of a partition's
/// the default one, as at its start. Returns how many. The partition changes nothing
/// of it in between.
///
/// # Errors
/// Why it stays frozen, or closed; it may be tried again.
pub fn recover(id: PeId) -> Result<usize, String> {
    let host = host(id.phb).ok_or("no such PHB")?;
    let at = host.group_of(id.pe).ok_or("no group has this PE")?;
    let others = host.setup();
    if let Some((function, _)) = others.stopped_by(at).find(|(_, other)| {
        let pe = host.plan.group(*other).pe.map(|pe| pe.get());
        pe.is_some_and(|pe| !windows::of(PeId { phb: id.phb, pe }).is_empty())
    }) {
        return Err(format!(
            "a reset would stop its virtual function {function}, which has windows"
        ));
    }
    // Configuration space of a frozen PE reads as all ones. DMA stays stopped.
    for pe in host.with_companions(id.pe) {
        host.phb.thaw_mmio(pe).map_err(|error| error.to_string())?;
    }
    let closed = withdraw::close(host, id)?;
    // Its windows are closed and its pages released: that is all there is to do.
    if let Some(gone) = host.find_gone(id.pe).first() {
        errors::forget(id);
        return Err(format!(
            "{gone} was taken out: its windows are closed, and its pages are free again"
        ));
    }
    if host.phb.freeze_status(id.pe).is_ok_and(|it| it.is_frozen()) {
        return Err("it is still frozen".into());
    }
    let opened = closed.reopen(host, at)?;
    errors::forget(id);
    info!(
        "PHB {}: PE {:03x} was reset; {} {} open again",
        host.info.id(),
        id.pe,
        opened,
        plural(opened, "window")
    );
    Ok(opened)
}
