//! Commands about windows, mappings and operations on them.

pub(super) fn windows() {
    crate::boot::pci::windows::print();
}
