//! The tables as a person reads them.
use pinion::pci::show::{Bytes, GroupTable, PciTree};
use pinion::pci::*;
use pinion::sim::pci::boards::{Board, edu, nvme};
use pinion::sim::pci::planned::Planned;

fn tables(board: Board, virtuals: u16) -> (String, String) {
    let planned = Planned::new(board, virtuals);
    let setup = planned.setup();
    (
        PciTree(setup).to_string(),
        GroupTable(setup, &|_| None).to_string(),
    )
}

#[test]
fn a_switch_reads_well() {
    let liar = edu().raw_bar(0x14, 0, 0xff7f_0000);
    let (tree, groups) = tables(Board::switch(Generation::Phb4, 0, [nvme(), liar]).0, 0);
    println!("{tree}\n{groups}");
    assert_eq!(
        tree,
        "PHB 0000 PHB4, 512 PEs, buses 00..ff, M32 segments of 4 MB, M64 segments of 512 MB
  00:00.0 1014:04c1 root port, buses 01..04, PE 001, AER, ACS
    01:00.0 104c:8232 switch upstream port, buses 02..04, PE 002
      02:00.0 104c:8233 switch downstream port, buses 03..03, PE 003
        03:00.0 1b36:0010 NVMe, PE 000, MSI-X 65, INTA, FLR, AER
            BAR 0 16 KB 64-bit at 0x80000000, host 0x600c0000000
      02:01.0 104c:8233 switch downstream port, buses 04..04, PE 004
        04:00.0 1234:11e8 vendor's own, left alone, MSI 1, INTA, FLR
            BAR 0 1 MB 32-bit, not assigned
! 0000:04:00.0: BAR 1: size mask 0xff7f0000 is not a power of two
"
    );
    assert_eq!(
        groups,
        "PHB   PE   kind    M32 M64 pin   functions
0000  001  bridge    0   0 ----   00:00.0
0000  002  bridge    0   0 ----   01:00.0
0000  003  bridge    0   0 ----   02:00.0
0000  004  bridge    0   0 ----   02:01.0
0000  000  device    1   0 A---   03:00.0 !04:00.0
      because port 02:00.0 lacks all of ACS
"
    );
}

#[test]
fn lines_fit_a_terminal_and_virtual_functions_are_marked() {
    let (tree, groups) = tables(Board::sriov(Generation::Phb5).0, 4);
    println!("{tree}\n{groups}");
    assert!(groups.contains(" v01:10.0\n"));
    assert!(tree.contains("SR-IOV 8") && tree.contains("BAR 2 32 B IO, not assigned"));
    assert!(tree.lines().all(|line| line.len() <= 100), "{tree}");
}

#[test]
fn a_group_is_shown_with_who_has_it() {
    let planned = Planned::new(Board::sriov(Generation::Phb5).0, 0);
    let owned = GroupTable(planned.setup(), &|_| Some("web".into())).to_string();
    let groups = owned.lines().filter(|line| line.starts_with("0000"));
    assert_ne!(groups.clone().count(), 0);
    assert!(
        groups.clone().all(|line| line.ends_with("  of web")),
        "{owned}"
    );
}

#[test]
fn sizes_are_exact() {
    let show = |bytes| Bytes(bytes).to_string();
    assert_eq!(
        [show(0), show(32), show(1536), show(3 << 20)],
        ["0 B", "32 B", "1536 B", "3 MB"]
    );
    assert_eq!(show(u64::MAX), "18446744073709551615 B");
}
