//! No floating-point or vector instruction in the image: their registers hold
//! a partition's values, and nobody saves them for the image.

use anyhow::Result;
use object::read::elf::SectionHeader;
use object::{BigEndian, elf};

use super::Findings;
use crate::image::elf::Elf;

/// The one place that saves and restores those registers.
const ALLOWED_SECTION: &str = ".text.guest_switch";

/// More findings than this say the same thing.
const SHOWN: usize = 20;

/// Looks at every instruction of the linked file.
pub fn check(linked: &[u8]) -> Result<Findings> {
    let symbols = crate::symbols::Symbols::parse(linked)?;
    let mut findings = Findings::new();
    let mut code_bytes = 0;
    for section in Elf::parse(linked)?.loaded()? {
        if section.header.sh_flags(BigEndian).0 & elf::SHF_EXECINSTR.0 == 0
            || section.name == ALLOWED_SECTION
        {
            continue;
        }
        code_bytes += section.data.len();
        let start = section.header.sh_addr(BigEndian);
        for (index, bytes) in section.data.chunks_exact(4).enumerate() {
            let word = u32::from_be_bytes(std::array::from_fn(|i| bytes[i]));
            if let Some(kind) = forbidden(word) {
                let address = start + 4 * index as u64;
                let place = symbols.describe(address).unwrap_or_default();
                findings.push(format!("{kind} {word:#010x} at {address:#x} {place}"));
            }
        }
    }
    if code_bytes == 0 {
        findings.push("no code was found to look at".to_owned());
    }
    let more = findings.len().saturating_sub(SHOWN);
    findings.truncate(SHOWN);
    if more > 0 {
        findings.push(format!("and {more} more"));
    }
    Ok(findings)
}

/// Why a word must not be in the image, by its primary opcode (bits 0-5) and,
/// under opcode 31, its extended opcode (bits 21-30). Power ISA 3.1, book
/// appendix "opcode maps".
fn forbidden(word: u32) -> Option<&'static str> {
    match word >> 26 {
        // A prefix makes the next word something else: it could not be judged.
        1 => Some("prefixed instruction"),
        // maddhd, maddhdu and maddld are integer instructions among vector ones.
        4 if matches!(word & 0x3f, 48 | 49 | 51) => None,
        4 => Some("vector instruction"),
        6 => Some("vector load or store"),
        48..=55 => Some("floating-point load or store"),
        57 | 61 => Some("floating-point or vector load or store"),
        59 | 63 => Some("floating-point instruction"),
        60 => Some("vector-scalar instruction"),
        31 => forbidden_extended((word >> 1) & 0x3ff),
        _ => None,
    }
}

fn forbidden_extended(extended: u32) -> Option<&'static str> {
    match extended {
        // lvsl lvsr lve*x lvx lvxl, stve*x stvx stvxl
        6 | 7 | 38 | 39 | 71 | 103 | 135 | 167 | 199 | 231 | 359 | 487 => Some("vector load or store"),
        // lfsx lfsux lfdx lfdux lfdpx lfiwax lfiwzx, stfsx stfsux stfdx stfdux stfdpx stfiwx
        535 | 567 | 599 | 631 | 791 | 855 | 887 | 663 | 695 | 727 | 759 | 919 | 983 => {
            Some("floating-point load or store")
        }
        // lxsiwzx lxsiwax lxvrbx..lxvrdx lxvx lxvl lxvll lxvdsx lxvwsx lxvpx
        // lxsspx lxsdx lxvw4x lxsibzx lxvh8x lxsihzx lxvd2x lxvb16x
        12 | 76 | 13 | 45 | 77 | 109 | 268 | 269 | 301 | 332 | 364 | 333 | 524 | 588 | 780 | 781 | 812 | 813 | 844
        | 876
        // stxsiwx stxvrbx..stxvrdx stxvx stxvl stxvll stxvpx
        // stxsspx stxsdx stxvw4x stxsibx stxvh8x stxsihx stxvd2x stxvb16x
        | 140 | 141 | 173 | 205 | 237 | 396 | 397 | 429 | 461 | 652 | 716 | 908 | 909 | 940 | 941 | 972 | 1004 => {
            Some("vector-scalar load or store")
        }
        // mfvsrd mfvsrwz mtvsrd mtvsrwa mtvsrwz mfvsrld mtvsrws mtvsrdd
        51 | 115 | 179 | 211 | 243 | 307 | 403 | 435 => Some("move from or to a vector-scalar register"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as an assembler makes them.
    #[test]
    fn floating_point_and_vector_instructions_are_found() {
        for (word, name) in [
            (0xc822_0010, "lfd f1,16(r2)"),
            (0xd822_0010, "stfd f1,16(r2)"),
            (0x7c20_1cae, "lfdx f1,0,r3"),
            (0xfc22_182a, "fadd f1,f2,f3"),
            (0xec22_182a, "fadds f1,f2,f3"),
            (0x1022_1800, "vaddubm v1,v2,v3"),
            (0x7c20_18ce, "lvx v1,0,r3"),
            (0x7c20_19ce, "stvx v1,0,r3"),
            (0x7c20_1e98, "lxvd2x vs1,0,r3"),
            (0xf022_1cd7, "xxlxor"),
            (0xf423_0011, "lxv vs1,16(r3)"),
            (0x7c23_0066, "mfvsrd r3,vs1"),
            (0x7c23_0166, "mtvsrd vs1,r3"),
            (0xfc20_048e, "mffs f1"),
            (0x0600_0000, "a prefix"),
        ] {
            assert!(forbidden(word).is_some(), "{name}");
        }
    }

    #[test]
    fn integer_instructions_pass() {
        for (word, name) in [
            (0xe862_0010, "ld r3,16(r2)"),
            (0xf862_0010, "std r3,16(r2)"),
            (0x7c63_1a14, "add r3,r3,r3"),
            (0x7c63_181e, "isel r3,r3,r3,lt"),
            (0x7c60_00a6, "mfmsr r3"),
            (0x7c60_1eea, "ldcix r3,0,r3"),
            (0x7c60_1fea, "stdcix r3,0,r3"),
            (0x7c63_19d2, "mulld r3,r3,r3"),
            (0x1064_2973, "maddld"),
            (0x4e80_0020, "blr"),
            (0x0000_0200, "attn"),
            (0x6000_0000, "nop"),
        ] {
            assert_eq!(forbidden(word), None, "{name}");
        }
    }
}
