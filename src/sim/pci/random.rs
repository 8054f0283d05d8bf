//! Boards grown from bytes: for property tests, whose shrinking then leaves
//! the smallest tree that fails.

use super::boards::{Board, edu, igb, nvme};
use super::device::DeviceModel;
use super::tree::NodeId;
use crate::pci::Generation;

/// Where something can still be plugged.
struct Growth {
    board: Board,
    /// Ports without a device.
    ports: Vec<NodeId>,
    /// Conventional bridges with their next device number.
    buses: Vec<(NodeId, u8)>,
}

/// Grows a board: each pair of bytes plugs one thing somewhere.
pub fn grow(generation: Generation, script: &[u8]) -> Board {
    let (board, root) = Board::empty(generation, 0);
    let mut growth = Growth {
        board,
        ports: vec![root],
        buses: Vec::new(),
    };
    for pair in script.chunks_exact(2) {
        growth.step(pair[0], pair[1]);
    }
    growth.board
}

impl Growth {
    fn step(&mut self, what: u8, how: u8) {
        if what >= 224 && !self.buses.is_empty() {
            self.conventional(what, how);
            return;
        }
        if self.ports.is_empty() {
            return;
        }
        let port = self.ports.remove(usize::from(how) % self.ports.len());
        let acs = [0, 0x1d, 0x1f, 0x0d, 0x1c][usize::from(how >> 4) % 5];
        let pci = &mut self.board.pci;
        match what % 10 {
            0..=2 => {
                let ports = pci.add_switch(port, how % 5 + 1, acs);
                self.ports.extend(ports);
            }
            3 => {
                let bridge = DeviceModel::bridge(0x1b36, 0x000e).express(7);
                let bridge = pci.add(Some(port), 0, 0, bridge);
                self.buses.push((bridge, 0));
            }
            4 => {
                for function in 0..how % 8 + 1 {
                    let model = edu().multi_function().pin(function % 4 + 1);
                    // A bit absent from the capability: no such path inside.
                    let model = if acs == 0 {
                        model
                    } else {
                        model.acs(acs & 0xc)
                    };
                    pci.add(Some(port), 0, function, model);
                }
            }
            5 => {
                let card = if how & 1 == 0 {
                    igb()
                } else {
                    igb().bar64(4, 64 << 10, true)
                };
                pci.add(Some(port), 0, 0, card);
            }
            6 => {
                let size = 1u64 << (20 + how % 20);
                let model = edu()
                    .bar64(2, size, how & 1 == 0)
                    .bar_io(4, 32)
                    .rom(64 << 10);
                pci.add(Some(port), 0, 0, model);
            }
            7 => {
                let lying = nvme().raw_bar(0x18, 0, 0xff0f_0000);
                pci.add(
                    Some(port),
                    0,
                    0,
                    if how & 1 == 0 {
                        lying
                    } else {
                        nvme().looping()
                    },
                );
            }
            8 => self.switch_with_function(port, how, acs),
            _ => {
                let small = DeviceModel::bridge(0x104c, 0x8232)
                    .express(5)
                    .with_32_bit_prefetch();
                let upstream = pci.add(Some(port), 0, 0, small);
                let down =
                    DeviceModel::bridge(0x104c, 0x8233)
                        .express(6)
                        .bar32(0, 256 << 10, false);
                self.ports.push(pci.add(Some(upstream), how % 32, 0, down));
            }
        }
    }

    /// A switch whose upstream device also has a DMA engine as function 1.
    fn switch_with_function(&mut self, port: NodeId, how: u8, acs: u16) {
        let pci = &mut self.board.pci;
        let apart = |model: DeviceModel| if how & 1 == 0 { model } else { model.acs(0xc) };
        let upstream = apart(
            DeviceModel::bridge(0x10b5, 0x8796)
                .express(5)
                .multi_function(),
        );
        let upstream = pci.add(Some(port), 0, 0, upstream);
        pci.add(Some(port), 0, 1, apart(edu().multi_function().msix(4, 0)));
        for device in 0..how % 3 + 1 {
            let down = DeviceModel::bridge(0x10b5, 0x8796).express(6);
            let down = if acs == 0 { down } else { down.acs(acs) };
            self.ports.push(pci.add(Some(upstream), device, 0, down));
        }
    }

    fn conventional(&mut self, what: u8, how: u8) {
        let at = usize::from(how) % self.buses.len();
        let (bridge, device) = self.buses[at];
        if device == 32 {
            return;
        }
        self.buses[at].1 += 1;
        let pci = &mut self.board.pci;
        if what.is_multiple_of(4) {
            let below = pci.add(Some(bridge), device, 0, DeviceModel::bridge(0x3388, 0x0021));
            self.buses.push((below, 0));
        } else {
            let model = DeviceModel::new(0x1234, 0x11e8, 0xff_0000).bar32(
                0,
                1 << (12 + how % 12),
                how & 1 == 0,
            );
            pci.add(Some(bridge), device, 0, model.pin(1));
        }
    }
}
