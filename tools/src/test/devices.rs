//! The devices of a test fit together: what one names is there.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::declaration::{Settings, Step};

/// Checks what the devices, disks and steps of one case name of each other.
/// QEMU would say the same, but only once the test runs.
///
/// # Errors
/// A device is on a bus or has a drive that is not there, two have one id, a
/// disk is of no use, or what is taken out was never in.
pub fn check(settings: &Settings, steps: &[Step]) -> Result<()> {
    let disks: BTreeSet<&str> = settings
        .disks
        .iter()
        .flatten()
        .map(|disk| disk.id())
        .collect();
    let mut unused = disks.clone();
    let mut ids = BTreeSet::new();
    for device in settings.devices.iter().flatten() {
        if let Some(bus) = property(device, "bus") {
            ensure!(
                bus.starts_with("pcie.") || ids.contains(bus),
                "device {device}: there is no {bus} before it"
            );
        }
        if let Some(drive) = property(device, "drive") {
            ensure!(
                disks.contains(drive),
                "device {device}: there is no disk {drive}"
            );
            unused.remove(drive);
        }
        if let Some(id) = property(device, "id") {
            ensure!(ids.insert(id), "two devices are named {id}");
        }
    }
    ensure!(
        unused.is_empty(),
        "no device uses the disk {}",
        unused.into_iter().collect::<Vec<_>>().join(", ")
    );
    for step in steps {
        if let Step::Unplug(id) = step {
            ensure!(
                ids.contains(id.as_str()),
                "no device has the id {id}, which is to be unplugged"
            );
        }
    }
    Ok(())
}

/// What stands behind `name=` in QEMU's -device.
fn property<'a>(device: &'a str, name: &str) -> Option<&'a str> {
    device
        .split(',')
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::disks::Disk;

    fn verdict(devices: &[&str], disks: &[&str], unplug: Option<&str>) -> Result<()> {
        let settings = Settings {
            devices: Some(devices.iter().map(|text| (*text).to_owned()).collect()),
            disks: Some(
                disks
                    .iter()
                    .map(|id| Disk::Plain((*id).to_owned()))
                    .collect(),
            ),
            ..Settings::default()
        };
        let steps: Vec<Step> = unplug
            .map(|id| Step::Unplug(id.to_owned()))
            .into_iter()
            .collect();
        check(&settings, &steps)
    }

    #[test]
    fn what_is_named_must_be_there() {
        let good = [
            "x3130-upstream,id=up,bus=pcie.0",
            "nvme,id=n,bus=up,drive=d",
        ];
        assert!(verdict(&good, &["d"], Some("n")).is_ok());
        assert!(verdict(&[], &[], None).is_ok());
        let told = |devices: &[&str], disks: &[&str], unplug| {
            verdict(devices, disks, unplug).unwrap_err().to_string()
        };
        assert!(told(&good, &[], None).contains("no disk d"));
        assert!(told(&good, &["d", "e"], None).contains("uses the disk e"));
        assert!(told(&good, &["d"], Some("m")).contains("no device has the id m"));
        assert!(told(&["edu,bus=up"], &[], None).contains("no up before it"));
        assert!(told(&["edu,id=a", "edu,id=a"], &[], None).contains("named a"));
    }

    #[test]
    fn a_property_is_told_from_one_that_ends_alike() {
        assert_eq!(property("nvme,bus=b,id=n", "id"), Some("n"));
        assert_eq!(property("nvme,subsys-id=s", "id"), None);
        assert_eq!(property("nvme,idx=s", "id"), None);
    }
}
