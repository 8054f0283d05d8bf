//! What firmware says about speculation, and what is done about it.

use super::build::Builder;
use super::made::{machine, with};
use pinion::machine::{BranchFlush, CacheFlush, Mitigations, Speculation};

/// `/ibm,opal/fw-features` with these.
fn speculation(features: &[(&str, &str)]) -> Speculation {
    let blob = with(|tree| {
        tree.node("ibm,opal", |tree| {
            tree.node("fw-features", |tree| {
                for &(name, word) in features {
                    tree.node(name, |tree| tree.bytes(word, &[]));
                }
            });
        });
    });
    machine(&blob).speculation
}

#[test]
fn a_firmware_that_says_nothing_gets_the_safe_side() {
    let said = machine(&with(|_| {})).speculation;
    assert_eq!((said.characteristics, said.behaviour), (0, 0xf << 60));
    let wanted = Mitigations {
        cache: Some(CacheFlush::Displacement),
        at_entry: true,
        branches: None,
    };
    assert_eq!(said.mitigations(), wanted);
    // An emulator has no caches to tell of.
    let mut emulated = Builder::new();
    emulated.bytes("compatible", b"qemu,powernv9\0");
    emulated.memory(0, 1 << 30);
    let said = machine(&emulated.finish()).speculation;
    let at_entry = false;
    assert_eq!(said.mitigations(), Mitigations { at_entry, ..wanted });
}

#[test]
fn what_firmware_says_of_speculation_is_read_bit_by_bit() {
    let power9 = [
        ("inst-spec-barrier-ori31,31,0", "enabled"),
        ("inst-l1d-flush-trig2", "enabled"),
        ("fw-l1d-thread-split", "enabled"),
        ("fw-bcctrl-serialized", "disabled"),
        ("fw-count-cache-flush-bcctr2,0,0", "enabled"),
        ("needs-count-cache-flush-on-context-switch", "enabled"),
    ];
    let said = speculation(&power9);
    let bits = |numbers: &[u32]| numbers.iter().fold(0, |sum, bit| sum | 1 << (63 - bit));
    assert_eq!(said.characteristics, bits(&[0, 3, 4, 9]));
    assert_eq!(said.behaviour, bits(&[0, 1, 2, 3, 5, 6]));
    let wanted = Mitigations {
        cache: Some(CacheFlush::Trigger),
        at_entry: true,
        branches: Some(BranchFlush::Assisted),
    };
    assert_eq!(said.mitigations(), wanted);
    assert!(said.to_string().contains("at each entry"));

    let power10 = [
        ("needs-l1d-flush-msr-hv-1-to-0", "disabled"),
        ("needs-l1d-flush-msr-pr-0-to-1", "disabled"),
        ("no-need-l1d-flush-msr-pr-1-to-0", "enabled"),
        ("no-need-l1d-flush-kernel-on-user-access", "enabled"),
        ("no-need-store-drain-on-priv-state-switch", "enabled"),
    ];
    let said = speculation(&power10);
    assert_eq!(said.behaviour, bits(&[0, 2, 3, 7, 8, 9]));
    let none = Mitigations {
        cache: None,
        at_entry: false,
        branches: None,
    };
    assert_eq!(said.mitigations(), none);

    let only = |name| {
        let others = ("needs-count-cache-flush-on-context-switch", "enabled");
        speculation(&[(name, "enabled"), others]).mitigations()
    };
    let ori = only("inst-l1d-flush-ori30,30,0");
    assert_eq!(ori.cache, Some(CacheFlush::Instruction));
    assert_eq!(ori.branches, Some(BranchFlush::Software));
    let careless = speculation(&[
        ("speculation-policy-favor-security", "disabled"),
        ("inst-l1d-flush-trig2", "enabled"),
    ]);
    assert_eq!(careless.mitigations(), none);
    assert_eq!(careless.behaviour, bits(&[1, 2]));
}
