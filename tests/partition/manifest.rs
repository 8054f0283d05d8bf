//! Manifests: what is taken, and each thing that is refused.

use super::build::Builder;
use pinion::partition::manifest::{
    COMPATIBLE, DeviceName, Limits, MAX_LEFT_OUT, MAX_PARTITIONS, Manifest, ManifestError,
};

const LIMITS: Limits = Limits {
    memory: 4 << 30,
    threads: 8,
};

/// A partition without anything wrong, and what `more` adds.
fn sound(tree: &mut Builder, name: &str, more: impl FnOnce(&mut Builder)) {
    tree.node(name, |tree| {
        tree.numbers("memory", &[1 << 30]);
        tree.cells("cpus", &[2]);
        more(tree);
    });
}

fn blob(inside: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut tree = Builder::new();
    tree.text("compatible", COMPATIBLE);
    inside(&mut tree);
    tree.finish()
}

fn read(inside: impl FnOnce(&mut Builder)) -> Manifest {
    Manifest::read(&blob(inside), &LIMITS, |name| name == "vmlinux").unwrap()
}

/// The reasons for which the node "bad" is left out; "good" always stays.
fn reasons(bad: impl FnOnce(&mut Builder)) -> Vec<String> {
    let manifest = read(|tree| {
        tree.node("bad", bad);
        sound(tree, "good", |_| ());
    });
    assert_eq!(manifest.partitions.len(), 1);
    assert_eq!(manifest.partitions[0].name, "good");
    assert_eq!(manifest.left_out[0].node, "bad");
    let reasons = &manifest.left_out[0].reasons;
    reasons.iter().map(ToString::to_string).collect()
}

/// As [`reasons`], where only one property is wrong.
fn reason(memory: u64, cpus: u32, more: impl FnOnce(&mut Builder)) -> String {
    let reasons = reasons(|tree| {
        tree.numbers("memory", &[memory]);
        tree.cells("cpus", &[cpus]);
        more(tree);
    });
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    reasons[0].clone()
}

#[test]
fn a_partition_with_everything() {
    let manifest = read(|tree| {
        sound(tree, "web-1", |tree| {
            tree.text("kernel", "vmlinux");
            tree.text("initrd", "vmlinux");
            tree.text("bootargs", "console=hvc0 quiet");
            tree.bytes("devices", b"0000:01:00.0\x001b36:0010\0");
            tree.numbers("dma-limit", &[16 << 20]);
            tree.bytes("autostart", &[]);
            tree.bytes("share", &[]);
        });
    });
    assert_eq!(manifest.left_out, []);
    let wanted = &manifest.partitions[0];
    assert_eq!((wanted.memory, wanted.cpus), (1 << 30, 2));
    assert_eq!(wanted.kernel.as_deref(), Some("vmlinux"));
    assert_eq!(wanted.bootargs, "console=hvc0 quiet");
    let names: Vec<_> = wanted.devices.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["0000:01:00.0", "1b36:0010"]);
    assert!(matches!(
        wanted.devices[1],
        DeviceName::Kind {
            vendor: 0x1b36,
            device: 0x10
        }
    ));
    assert_eq!(wanted.dma_limit, 16 << 20);
    assert!(wanted.autostart && wanted.share);
}

#[test]
fn a_partition_with_the_least() {
    let manifest = read(|tree| sound(tree, "a", |_| ()));
    let wanted = &manifest.partitions[0];
    assert_eq!(wanted.kernel, None);
    assert_eq!(wanted.dma_limit, (4 << 20) + (1 << 20));
    assert!(!wanted.autostart && !wanted.share && wanted.devices.is_empty());
}

#[test]
fn each_property_is_checked() {
    let good = 1 << 30;
    assert_eq!(
        reasons(|_| ()),
        [
            "/bad: memory: expected, but it is not there",
            "/bad: cpus: expected, but it is not there"
        ]
    );
    let unit = "/bad: memory: expected a multiple of 0x10000 bytes above 0, found ";
    assert_eq!(reason(0, 1, |_| ()), format!("{unit}0x0"));
    assert_eq!(reason(0x1_8000, 1, |_| ()), format!("{unit}0x18000"));
    assert_eq!(
        reason(5 << 30, 1, |_| ()),
        "/bad: memory: expected at most the 0x100000000 bytes that there are, found 0x140000000"
    );
    for cpus in [0, 9, u32::MAX] {
        assert_eq!(
            reason(good, cpus, |_| ()),
            format!("/bad: cpus: expected 1 to 8 processors, found {cpus}")
        );
    }
    assert_eq!(
        reason(good, 1, |tree| tree.text("kernel", "missing")),
        "/bad: kernel: expected the name of a file in the bundle, found \"missing\""
    );
    assert_eq!(
        reason(good, 1, |tree| tree.bytes("kernel", b"vmlinux")),
        "/bad: kernel: expected one text"
    );
    assert_eq!(
        reason(good, 1, |tree| tree.bytes("autostart", &[])),
        "/bad: autostart: expected a kernel too"
    );
    assert_eq!(
        reason(good, 1, |tree| tree.text("bootargs", &"x".repeat(2048))),
        "/bad: bootargs: expected at most 2047 bytes, found 2048"
    );
    assert_eq!(
        reason(good, 1, |tree| tree.text("devices", "0000:01:20.0")),
        "/bad: devices: expected devices as 0000:01:00.0 or vendor:device as 1b36:0010, found \"0000:01:20.0\""
    );
    assert_eq!(
        reason(good, 1, |tree| tree.numbers("dma-limit", &[1])),
        "/bad: dma-limit: expected a multiple of 0x1000 bytes above 0, found 0x1"
    );
    assert_eq!(
        reason(good, 1, |tree| tree.text("share", "yes")),
        "/bad: share: expected no value, found 4 bytes"
    );
    assert!(reason(good, 1, |tree| tree.cells("cpu", &[1])).starts_with("/bad: cpu: not known;"));
    assert_eq!(
        reason(good, 1, |tree| tree.node("inner", |_| ())),
        "/bad: inner: expected no node inside a partition's node"
    );
    let one_cell = reasons(|tree| {
        tree.cells("memory", &[1 << 30]);
        tree.numbers("cpus", &[1]);
    });
    assert_eq!(
        one_cell,
        [
            "/bad: memory: expected two cells <high low>, found 4 bytes",
            "/bad: cpus: expected one cell, found 8 bytes"
        ]
    );
}

#[test]
fn names_must_be_there_and_be_unique() {
    let manifest = read(|tree| {
        for name in ["", "a", "a", "a@1", "\x1b[2J", &"x".repeat(32), "b"] {
            sound(tree, name, |_| ());
        }
    });
    let names: Vec<_> = manifest.partitions.iter().map(|p| &p.name).collect();
    assert_eq!(names, ["a", "b"]);
    let reasons: Vec<_> = manifest
        .left_out
        .iter()
        .map(|left| left.reasons[0].to_string())
        .collect();
    assert_eq!(
        reasons[1],
        "/a: expected a name that no other partition has"
    );
    assert_eq!(
        reasons[3],
        "/?[2J: expected a name of 1 to 31 letters, digits, - and _"
    );
    assert_eq!(reasons.len(), 5);
}

#[test]
fn a_device_wanted_by_two_is_the_first_ones() {
    let manifest = read(|tree| {
        for name in ["a", "b"] {
            sound(tree, name, |tree| tree.text("devices", "0000:01:00.0"));
        }
        sound(tree, "c", |tree| {
            tree.bytes("devices", b"1b36:0010\x001b36:0010\0");
        });
    });
    let names: Vec<_> = manifest.partitions.iter().map(|p| &p.name).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(
        manifest.left_out[0].reasons[0].to_string(),
        "/b: devices: expected 0000:01:00.0 in one partition only, but \"a\" has it"
    );
}

#[test]
fn a_thousand_partitions_are_too_many() {
    let manifest = read(|tree| {
        for number in 0..1000 {
            sound(tree, &format!("p{number}"), |_| ());
        }
    });
    assert_eq!(manifest.partitions.len(), MAX_PARTITIONS);
    assert_eq!(manifest.left_out.len(), MAX_LEFT_OUT);
    assert_eq!(manifest.more, 1000 - MAX_PARTITIONS - MAX_LEFT_OUT);
}

#[test]
fn another_tree_is_no_manifest() {
    let tree = Builder::new().finish();
    let read = |blob: &[u8]| Manifest::read(blob, &LIMITS, |_| true);
    assert_eq!(read(&tree), Err(ManifestError::NotAManifest));
    assert!(matches!(read(&tree[..20]), Err(ManifestError::Tree(_))));
    assert!(matches!(read(&[]), Err(ManifestError::Tree(_))));
}

/// A damaged manifest is refused, or its partitions keep all the rules.
#[test]
fn random_damage_is_survived() {
    let good = blob(|tree| {
        for name in ["one", "two"] {
            sound(tree, name, |tree| {
                tree.text("kernel", "vmlinux");
                tree.text("devices", "1b36:0010");
                tree.numbers("dma-limit", &[16 << 20]);
            });
        }
    });
    let mut rng = pinion::sim::Rng::new(2);
    let (mut taken, mut left_out) = (0, 0);
    for _ in 0..50_000 {
        let mut bytes = good.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.below(256) as u8;
        }
        let Ok(manifest) = Manifest::read(&bytes, &LIMITS, |name| name == "vmlinux") else {
            continue;
        };
        taken += 1;
        left_out += manifest.left_out.len();
        for wanted in &manifest.partitions {
            assert!(wanted.memory != 0 && wanted.memory.is_multiple_of(64 << 10));
            assert!(wanted.memory <= LIMITS.memory);
            assert!((1..=LIMITS.threads).contains(&wanted.cpus));
            assert!(wanted.kernel.as_ref().is_none_or(|name| name == "vmlinux"));
        }
        for left in &manifest.left_out {
            assert!(!left.reasons.is_empty());
        }
    }
    assert!(taken > 1000 && left_out > 1000, "{taken}, {left_out}");
}
