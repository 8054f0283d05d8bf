//! What people call partitions, windows, devices and PEs.

use crate::boot::partitions as guests;
use crate::boot::pci::platform::Platform;
use crate::boot::pci::windows;
use crate::dma::{Liobn, Window};
use crate::memory::ledger::OwnerId;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The partition with this number; the number itself for what is none, as the
/// self-test's.
pub fn owner(owner: OwnerId) -> String {
    let all = guests::all();
    let found = all
        .iter()
        .find(|defined| defined.domain().memory().owner() == owner);
    found.map_or_else(
        || format!("#{:x}", owner.0),
        |defined| String::from(defined.name()),
    )
}

/// The number of the partition of this name, or that `#` and digits stand for.
pub(super) fn owner_of(name: &str) -> Option<OwnerId> {
    if let Some(digits) = name.strip_prefix('#') {
        return u32::from_str_radix(digits, 16).ok().map(OwnerId);
    }
    let found = guests::find(name).ok()?;
    Some(found.domain().memory().owner())
}

/// The window that a text names: a LIOBN, behind the partition's name and a slash
/// where several partitions have it.
///
/// # Errors
/// What to say to a person.
pub(super) fn window(text: &str) -> Result<Arc<Window<Platform>>, String> {
    let (name, number) = match text.split_once('/') {
        Some((name, number)) => (Some(name), number),
        None => (None, text),
    };
    let digits = number.strip_prefix("0x").unwrap_or(number);
    let liobn = u32::from_str_radix(digits, 16).ok().map(Liobn);
    let liobn = liobn.ok_or_else(|| {
        format!("{text}: a LIOBN is expected, as windows shows them: 80000000 or p1/80000000")
    })?;
    let mut found = windows::all();
    found.retain(|window| {
        window.liobn() == Some(liobn) && name.is_none_or(|name| owner(window.owner()) == name)
    });
    match found.len() {
        0 => Err(format!(
            "{text}: no such window. Type windows for those that there are."
        )),
        1 => found.pop().ok_or_else(String::new),
        _ => {
            let all: Vec<String> = found.iter().map(|window| name_of(window)).collect();
            Err(format!(
                "{text}: several partitions have it: {}",
                all.join(", ")
            ))
        }
    }
}

/// The name that [`window`] finds it by, with its partition's.
pub(super) fn name_of(window: &Window<Platform>) -> String {
    let liobn = window.liobn().map_or(0, |liobn| liobn.0);
    format!("{}/{liobn:x}", owner(window.owner()))
}
