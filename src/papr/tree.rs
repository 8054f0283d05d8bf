//! A partition's device tree (LoPAR 2.9, appendix B): what a kernel needs to see
//! in order to be a partition with radix translation. What describes the
//! processor is copied from the machine's own tree.

use super::bridge::Bridge;
use super::dispatch::TERMINAL;
use super::rtas::{ENTRY, Function as Service};
use super::writer::Writer;
use super::xive::{PAGE_SHIFT, PRIORITIES, QUEUE_SHIFTS, THREAD_PAGES};
use crate::fdt::Node;
use alloc::vec::Vec;
use thiserror::Error;

/// What the tree says of a partition.
pub struct Spec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number, which is its LPID.
    pub number: u32,
    /// Bytes of memory from 0 on.
    pub bytes: u64,
    /// vCPUs, numbered from 0.
    pub vcpus: u32,
    /// The kernel's arguments.
    pub bootargs: &'a str,
    /// First byte of the initrd, and the byte behind it.
    pub initrd: Option<(u64, u64)>,
    /// Where RTAS is entered: [`RTAS_BYTES`] that are kept free.
    pub rtas: u32,
    /// For the kernel's random numbers.
    pub seed: [u8; 32],
    /// Interrupts come by a XIVE that it uses itself, not by calls (XICS).
    pub exploits: bool,
    /// Its host bridges, one for each group of functions.
    pub bridges: &'a [Bridge],
}

/// Bytes that RTAS takes.
pub const RTAS_BYTES: u32 = 4096;

/// Bytes of memory that could come or go at a time: none does.
const MEMORY_PIECE: u32 = 16 << 20;

const _: () = assert!(ENTRY.len() * 4 <= RTAS_BYTES as usize);

/// Why there is no tree.
#[derive(Debug, Error)]
pub enum TreeError {
    /// The machine's tree does not say something about its processors.
    #[error("the machine's processor node has no {0}")]
    Missing(&'static str),
    /// A text with a zero in it.
    #[error("{0} has a zero byte in it")]
    Text(&'static str),
}

/// What is copied as it is.
const SAME: [&str; 16] = [
    "64-bit",
    "clock-frequency",
    "cpu-version",
    "d-cache-block-size",
    "d-cache-line-size",
    "d-cache-size",
    "i-cache-block-size",
    "i-cache-line-size",
    "i-cache-size",
    "ibm,dec-bits",
    "ibm,dfp",
    "ibm,purr",
    "ibm,slb-size",
    "ibm,spurr",
    "ibm,vmx",
    "timebase-frequency",
];

/// What no kernel can do without.
const NEEDED: [&str; 3] = ["cpu-version", "timebase-frequency", "ibm,pa-features"];

/// Page sizes of radix trees and how tlbie names them, for a machine whose tree
/// does not say: all processors have these (4K, 64K, 2M, 1G).
const ENCODINGS: [u32; 4] = [0x0000_000c, 0xa000_0010, 0x2000_0015, 0x4000_001e];

/// What hypervisor calls there are, in the words of LoPAR.
const CALLS: &[&str] = &[
    "hcall-term",
    "hcall-interrupt",
    "hcall-set-mode",
    "hcall-splpar",
    "hcall-tce",
    "hcall-multi-tce",
];

/// Phandle of the interrupt controller.
pub(super) const CONTROLLER: u32 = 1;

/// The tree.
///
/// # Errors
/// The machine's tree lacks something, or a text has a zero in it.
pub fn build(spec: &Spec<'_>, processor: &Node<'_>) -> Result<Vec<u8>, TreeError> {
    if let Some(missing) = NEEDED
        .into_iter()
        .find(|name| processor.property(name).is_none())
    {
        return Err(TreeError::Missing(missing));
    }
    for (what, text) in [("the name", spec.name), ("bootargs", spec.bootargs)] {
        if text.contains('\0') {
            return Err(TreeError::Text(what));
        }
    }
    let mut tree = Writer::default();
    tree.node("", |tree| {
        tree.texts("device_type", &["chrp"]);
        tree.texts("compatible", &["pinion,partition"]);
        tree.texts("model", &["Pinion partition"]);
        tree.texts("ibm,partition-name", &[spec.name]);
        tree.cells("ibm,partition-no", &[spec.number]);
        tree.cells("#address-cells", &[2]);
        tree.cells("#size-cells", &[2]);
        if spec.exploits {
            // Priorities that are the hypervisor's: 7 to 0xfe.
            let reserved = u32::from(PRIORITIES);
            tree.cells("ibm,plat-res-int-priorities", &[reserved, 0xff - reserved]);
        }
        tree.node("chosen", |tree| chosen(tree, spec))?;
        tree.node("memory@0", |tree| {
            tree.texts("device_type", &["memory"]);
            tree.numbers("reg", &[0, spec.bytes]);
            Ok::<_, TreeError>(())
        })?;
        tree.node("cpus", |tree| {
            tree.cells("#address-cells", &[1]);
            tree.cells("#size-cells", &[0]);
            let base = processor.base_name();
            for number in 0..spec.vcpus {
                let name = alloc::format!("{base}@{number:x}");
                tree.node(&name, |tree| vcpu(tree, number, processor))?;
            }
            Ok(())
        })?;
        tree.node("rtas", |tree| services(tree, spec))?;
        if spec.exploits {
            let name = alloc::format!("interrupt-controller@{THREAD_PAGES:x}");
            tree.node(&name, |tree| engine(tree, spec))?;
        } else {
            tree.node("interrupt-controller", |tree| controller(tree, spec))?;
        }
        tree.node("vdevice", terminal)?;
        spec.bridges
            .iter()
            .try_for_each(|bridge| bridge.write(tree))
    })?;
    // Reserved: kernels take memory before they look at RTAS.
    Ok(tree.finish((spec.rtas.into(), RTAS_BYTES.into())))
}

fn chosen(tree: &mut Writer, spec: &Spec<'_>) -> Result<(), TreeError> {
    tree.texts("bootargs", &[spec.bootargs]);
    let path = alloc::format!("/vdevice/vty@{TERMINAL:x}");
    tree.texts("stdout-path", &[&path]);
    tree.texts("linux,stdout-path", &[&path]);
    if let Some((start, end)) = spec.initrd {
        tree.numbers("linux,initrd-start", &[start]);
        tree.numbers("linux,initrd-end", &[end]);
    }
    tree.bytes("rng-seed", &spec.seed);
    // What ibm,client-architecture-support would answer: how interrupts come
    // (byte 23), radix (24), and the partition invalidates translations (26).
    let mut options = [0; 28];
    options[23] = if spec.exploits { 0x40 } else { 0 };
    options[24] = 0x40;
    options[26] = 0x40;
    tree.bytes("ibm,architecture-vec-5", &options);
    Ok(())
}

fn vcpu(tree: &mut Writer, number: u32, processor: &Node<'_>) -> Result<(), TreeError> {
    tree.texts("device_type", &["cpu"]);
    tree.texts("status", &["okay"]);
    tree.cells("reg", &[number]);
    // Each vCPU is a core of its own to the kernel.
    tree.cells("ibm,ppc-interrupt-server#s", &[number]);
    tree.cells("ibm,ppc-interrupt-gserver#s", &[number, 0]);
    for name in SAME {
        if let Some(property) = processor.property(name) {
            tree.bytes(name, property.bytes());
        }
    }
    if let Some(features) = processor.property("ibm,pa-features") {
        tree.bytes("ibm,pa-features", &without_transactions(features.bytes()));
    }
    let encodings = "ibm,processor-radix-AP-encodings";
    match processor.property(encodings) {
        Some(property) => tree.bytes(encodings, property.bytes()),
        None => tree.cells(encodings, &ENCODINGS),
    }
    Ok(())
}

/// `ibm,pa-features` has a size, a type, then bits: those of byte 22 are
/// transactional memory, which partitions do not have.
fn without_transactions(features: &[u8]) -> Vec<u8> {
    let mut features = features.to_vec();
    if let Some(byte) = features.get_mut(2 + 22) {
        *byte = 0;
    }
    features
}

fn services(tree: &mut Writer, spec: &Spec<'_>) -> Result<(), TreeError> {
    tree.texts("ibm,hypertas-functions", CALLS);
    // The most memory that it may ever have, which kernels map a whole DMA window
    // for; a piece that could come or go, and the most vCPUs.
    let capacity = [
        (spec.bytes >> 32) as u32,
        spec.bytes as u32,
        0,
        MEMORY_PIECE,
        spec.vcpus,
    ];
    tree.cells("ibm,lrdr-capacity", &capacity);
    tree.cells("rtas-version", &[1]);
    tree.cells("rtas-size", &[RTAS_BYTES]);
    tree.cells("linux,rtas-base", &[spec.rtas]);
    tree.cells("linux,rtas-entry", &[spec.rtas]);
    for (token, name) in Service::ALL {
        tree.cells(name, &[*token]);
    }
    // Without it Linux keeps a panic to itself.
    tree.bytes("ibm,extended-os-term", &[]);
    Ok(())
}

fn controller(tree: &mut Writer, spec: &Spec<'_>) -> Result<(), TreeError> {
    tree.texts("device_type", &["PowerPC-External-Interrupt-Presentation"]);
    tree.texts("compatible", &["IBM,ppc-xicp"]);
    tree.bytes("interrupt-controller", &[]);
    tree.cells("#interrupt-cells", &[2]);
    tree.cells("ibm,interrupt-server-ranges", &[0, spec.vcpus]);
    tree.cells("phandle", &[CONTROLLER]);
    Ok(())
}

/// LoPAR's interrupt virtualization engine.
fn engine(tree: &mut Writer, spec: &Spec<'_>) -> Result<(), TreeError> {
    tree.texts("device_type", &["power-ivpe"]);
    tree.texts("compatible", &["ibm,power-ivpe"]);
    let (user, bytes) = (THREAD_PAGES.get(), 1 << PAGE_SHIFT);
    tree.numbers("reg", &[user, bytes, user + bytes, bytes]);
    tree.cells("ibm,xive-eq-sizes", &QUEUE_SHIFTS);
    tree.cells("ibm,xive-lisn-ranges", &[0, spec.vcpus]);
    tree.bytes("interrupt-controller", &[]);
    tree.cells("#address-cells", &[0]);
    tree.cells("#interrupt-cells", &[2]);
    tree.cells("phandle", &[CONTROLLER]);
    Ok(())
}

fn terminal(tree: &mut Writer) -> Result<(), TreeError> {
    tree.texts("device_type", &["vdevice"]);
    tree.texts("compatible", &["IBM,vdevice"]);
    tree.cells("#address-cells", &[1]);
    tree.cells("#size-cells", &[0]);
    tree.node(&alloc::format!("vty@{TERMINAL:x}"), |tree| {
        tree.texts("device_type", &["serial"]);
        tree.texts("compatible", &["hvterm1"]);
        tree.cells("reg", &[TERMINAL as u32]);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{BusAddr, HostAddr};
    use crate::dma::Liobn;
    use crate::fdt::Tree;
    use crate::papr::bridge::{Function, Line, Space};
    use crate::papr::ddw::Described;
    use crate::papr::messages::Limits;
    use crate::papr::xive::Lisn;
    use crate::tce::PageShift;

    fn spec(bootargs: &str) -> Spec<'_> {
        Spec {
            name: "a",
            number: 7,
            bytes: 1 << 28,
            vcpus: 3,
            bootargs,
            initrd: Some((0x100_0000, 0x100_1234)),
            rtas: 0xfff_0000,
            seed: [5; 32],
            exploits: false,
            bridges: &[],
        }
    }

    fn board(name: &str) -> Vec<u8> {
        std::fs::read(format!("tests/data/trees/{name}.dtb")).unwrap()
    }

    fn processor(board: &[u8]) -> Node<'_> {
        let cpus = Tree::check(board).unwrap().find("/cpus").unwrap();
        let mut all = cpus.children();
        all.find(|node| node.text("device_type") == Some("cpu"))
            .unwrap()
    }

    #[test]
    fn trees_of_all_boards_are_sound() {
        for board in ["powernv9", "powernv10"] {
            let bytes = self::board(board);
            let written = build(&spec("console=hvc0"), &processor(&bytes)).unwrap();
            let tree = Tree::check(&written).unwrap();
            let rtas = tree.find("/rtas").unwrap();
            assert_eq!(rtas.u32("linux,rtas-entry"), Some(0xfff_0000));
            assert_eq!(rtas.u32("power-off"), Some(3));
            let capacity = rtas.property("ibm,lrdr-capacity").unwrap();
            let capacity: Vec<u32> = capacity.cells().collect();
            assert_eq!(capacity, [0, 1 << 28, 0, 16 << 20, 3]);
            assert!(rtas.property("ibm,extended-os-term").is_some());
            let chosen = tree.find("/chosen").unwrap();
            assert_eq!(chosen.text("bootargs"), Some("console=hvc0"));
            assert_eq!(chosen.number("linux,initrd-end"), Some(0x100_1234));
            let options = chosen.property("ibm,architecture-vec-5").unwrap().bytes();
            assert_eq!((options[23], options[24], options[26]), (0, 0x40, 0x40));
            assert_eq!(
                tree.find(chosen.text("stdout-path").unwrap())
                    .unwrap()
                    .text("compatible"),
                Some("hvterm1")
            );
            let vcpus: Vec<_> = tree.find("/cpus").unwrap().children().collect();
            assert_eq!(vcpus.len(), 3);
            assert_eq!(vcpus[2].u32("reg"), Some(2));
            let features = vcpus[0].property("ibm,pa-features").unwrap().bytes();
            assert_eq!((features[2 + 22], features[2 + 40]), (0, 0x80));
            assert!(
                vcpus[0]
                    .property("ibm,processor-radix-AP-encodings")
                    .is_some()
            );
            assert_eq!(
                tree.reservations().collect::<Vec<_>>(),
                [(0xfff_0000, 4096)]
            );
        }
    }

    #[test]
    fn a_partition_that_exploits_its_xive_is_told_where_it_is() {
        let bytes = board("powernv9");
        let spec = Spec {
            exploits: true,
            ..spec("")
        };
        let written = build(&spec, &processor(&bytes)).unwrap();
        let tree = Tree::check(&written).unwrap();
        let cells = |property: crate::fdt::Property<'_>| property.cells().collect::<Vec<_>>();
        let root = tree.root().property("ibm,plat-res-int-priorities");
        assert_eq!(cells(root.unwrap()), [7, 0xf8]);
        let node = tree.find("/interrupt-controller@6030203180000").unwrap();
        assert_eq!(node.text("compatible"), Some("ibm,power-ivpe"));
        let property = |name| cells(node.property(name).unwrap());
        let pages = [
            0x6_0302,
            0x0318_0000,
            0,
            0x1_0000,
            0x6_0302,
            0x0319_0000,
            0,
            0x1_0000,
        ];
        assert_eq!(property("reg"), pages);
        assert_eq!(property("ibm,xive-eq-sizes"), [12, 16]);
        assert_eq!(property("ibm,xive-lisn-ranges"), [0, 3]);
        let chosen = tree.find("/chosen").unwrap();
        let options = chosen.property("ibm,architecture-vec-5").unwrap().bytes();
        assert_eq!((options[23], options[24], options[26]), (0x40, 0x40, 0x40));
    }

    #[test]
    fn host_bridges_are_described_as_kernels_read_them() {
        let bytes = board("powernv9");
        let processor = processor(&bytes);
        let space = |bar, wide, bus, host, bytes| Space {
            bar,
            wide,
            prefetchable: wide,
            bus: BusAddr::new(bus),
            host: HostAddr::new(host),
            bytes,
        };
        let bridges = [Bridge {
            buid: 0x0800_0000_2000_0003,
            window: Described {
                liobn: Liobn(0x8000_0006),
                base: BusAddr::new(0),
                bytes: 1 << 30,
                page: PageShift::K4,
                levels: 2,
            },
            functions: alloc::vec![Function {
                config: 0x01_1900,
                vendor: 0x1b36,
                device: 0x0010,
                revision: 2,
                class: 0x01_0802,
                spaces: alloc::vec![
                    space(0, true, 0x1_0000_0000, 0x6_0000_0000_0000, 0x4000),
                    space(4, false, 0x8010_0000, 0x6_00c0_0010_0000, 0x1000),
                ],
                messages: Limits { msi: 1, msix: 17 },
                line: Some(Line {
                    pin: 2,
                    source: Lisn::new(70),
                }),
            }],
        }];
        let spec = Spec {
            bridges: &bridges,
            ..spec("")
        };
        let written = build(&spec, &processor).unwrap();
        let tree = Tree::check(&written).unwrap();
        let node = tree.find("/pci@800000020000003").unwrap();
        let cells = |node: &Node<'_>, name| -> Vec<u32> {
            let bytes = node.property(name).unwrap().bytes().as_chunks::<4>().0;
            bytes.iter().map(|cell| u32::from_be_bytes(*cell)).collect()
        };
        assert_eq!(node.text("device_type"), Some("pci"));
        assert_eq!(
            cells(&node, "reg"),
            [0x0800_0000, 0x2000_0003, 0, 0],
            "two cells each, by the root"
        );
        assert_eq!(cells(&node, "bus-range"), [1, 1]);
        assert_eq!(
            cells(&node, "ibm,dma-window"),
            [0x8000_0006, 0, 0, 0, 1 << 30]
        );
        assert_eq!(cells(&node, "ibm,ddw-applicable"), [10, 11, 12]);
        assert_eq!(cells(&node, "ibm,ddw-extensions"), [2, 13, 1]);
        let ranges = [
            [0x4300_0000, 1, 0, 0x6_0000, 0, 0, 0x4000],
            [0x0200_0000, 0, 0x8010_0000, 0x6_00c0, 0x10_0000, 0, 0x1000],
        ];
        assert_eq!(cells(&node, "ranges"), ranges.concat());
        let function = node.children().next().unwrap();
        assert_eq!(function.name(), "device@3,1");
        let assigned = [
            [0xc301_1910, 1, 0, 0, 0x4000],
            [0x8201_1920, 0, 0x8010_0000, 0, 0x1000],
        ];
        assert_eq!(cells(&function, "assigned-addresses"), assigned.concat());
        let reg = [
            [0x01_1900, 0, 0, 0, 0],
            [0x4301_1910, 0, 0, 0, 0x4000],
            [0x0201_1920, 0, 0, 0, 0x1000],
        ];
        assert_eq!(cells(&function, "reg"), reg.concat());
        assert_eq!(function.u32("class-code"), Some(0x01_0802));
        assert_eq!(function.u32("ibm,req#msi"), Some(1));
        assert_eq!(function.u32("ibm,req#msi-x"), Some(17));
        assert_eq!(node.u32("ibm,pe-total-#msi"), Some(32));
        // Pin B of the function goes to a level.
        assert_eq!(function.u32("interrupts"), Some(2));
        let map = [0x01_1900, 0, 0, 2, CONTROLLER, 70, 1];
        assert_eq!(cells(&node, "interrupt-map"), map);
        let mask = cells(&node, "interrupt-map-mask");
        assert!(map.iter().zip(&mask).all(|(map, mask)| map & mask == *map));
        let rtas = tree.find("/rtas").unwrap();
        assert_eq!(rtas.u32("ibm,query-pe-dma-window"), Some(10));
    }

    #[test]
    fn texts_with_a_zero_are_refused() {
        let bytes = board("powernv9");
        let processor = processor(&bytes);
        assert!(matches!(
            build(&spec("a\0b"), &processor),
            Err(TreeError::Text("bootargs"))
        ));
        assert!(matches!(
            build(
                &spec(""),
                &Tree::check(&bytes).unwrap().find("/cpus").unwrap()
            ),
            Err(TreeError::Missing(_))
        ));
    }
}
