//! The interrupt controller's thread side (skiboot hdata/pcia.c, hw/xive.c,
//! hw/xive2.c; doc/xive.rst).

use crate::fdt::{Node, Tree};
use alloc::vec::Vec;

/// How interrupts reach threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterruptController {
    /// POWER8: a page of registers for each thread.
    Icp(Vec<IcpPage>),
    /// POWER9 and later.
    Xive {
        /// Real address of the hypervisor's page of the thread management area:
        /// the second entry of `reg`.
        hypervisor_page: u64,
        /// `ibm,xive-#priorities`: 1 to 8; all below are usable.
        priorities: u8,
        /// `ibm,xive-eq-sizes`: base-2 logarithms of the sizes of event queues,
        /// in bytes.
        queue_shifts: Vec<u32>,
        /// What partitions need to use it themselves.
        exploitation: Option<Exploitation>,
    },
}

/// What partitions need to use a XIVE themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exploitation {
    /// Real address of the partition's page of the thread management area: the
    /// third entry of `reg`, of 64K.
    pub os_page: u64,
    /// That of the user's page: the fourth entry, of 64K.
    pub user_page: u64,
    /// `ibm,xive-provision-page-size`, as a base-2 logarithm: pages that firmware
    /// asks for; `None`: it never does.
    pub provision_shift: Option<u32>,
    /// `ibm,xive-provision-chips`: the chips that each get one.
    pub provision_chips: Vec<u32>,
}

/// A thread's ICP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcpPage {
    /// Interrupt server number: the PIR.
    pub server: u32,
    /// Real address of its registers.
    pub address: u64,
}

/// Whether the node has one of the names; trees differ in case (hostboot's
/// "IBM,ppc-xicp", skiboot's "ibm,ppc-xicp").
fn is_called(node: &Node<'_>, name: &str) -> bool {
    node.property("compatible")
        .is_some_and(|list| list.texts().any(|text| text.eq_ignore_ascii_case(name)))
}

/// The controller; `None` if no node tells of a usable one.
pub(super) fn read(tree: &Tree<'_>) -> Option<InterruptController> {
    let root = tree.root();
    let nodes = || {
        root.children()
            .filter(|node| node.base_name() == "interrupt-controller")
    };
    if let Some(xive) = nodes().find(|node| is_called(node, "ibm,opal-xive-pe")) {
        return read_xive(&root, &xive);
    }
    let pages: Vec<IcpPage> = nodes()
        .filter(|node| is_called(node, "ibm,ppc-xicp") || is_called(node, "ibm,power8-icp"))
        .flat_map(|node| read_icp(&root, &node))
        .collect();
    (!pages.is_empty()).then_some(InterruptController::Icp(pages))
}

fn read_xive(root: &Node<'_>, node: &Node<'_>) -> Option<InterruptController> {
    let hypervisor = node.reg(root)?.nth(1).filter(|reg| reg.size != 0)?;
    let priorities = u8::try_from(node.u32("ibm,xive-#priorities")?).ok()?;
    Some(InterruptController::Xive {
        hypervisor_page: hypervisor.start,
        priorities: (1..=8).contains(&priorities).then_some(priorities)?,
        queue_shifts: node.property("ibm,xive-eq-sizes")?.cells().collect(),
        exploitation: read_exploitation(root, node),
    })
}

/// Bytes of a page of the thread management area as partitions get it.
const THREAD_PAGE: u64 = 1 << 16;

/// `None` where all of a virtual processor's queues cannot escalate to one
/// source, or the pages have another size.
fn read_exploitation(root: &Node<'_>, node: &Node<'_>) -> Option<Exploitation> {
    node.property("single-escalation-support")?;
    let mut pages = node.reg(root)?.skip(2);
    let (os, user) = (pages.next()?, pages.next()?);
    let provision = node.u32("ibm,xive-provision-page-size");
    let chips = node.property("ibm,xive-provision-chips");
    (os.size == THREAD_PAGE && user.size == THREAD_PAGE).then_some(())?;
    Some(Exploitation {
        os_page: os.start,
        user_page: user.start,
        provision_shift: provision.filter(|it| it.is_power_of_two()).map(u32::ilog2),
        provision_chips: chips.map_or_else(Vec::new, |chips| chips.cells().collect()),
    })
}

/// A node per core, an entry of `reg` per thread: `ibm,interrupt-server-ranges`
/// has the first thread's number and how many there are.
fn read_icp(root: &Node<'_>, node: &Node<'_>) -> Vec<IcpPage> {
    let range: Option<Vec<u32>> = node
        .property("ibm,interrupt-server-ranges")
        .map(|range| range.cells().collect());
    let (Some(&[first, count]), Some(pages)) = (range.as_deref(), node.reg(root)) else {
        return Vec::new();
    };
    (first..=u32::MAX)
        .take(count as usize)
        .zip(pages)
        .map(|(server, page)| IcpPage {
            server,
            address: page.start,
        })
        .collect()
}
