//! QEMU's trace of writes to PHB registers, compared with what the image's
//! spy says it wrote: same registers, same values, same order on each PHB.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::emulator::qemu::REGISTER_WRITES;

/// How a line of the spy begins, wherever on the line: `spy: ADDRESS = VALUE`.
const SPY: &str = "spy: 0x";

/// A PHB's registers lie on a multiple of this; what is below is the offset.
const PHB_BYTES: u64 = 0x10_0000;

/// One store to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Write {
    address: u64,
    value: u64,
}

/// Whether a line of QEMU's log is of the trace.
pub fn is_line(line: &str) -> bool {
    line.starts_with(REGISTER_WRITES)
}

/// Checks offsets as they stand in a declaration.
///
/// # Errors
/// There are none, or one is no register of a PHB.
pub fn check(registers: &[u64]) -> Result<()> {
    ensure!(!registers.is_empty(), "trace names no register");
    for register in registers {
        ensure!(
            register % 8 == 0 && *register < PHB_BYTES,
            "trace: {register:#x} is no register of a PHB"
        );
    }
    Ok(())
}

/// What is wrong, or nothing: `log` is QEMU's, `console` what was printed.
pub fn compare(registers: &[u64], log: &str, console: &str) -> Option<String> {
    let registers: BTreeSet<u64> = registers.iter().copied().collect();
    let traced = by_phb(log.lines().filter_map(traced), &registers);
    let spied = by_phb(console.lines().filter_map(spied), &registers);
    if spied.is_empty() {
        return Some("the image's spy printed no register write".to_owned());
    }
    for phb in traced
        .keys()
        .chain(spied.keys())
        .copied()
        .collect::<BTreeSet<u64>>()
    {
        let empty = Vec::new();
        let (seen, said) = (
            traced.get(&phb).unwrap_or(&empty),
            spied.get(&phb).unwrap_or(&empty),
        );
        if let Some(at) = (0..seen.len().max(said.len())).find(|at| seen.get(*at) != said.get(*at))
        {
            let text = |write: Option<&Write>| {
                write.map_or("nothing".to_owned(), |write| {
                    format!("{:#x} = {:#018x}", write.address % PHB_BYTES, write.value)
                })
            };
            return Some(format!(
                "PHB at {phb:#x}, write {} of {}: QEMU saw {}, the image's spy says {}",
                at + 1,
                seen.len().max(said.len()),
                text(seen.get(at)),
                text(said.get(at))
            ));
        }
    }
    None
}

fn by_phb(
    writes: impl Iterator<Item = Write>,
    registers: &BTreeSet<u64>,
) -> BTreeMap<u64, Vec<Write>> {
    let mut phbs: BTreeMap<u64, Vec<Write>> = BTreeMap::new();
    for write in writes {
        if registers.contains(&(write.address % PHB_BYTES)) {
            phbs.entry(write.address - write.address % PHB_BYTES)
                .or_default()
                .push(write);
        }
    }
    phbs
}

/// `memory_region_ops_write cpu 0 mr 0x.. addr 0x.. value 0x.. size 8 name 'phb4-0.0-regs'`
fn traced(line: &str) -> Option<Write> {
    let line = line.strip_prefix(REGISTER_WRITES)?;
    let name = line.split(" name ").nth(1)?;
    // A PHB's only: XSCOM has registers of the same offsets.
    if !(name.starts_with("'phb") && name.contains("-regs'")) {
        return None;
    }
    let field = |name: &str| {
        let mut words = line.split_whitespace();
        words.find(|word| *word == name)?;
        number(words.next()?)
    };
    Some(Write {
        address: field("addr")?,
        value: field("value")?,
    })
}

/// `spy: 0x600c3c0000210 = 0x4000000000000001`; the log's time may stand
/// before it, and a remark behind.
fn spied(line: &str) -> Option<Write> {
    let line = &line[line.find(SPY)? + SPY.len() - 2..];
    let (address, value) = line.split_once(" = ")?;
    Some(Write {
        address: number(address)?,
        value: number(value.split_whitespace().next()?)?,
    })
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
memory_region_ops_write cpu 0 mr 0x55 addr 0x600c3c0000210 value 0x4000000000000001 size 8 name 'phb4-0.0-regs'
memory_region_ops_write cpu 0 mr 0x55 addr 0x2008c200 value 0x0 size 8 name 'xscom-pec-0.2-nest-phb-0'
phb4[0:0]: TCE access fault at 0x1000
memory_region_ops_write cpu 0 mr 0x55 addr 0x600c3c0000130 value 0x80 size 8 name 'phb4-0.0-regs'
memory_region_ops_write cpu 0 mr 0x55 addr 0x600c3c0000200 value 0x8000000000000000 size 8 name 'phb4-0.0-regs'
memory_region_ops_write cpu 0 mr 0x55 addr 0x600c3c0100210 value 0x4000000000000002 size 8 name 'phb4-0.1-regs'
";
    const SAID: &str = "\
[    0.5] spy: 0x600c3c0100210 = 0x4000000000000002
spy: 0x600c3c0000210 = 0x4000000000000001 map, TCE 0x3
spy: 0x600c3c0000200 = 0x8000000000000000\r
";
    const REGISTERS: [u64; 2] = [0x210, 0x200];

    #[test]
    fn the_order_counts_on_each_phb_alone() {
        assert_eq!(compare(&REGISTERS, LOG, SAID), None);
        let mut lines: Vec<&str> = SAID.lines().collect();
        lines.swap(1, 2);
        let text = compare(&REGISTERS, LOG, &lines.join("\n")).unwrap();
        assert!(
            text.starts_with("PHB at 0x600c3c0000000, write 1 of 2: QEMU saw 0x210"),
            "{text}"
        );
    }

    #[test]
    fn a_write_too_many_or_too_few_is_told() {
        let fewer = SAID.lines().take(2).collect::<Vec<_>>().join("\n");
        let text = compare(&REGISTERS, LOG, &fewer).unwrap();
        assert!(text.ends_with("the image's spy says nothing"), "{text}");
        let more = format!("{SAID}spy: 0x600c3c0200210 = 0x1\n");
        let text = compare(&REGISTERS, LOG, &more).unwrap();
        assert!(text.contains("QEMU saw nothing"), "{text}");
        let other = SAID.replace("0x4000000000000002", "0x4000000000000003");
        assert!(compare(&REGISTERS, LOG, &other).is_some());
    }

    #[test]
    fn a_silent_spy_is_no_agreement() {
        assert!(compare(&REGISTERS, "", "").is_some());
        assert!(compare(&[0x888], LOG, SAID).is_some());
    }

    #[test]
    fn offsets_are_checked() {
        assert!(check(&[0x210]).is_ok());
        assert!(check(&[]).is_err());
        assert!(check(&[0x211]).is_err());
        assert!(check(&[0x10_0000]).is_err());
    }
}
