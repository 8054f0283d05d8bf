//! What Tab completes behind a command's name.

use super::{command_names, names};
use crate::boot::pci::platform::Platform;
use crate::boot::{partitions as guests, pci, selftest};
use crate::console::log::Level;
use crate::dma::Window;
use crate::trace::Kind;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The words that are possible at a place.
pub(super) type Choices = fn() -> Vec<String>;

fn owned<'w>(words: impl IntoIterator<Item = &'w str>) -> Vec<String> {
    words.into_iter().map(String::from).collect()
}

pub(super) fn commands() -> Vec<String> {
    owned(command_names())
}

pub(super) fn unmask() -> Vec<String> {
    owned(["unmask"])
}

pub(super) fn reset() -> Vec<String> {
    owned(["reset"])
}

pub(super) fn all() -> Vec<String> {
    owned(["all"])
}

pub(super) fn reboots() -> Vec<String> {
    owned(["full", "image"])
}

pub(super) fn levels() -> Vec<String> {
    owned((0..4).filter_map(Level::from_number).map(Level::name))
}

pub(super) fn parts() -> Vec<String> {
    owned(selftest::names())
}

pub(super) fn partitions() -> Vec<String> {
    guests::names()
}

pub(super) fn operations() -> Vec<String> {
    owned(Kind::ALL.map(Kind::name))
}

/// Windows: by LIOBN alone where that is enough.
pub(super) fn windows() -> Vec<String> {
    let all = pci::windows::all();
    let short = |window: &Window<Platform>| window.liobn().map(|liobn| format!("{:x}", liobn.0));
    all.iter()
        .filter_map(|window| {
            let name = short(window)?;
            Some(match names::window(&name) {
                Ok(_) => name,
                Err(_) => names::name_of(window),
            })
        })
        .collect()
}

/// Endpoints.
pub(super) fn devices() -> Vec<String> {
    let all = pci::hosts().flat_map(|(_, host)| host.topology.functions.iter());
    let all = all.filter(|function| !function.is_bridge());
    all.map(|function| format!("{}", function.id)).collect()
}

/// PEs that an error froze.
pub(super) fn frozen() -> Vec<String> {
    pci::errors::failed()
        .into_iter()
        .map(pci::pe_text)
        .collect()
}
