//! What Tab completes behind a command's name.

use super::names;
use crate::boot::{partitions as guests, pci, selftest};
use crate::console::log::Level;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The words that are possible at a place.
pub(super) type Choices = fn() -> Vec<String>;

fn owned<'w>(words: impl IntoIterator<Item = &'w str>) -> Vec<String> {
    words.into_iter().map(String::from).collect()
}

pub(super) fn commands() -> Vec<String> {
    owned(names())
}

pub(super) fn unmask() -> Vec<String> {
    owned(["unmask"])
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

/// PEs that an error froze.
pub(super) fn frozen() -> Vec<String> {
    let failed = pci::errors::failed().into_iter();
    let name = |pe: crate::seam::PeId| {
        let phb = pci::host(pe.phb)?.info.id();
        Some(format!("{phb}:{:03x}", pe.pe))
    };
    failed.filter_map(name).collect()
}
