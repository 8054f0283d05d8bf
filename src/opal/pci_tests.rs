//! The PCI calls against a firmware that pretends: numbers, order of the
//! arguments, byte order of the answers.

use super::calls_tests::{Counted, Pretend};
use super::pci::*;
use super::*;

fn asked(raw: &Pretend) -> (u64, [u64; 8]) {
    let (token, arguments) = *raw.asked.borrow().last().unwrap();
    (token as u64, arguments)
}

#[test]
fn arguments_are_in_firmwares_order() {
    let (raw, waited) = (Pretend::default(), Counted::default());
    let opal = Opal::new(&raw, &waited);
    opal.config_write16(1, 0x100, 4, 6).unwrap();
    assert_eq!(asked(&raw), (17, [1, 0x100, 4, 6, 0, 0, 0, 0]));
    opal.freeze_clear(1, 3, Freeze::Both).unwrap();
    assert_eq!(asked(&raw), (26, [1, 3, 3, 0, 0, 0, 0, 0]));
    opal.freeze_set(1, 3, Freeze::Dma).unwrap();
    assert_eq!(asked(&raw), (97, [1, 3, 2, 0, 0, 0, 0, 0]));
    opal.set_m64(1, 15, 0x40 << 32, 1 << 32).unwrap();
    assert_eq!(
        asked(&raw),
        (28, [1, 2, 15, 0x40 << 32, 0x40 << 32, 1 << 32, 0, 0])
    );
    opal.enable_m64_split(1, 15).unwrap();
    assert_eq!(asked(&raw), (27, [1, 2, 15, 1, 0, 0, 0, 0]));
    opal.map_m32(1, 5, 9).unwrap();
    assert_eq!(asked(&raw), (29, [1, 5, 1, 0, 9, 0, 0, 0]));
    opal.set_pe(1, 5, 0x100, (7, 1, 1), true).unwrap();
    assert_eq!(asked(&raw), (31, [1, 5, 0x100, 7, 1, 1, 1, 0]));
    opal.set_peltv(1, 5, 6, false).unwrap();
    assert_eq!(asked(&raw), (32, [1, 5, 6, 0, 0, 0, 0, 0]));
    opal.set_xive_pe(1, 5, 77).unwrap();
    assert_eq!(asked(&raw), (37, [1, 5, 77, 0, 0, 0, 0, 0]));
    let window = DmaWindow {
        levels: 2,
        root: 0x1_0000,
        level_bytes: 0x1000,
        page_bytes: 0x1_0000,
    };
    opal.map_dma_window(1, 5, 1, &window).unwrap();
    assert_eq!(
        asked(&raw),
        (44, [1, 5, 11, 2, 0x1_0000, 0x1000, 0x1_0000, 0])
    );
    opal.map_dma_window(1, 5, 0, &DmaWindow::OFF).unwrap();
    assert_eq!(asked(&raw), (44, [1, 5, 10, 1, 0, 0, 0, 0]));
    opal.tce_kill(1, TceKill::Pe, 5, 0x1000, 0, 0).unwrap();
    assert_eq!(asked(&raw), (126, [1, 1, 5, 0x1000, 0, 0, 0, 0]));
}

#[test]
fn a_slot_is_named_by_its_bridge_and_a_reset_says_how_long_to_wait() {
    let (raw, waited) = (Pretend::answering(&[250, 0]), Counted::default());
    let opal = Opal::new(&raw, &waited);
    let slot = SlotId::below(3, 0x0108);
    assert_eq!(opal.pci_reset(slot, ResetScope::Hot, true), Ok(Some(250)));
    let id = 1 << 63 | 0x0108 << 16 | 3;
    assert_eq!(asked(&raw), (49, [id, 4, 1, 0, 0, 0, 0, 0]));
    assert_eq!(opal.pci_poll(slot), Ok(None));
    assert_eq!(asked(&raw), (62, [id, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(
        opal.pci_reset(SlotId::phb(3), ResetScope::IodaTable, true),
        Ok(None)
    );
    assert_eq!(asked(&raw), (49, [3, 6, 1, 0, 0, 0, 0, 0]));
}

#[test]
fn answers_behind_pointers_are_big_endian() {
    let (raw, waited) = (Pretend::default(), Counted::default());
    let opal = Opal::new(&raw, &waited);
    raw.fills.set(Some((3, &[0x12, 0x34, 0x56, 0x78])));
    assert_eq!(opal.config_read32(0, 0, 0), Ok(0x1234_5678));
    raw.fills.set(Some((3, &[0x12, 0x34])));
    assert_eq!(opal.config_read16(0, 0, 0), Ok(0x1234));
    raw.fills.set(Some((3, &[0x12])));
    assert_eq!(opal.config_read8(0, 0, 0), Ok(0x12));
    raw.fills.set(Some((3, &[0, 4])));
    let status = opal.freeze_status(0, 0).unwrap();
    assert_eq!((status.is_frozen(), status.kind), (false, 4));
    raw.fills.set(Some((1, &[0, 0, 0, 0, 0, 0, 1, 2])));
    assert_eq!(opal.next_error(0).unwrap().pe, 0x102);
    raw.fills.set(Some((4, &[0x10, 0, 0, 0, 0, 0, 0, 0x40])));
    assert_eq!(opal.msi64(0, 1, 2).unwrap().address, 0x1000_0000_0000_0040);
    raw.fills.set(Some((4, &[0xff, 0xff, 0, 0])));
    assert_eq!(opal.msi32(0, 1, 2).unwrap().address, 0xffff_0000);
}

#[test]
fn a_refusal_is_firmwares_status() {
    let (raw, waited) = (Pretend::answering(&[-7]), Counted::default());
    let error = Opal::new(&raw, &waited)
        .tce_kill(0, TceKill::All, 0, 0, 0, 0)
        .unwrap_err();
    assert_eq!(error.status(), Some(OpalStatus::Unsupported));
}
