//! Boards as model topologies, and their PHBs.

use super::device::DeviceModel;
use super::tree::{NodeId, SimPci};
use crate::addr::{BusAddr, HostAddr};
use crate::pci::{Generation, PhbDescription, PhbId, PhbInfo, Window};

/// All ACS bits that a port can have here.
pub const ACS_FULL: u16 = 0x1f;

/// A PHB as skiboot describes it on QEMU's machines; `number` picks its
/// windows apart from others'.
pub fn describe(generation: Generation, number: u16) -> PhbDescription {
    let n = u64::from(number);
    let (pes, m64_size, bars) = match generation {
        Generation::Phb3 => (256, 64 << 30, 0..=15),
        // Of the six PHBs of a chip, two have the full number of PEs.
        Generation::Phb4 | Generation::Phb5 if matches!(number % 6, 0 | 3) => {
            (512, 256 << 30, 1..=31)
        }
        Generation::Phb4 | Generation::Phb5 => (256, 256 << 30, 1..=15),
    };
    let m64 = 0x6_0000_0000_0000 + n * m64_size;
    PhbDescription {
        id: PhbId::new(number),
        generation,
        buses: 0..=255,
        pes,
        reserved: pes - 1,
        m32: Window {
            bus: BusAddr::new(0x8000_0000),
            host: HostAddr::new(0x600_c000_0000 + n * 0x8000_0000),
            size: 0x7fff_0000,
        },
        m64: Some(Window {
            bus: BusAddr::new(m64),
            host: HostAddr::new(m64),
            size: m64_size,
        }),
        m64_bars: bars,
        vectors: if generation == Generation::Phb3 {
            0x7f8
        } else {
            0xff8
        },
        config_size: if generation == Generation::Phb3 {
            256
        } else {
            4096
        },
    }
}

/// A PHB and what is below it.
pub struct Board {
    /// The host bridge.
    pub phb: PhbInfo,
    /// The tree below.
    pub pci: SimPci,
}

impl Board {
    /// A PHB with a root port and nothing below.
    pub fn empty(generation: Generation, number: u16) -> (Self, NodeId) {
        let description = describe(generation, number);
        let phb = PhbInfo::new(&description).expect("the model's own PHB");
        let mut pci = SimPci::new(phb.id(), phb.config_size());
        let root = pci.add(
            None,
            0,
            0,
            DeviceModel::bridge(0x1014, 0x04c1)
                .express(4)
                .aer()
                .acs(ACS_FULL),
        );
        (Self { phb, pci }, root)
    }

    /// One NVMe drive.
    pub fn one_device(generation: Generation, number: u16) -> (Self, NodeId) {
        let (mut board, root) = Self::empty(generation, number);
        let drive = board.pci.add(Some(root), 0, 0, nvme());
        (board, drive)
    }

    /// A switch with two ports; `acs` are the ports' bits.
    pub fn switch(
        generation: Generation,
        acs: u16,
        models: [DeviceModel; 2],
    ) -> (Self, [NodeId; 2]) {
        let (mut board, root) = Self::empty(generation, 0);
        let ports = board.pci.add_switch(root, 2, acs);
        let [first, second] = models;
        let devices = [
            board.pci.add(Some(ports[0]), 0, 0, first),
            board.pci.add(Some(ports[1]), 0, 0, second),
        ];
        (board, devices)
    }

    /// A device with `count` functions, each with these ACS bits.
    pub fn multi_function(
        generation: Generation,
        count: u8,
        acs: Option<u16>,
    ) -> (Self, Vec<NodeId>) {
        let (mut board, root) = Self::empty(generation, 0);
        let functions = (0..count).map(|function| {
            let model = edu().multi_function();
            let model = match acs {
                Some(bits) => model.acs(bits),
                None => model,
            };
            board.pci.add(Some(root), 0, function, model)
        });
        let functions = functions.collect();
        (board, functions)
    }

    /// A PCIe-to-PCI bridge with two conventional devices.
    pub fn conventional(generation: Generation) -> (Self, [NodeId; 2]) {
        let (mut board, root) = Self::empty(generation, 0);
        let bridge = board.pci.add(
            Some(root),
            0,
            0,
            DeviceModel::bridge(0x1b36, 0x000e).express(7),
        );
        let devices = [1, 2].map(|device| {
            let model = DeviceModel::new(0x1234, 0x11e8, 0xff_0000)
                .bar32(0, 1 << 20, false)
                .pin(1);
            board.pci.add(Some(bridge), device, 0, model)
        });
        (board, devices)
    }

    /// A network card with SR-IOV.
    pub fn sriov(generation: Generation) -> (Self, NodeId) {
        let (mut board, root) = Self::empty(generation, 0);
        let card = board.pci.add(Some(root), 0, 0, igb());
        (board, card)
    }
}

impl SimPci {
    /// A switch with `ports` downstream ports; those.
    pub fn add_switch(&mut self, below: NodeId, ports: u8, acs: u16) -> Vec<NodeId> {
        let upstream = self.add(
            Some(below),
            0,
            0,
            DeviceModel::bridge(0x104c, 0x8232).express(5),
        );
        (0..ports)
            .map(|device| {
                let port = DeviceModel::bridge(0x104c, 0x8233).express(6);
                let port = if acs == 0 { port } else { port.acs(acs) };
                self.add(Some(upstream), device, 0, port)
            })
            .collect()
    }
}

/// An NVMe drive.
pub fn nvme() -> DeviceModel {
    DeviceModel::new(0x1b36, 0x0010, 0x01_0802)
        .bar64(0, 16 << 10, false)
        .pin(1)
        .express(0)
        .msix(65, 0)
        .power()
        .aer()
}

/// QEMU's teaching device, as a PCI Express function.
pub fn edu() -> DeviceModel {
    DeviceModel::new(0x1234, 0x11e8, 0xff_0000)
        .bar32(0, 1 << 20, false)
        .pin(1)
        .express(0)
        .msi(0)
}

/// A network card with eight virtual functions, numbered as Intel's 82576.
pub fn igb() -> DeviceModel {
    DeviceModel::new(0x8086, 0x10c9, 0x02_0000)
        .bar32(0, 128 << 10, false)
        .bar32(1, 128 << 10, false)
        .bar_io(2, 32)
        .bar32(3, 16 << 10, false)
        .pin(1)
        .express(0)
        .msix(25, 3)
        .aer()
        .ari(0)
        .sriov(8, 0x80, 2, &[(0, 16 << 10, true), (3, 16 << 10, true)])
}
