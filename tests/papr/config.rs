//! Configuration space as a partition sees it.

use pinion::addr::BusAddr;
use pinion::papr::config::{Identity, View};
use pinion::pci::bar::{Bar, BarKind};
use pinion::pci::capability::Msi;
use pinion::pci::msi::MessageCapability;
use pinion::pci::{ConfigAccess, FunctionId, PhbId};
use pinion::sim::pci::{DeviceModel, NodeId, SimPci};

/// A drive behind a root port, and its view.
pub struct Drive {
    pub pci: SimPci,
    pub node: NodeId,
    pub view: View,
    id: FunctionId,
}

/// Where Pinion has put its registers.
const AT: u64 = 0x6_00c0_0010_0000;
const BAR_BYTES: u64 = 0x4000;

/// Behind PCI Express.
const MSIX: u16 = 0x84;
const MSI: u16 = 0x90;

fn drive() -> DeviceModel {
    DeviceModel::new(0x1b36, 0x0010, 0x01_0802)
        .bar64(0, BAR_BYTES, false)
        .bar32(4, 0x1000, true)
        .pin(1)
        .power()
        .express(0)
        .msix(8, 4)
        .aer()
}

impl Drive {
    pub fn new() -> Self {
        Self::of(drive(), false)
    }

    fn of(model: DeviceModel, is_virtual: bool) -> Self {
        Self::with(model, |identity| identity.is_virtual = is_virtual)
    }

    /// Of a partition that has its interrupts.
    fn interrupting() -> Self {
        Self::with(drive().msi(2), |identity| {
            identity.msi = MessageCapability::new(Msi {
                offset: MSI,
                vectors: 4,
                wide: true,
                maskable: true,
            });
            identity.msix = Some(MSIX);
            identity.pin = Some(3);
        })
    }

    fn with(model: DeviceModel, change: impl FnOnce(&mut Identity)) -> Self {
        let mut pci = SimPci::new(PhbId::new(0), 4096);
        let port = pci.add(None, 0, 0, DeviceModel::bridge(0x1014, 0x03dc).express(4));
        pci.model_mut(port).put32(0x18, 0x01_0100);
        let node = pci.add(Some(port), 0, 0, model);
        let id = FunctionId::new(PhbId::new(0), pci.bdfn(node));
        let mut identity = Identity {
            function: id,
            vendor: 0x1b36,
            device: 0x0010,
            is_virtual: false,
            // Behind power management's eight bytes.
            express: Some(0x48),
            msi: None,
            msix: None,
            pin: None,
        };
        change(&mut identity);
        let bar = |index: u8, kind, size, flags| Bar {
            index,
            offset: 0x10 + 4 * u16::from(index),
            kind,
            size,
            flags,
        };
        let wide = BarKind::Memory64 {
            prefetchable: false,
        };
        let narrow = BarKind::Memory32 { prefetchable: true };
        let bars = [
            (bar(0, wide, BAR_BYTES, 4), BusAddr::new(AT)),
            (bar(4, narrow, 0x1000, 8), BusAddr::new(0x8010_0000)),
        ];
        Self {
            view: View::new(identity, bars),
            pci,
            node,
            id,
        }
    }

    fn read(&mut self, offset: u16, size: u32) -> u32 {
        self.view.read(&mut self.pci, offset, size).unwrap()
    }

    fn write(&mut self, offset: u16, size: u32, value: u32) {
        self.view.write(&mut self.pci, offset, size, value).unwrap();
    }

    /// The function's own register.
    fn real(&mut self, offset: u16) -> u32 {
        self.pci.read32(self.id, offset).unwrap()
    }
}

#[test]
fn what_a_kernel_reads_of_a_function() {
    let mut drive = Drive::new();
    assert_eq!(drive.read(0, 4), 0x0010_1b36);
    assert_eq!(drive.read(8, 4), 0x0108_0201);
    assert_eq!(drive.read(0xb, 1), 1);
    assert_eq!(drive.read(0x10, 4), AT as u32 | 4);
    assert_eq!(drive.read(0x14, 4), 0x6_00c0);
    assert_eq!((drive.read(0x18, 4), drive.read(0x1c, 4)), (0, 0));
    assert_eq!(drive.read(0x20, 4), 0x8010_0008);
    // No ROM, no interrupt.
    assert_eq!((drive.read(0x30, 4), drive.read(0x3c, 4)), (0, 0));
    // One capability.
    assert_eq!(drive.read(6, 2) & 0x10, 0x10);
    assert_eq!(drive.read(0x34, 1), 0x48);
    assert_eq!(drive.read(0x48, 2), 0x10, "PCI Express, the last one");
    assert_eq!(drive.read(0x4a, 2), 2, "version 2, an endpoint");
    // It can be reset by itself, but not by the partition.
    assert_eq!((drive.real(0x4c), drive.read(0x4c, 4)), (1 << 28, 0));
    // Power management before it, MSI-X behind it, AER far behind.
    assert_ne!((drive.real(0x40), drive.real(0x84)), (0, 0));
    for hidden in (0x40..0x48).chain(0x84..0x100).chain([0x100, 0x104, 0xffc]) {
        assert_eq!(drive.read(hidden, 1), 0, "{hidden:#x}");
    }
}

#[test]
fn of_the_command_register_two_bits_can_be_set() {
    let mut drive = Drive::new();
    drive.pci.model_mut(drive.node).put16(4, 0x400);
    assert_eq!(drive.read(4, 2), 0x400);
    drive.write(4, 2, 0xffff);
    assert_eq!(drive.real(4) & 0xffff, 0x406);
    assert_eq!(drive.read(4, 2), 0x406);
    // A byte of it, the byte beside it, the status register.
    drive.write(4, 1, 2);
    assert_eq!(drive.real(4) & 0xffff, 0x402);
    drive.write(5, 1, 0);
    drive.write(6, 2, 0xffff);
    assert_eq!(drive.real(4) & 0xffff, 0x402);
    drive.write(4, 4, 4);
    assert_eq!(drive.real(4) & 0xffff, 0x404);
    // What Pinion has set there beside is neither seen nor lost.
    drive.pci.model_mut(drive.node).put16(4, 0x502);
    assert_eq!(drive.read(4, 2), 0x402);
    drive.write(4, 2, 0);
    assert_eq!(drive.real(4) & 0xffff, 0x500);
}

#[test]
fn registers_are_sized_and_never_move() {
    let mut drive = Drive::new();
    let before: Vec<u32> = (0x10..0x28).step_by(4).map(|at| drive.real(at)).collect();
    let ones = |drive: &mut Drive, at| {
        let old = drive.read(at, 4);
        drive.write(at, 4, u32::MAX);
        let size = drive.read(at, 4);
        drive.write(at, 4, old);
        assert_eq!(drive.read(at, 4), old);
        size
    };
    assert_eq!(ones(&mut drive, 0x10), !0x3fff | 4);
    assert_eq!(ones(&mut drive, 0x14), u32::MAX);
    assert_eq!(ones(&mut drive, 0x18), 0);
    assert_eq!(ones(&mut drive, 0x20), !0xfff | 8);
    assert_eq!(ones(&mut drive, 0x30), 0);
    // Byte by byte too.
    drive.write(0x23, 1, 0x12);
    assert_eq!(drive.read(0x20, 4), 0x1210_0008);
    let after: Vec<u32> = (0x10..0x28).step_by(4).map(|at| drive.real(at)).collect();
    assert_eq!(before, after);
}

#[test]
fn nothing_else_takes_a_write() {
    let mut drive = Drive::new();
    let space = |drive: &mut Drive| -> Vec<u32> {
        (0..0x1000).step_by(4).map(|at| drive.real(at)).collect()
    };
    let before = space(&mut drive);
    let mut wrote = 0;
    for at in (0..0x1000).filter(|at| !(4..6).contains(at)) {
        for size in [1, 2, 4] {
            if at % size == 0 && at != 4 {
                drive.write(at, size.into(), u32::MAX);
                wrote += 1;
            }
        }
    }
    assert!(wrote > 7000);
    assert_eq!(space(&mut drive), before);
}

/// Its own ids are all ones, it has no memory bit, and it is seen with both.
#[test]
fn a_virtual_function_looks_like_any_other() {
    let mut drive = Drive::of(DeviceModel::new(0xffff, 0xffff, 0x01_0802), true);
    assert_eq!(drive.read(0, 4), 0x0010_1b36);
    assert_eq!(drive.read(4, 2), 2);
    assert_eq!(drive.read(0x14, 4), 0x6_00c0);
}

/// A device that is pulled out, or whose PE is frozen, reads as all ones.
#[test]
fn a_function_that_does_not_answer_looks_dead() {
    let mut drive = Drive::new();
    drive.pci.remove(drive.node);
    for at in [0, 4, 8, 0xc, 0x10, 0x14, 0x18, 0x2c, 0x34, 0x40, 0x48, 0x4c] {
        assert_eq!(drive.read(at, 4), u32::MAX, "{at:#x}");
    }
    assert_eq!((drive.read(0, 2), drive.read(0x34, 1)), (0xffff, 0xff));
    assert_eq!(
        (drive.read(0x100, 4), drive.read(0xffc, 4)),
        (u32::MAX, u32::MAX)
    );
}

/// All ones are no command register that could be written back.
#[test]
fn a_command_that_cannot_be_read_is_not_written() {
    let mut drive = Drive::new();
    drive.pci.model_mut(drive.node).put16(4, 0xffff);
    drive.pci.model_mut(drive.node).allow16(4, 0xffff);
    assert!(drive.view.write(&mut drive.pci, 4, 2, 0).is_err());
    assert_eq!(drive.real(4) & 0xffff, 0xffff);
    drive.pci.remove(drive.node);
    assert!(drive.view.write(&mut drive.pci, 4, 2, 6).is_err());
}

/// Its physical function has a capability there.
#[test]
fn a_virtual_function_without_the_capability_shows_none() {
    let mut drive = Drive::of(DeviceModel::new(0xffff, 0xffff, 0x01_0802), true);
    drive.pci.model_mut(drive.node).put32(0x48, 0x1234_5605);
    assert_eq!((drive.read(0x34, 1), drive.read(6, 2) & 0x10), (0, 0));
    assert_eq!((drive.read(0x48, 4), drive.read(0x4c, 4)), (0, 0));
    let mut drive = Drive::of(self::drive(), true);
    assert_eq!((drive.read(0x34, 1), drive.read(6, 2) & 0x10), (0x48, 0x10));
    assert_eq!(drive.read(0x48, 2), 0x10);
}

/// Version 1 ends behind 0x14 bytes, for an endpoint.
#[test]
fn a_short_capability_ends() {
    let mut drive = Drive::new();
    let node = drive.node;
    for at in [0x48 + 0x10, 0x48 + 0x14, 0x48 + 0x38] {
        drive.pci.model_mut(node).put32(at, 0x1234_5678);
    }
    let mut seen = |version| {
        drive.pci.model_mut(node).put16(0x4a, version);
        [0x10, 0x14, 0x38].map(|at| drive.read(0x48 + at, 4))
    };
    assert_eq!(seen(2), [0x1234_5678; 3]);
    assert_eq!(seen(1), [0x1234_5678, 0, 0]);
}

/// As cards of the first version have it: the list goes on where version 2 would
/// have more of the capability.
#[test]
fn messages_behind_a_short_express_capability_are_seen() {
    const NEAR: u16 = 0x48 + 0x18;
    let mut drive = Drive::with(drive(), |identity| {
        identity.msi = MessageCapability::new(Msi {
            offset: NEAR,
            vectors: 1,
            wide: true,
            maskable: false,
        });
    });
    let model = drive.pci.model_mut(drive.node);
    model.put16(0x4a, 1);
    model.put32(NEAR, 0x0080_0005);
    model.allow16(NEAR + 2, 1);
    assert_eq!((drive.read(0x34, 1), drive.read(0x49, 1)), (0x48, 0x60));
    assert_eq!(drive.read(NEAR, 4), 0x0080_0005, "MSI, the last one");
    drive.write(NEAR + 2, 2, 1);
    assert_eq!(drive.real(NEAR), 0x0081_0005);
    assert_eq!(drive.read(0x48 + 0x14, 4), 0, "between the two");
}

#[test]
fn a_partition_with_interrupts_sees_how_the_function_sends() {
    let mut drive = Drive::interrupting();
    let mut list = vec![drive.read(0x34, 1) as u16];
    while let Some(next @ 1..) = list.last().map(|at| drive.read(at + 1, 1) as u16) {
        list.push(next);
    }
    assert_eq!(list, [0x48, MSIX, MSI]);
    assert_eq!((drive.read(MSIX, 1), drive.read(MSI, 1)), (0x11, 5));
    assert_eq!(drive.read(MSIX + 2, 2), 7, "eight entries");
    assert_eq!(
        (drive.read(MSIX + 4, 4), drive.read(MSIX + 8, 4)),
        (4, 0x84)
    );
    assert_eq!(drive.read(0x3c, 4), 3 << 8, "pin C");
    // Nothing behind it, nor between.
    for hidden in (0x40..0x48).chain(MSI + 24..0x100).chain([0x100]) {
        assert_eq!(drive.read(hidden, 1), 0, "{hidden:#x}");
    }
}

/// On and off, masked or not. What is sent, and where, stays Pinion's to write.
#[test]
fn messages_are_turned_on_and_masked_and_nothing_else() {
    let mut drive = Drive::interrupting();
    let node = drive.node;
    for at in (MSI + 4..MSI + 24).step_by(4) {
        drive.pci.model_mut(node).put32(at, 0x1111_1111);
    }
    let model = drive.pci.model_mut(node);
    for at in (MSI..MSI + 24).chain(MSIX..MSIX + 12).step_by(2) {
        model.allow16(at, 0xffff);
    }
    let space = |drive: &mut Drive| -> Vec<u32> {
        (0..0x1000).step_by(4).map(|at| drive.real(at)).collect()
    };
    let before = space(&mut drive);
    for value in [u32::MAX, 0] {
        for at in (0x34..0x1000).step_by(4) {
            drive.write(at, 4, value);
        }
        let mut expected = before.clone();
        expected[usize::from(MSIX / 4)] &= 0x3fff_ffff;
        expected[usize::from(MSIX / 4)] |= value & 0xc000_0000;
        expected[usize::from(MSI / 4)] &= !0x1_0000;
        expected[usize::from(MSI / 4)] |= value & 0x1_0000;
        expected[usize::from(MSI / 4) + 4] = value;
        assert_eq!(space(&mut drive), expected);
    }
    // As Linux does it, and a byte of the mask.
    drive.write(MSIX + 2, 2, 0xc007);
    assert_eq!(drive.real(MSIX) >> 16, 0xc007);
    drive.write(MSIX + 2, 2, 0x8007);
    assert_eq!(drive.read(MSIX + 2, 2), 0x8007);
    drive.write(MSI + 17, 1, 0xab);
    assert_eq!(drive.real(MSI + 16), 0xab00);
    // The pin.
    drive.write(4, 2, 0xffff);
    assert_eq!(drive.real(4) & 0xffff, 0x406);
    drive.write(4, 2, 6);
    assert_eq!(drive.real(4) & 0xffff, 6);
    drive.pci.remove(node);
    assert!(drive.view.write(&mut drive.pci, MSIX, 4, 0).is_err());
}
