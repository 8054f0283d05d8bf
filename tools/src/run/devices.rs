//! What a person may leave out of `--device`: an NVMe device's disk.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

/// Where the disks are. They stay from run to run.
const FOLDER: &str = "target/run";
/// Bytes of a new one.
const BYTES: u64 = 64 << 20;

/// The devices as QEMU takes them, and the -drive of each disk that they need.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// QEMU's -device, each.
    pub devices: Vec<String>,
    /// QEMU's -drive, each.
    pub drives: Vec<String>,
    /// The files behind them.
    files: Vec<String>,
}

impl Devices {
    /// Adds to each `nvme` without a drive a disk of its own.
    pub fn complete(wanted: &[String]) -> Self {
        let mut done = Self::default();
        for device in wanted {
            let mut words = device.split(',');
            let is_nvme = words.next() == Some("nvme");
            if !is_nvme || words.any(|word| word.starts_with("drive=")) {
                done.devices.push(device.clone());
                continue;
            }
            let id = format!("nvme{}", done.files.len());
            let file = format!("{FOLDER}/{id}.img");
            let serial = if device.contains(",serial=") {
                String::new()
            } else {
                format!(",serial={id}")
            };
            done.devices.push(format!("{device},drive={id}{serial}"));
            done.drives
                .push(format!("file={file},format=raw,if=none,id={id}"));
            done.files.push(file);
        }
        done
    }

    /// Makes the files that are not there.
    pub fn make(&self) -> Result<()> {
        for file in &self.files {
            let make = || -> std::io::Result<()> {
                std::fs::create_dir_all(FOLDER)?;
                if !Path::new(file).exists() {
                    File::create(file)?.set_len(BYTES)?;
                    eprintln!("{file}: a new disk of {} MiB", BYTES >> 20);
                }
                Ok(())
            };
            make().with_context(|| format!("cannot make the disk {file}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_nvme_without_a_disk_gets_one() {
        let wanted = [
            "edu,bus=pcie.0",
            "nvme",
            "nvme,bus=pcie.2,serial=mine",
            "nvme,drive=d,serial=x",
            "nvme-ns,drive=d",
        ];
        let done = Devices::complete(&wanted.map(str::to_owned));
        assert_eq!(
            done.devices,
            [
                "edu,bus=pcie.0",
                "nvme,drive=nvme0,serial=nvme0",
                "nvme,bus=pcie.2,serial=mine,drive=nvme1",
                "nvme,drive=d,serial=x",
                "nvme-ns,drive=d",
            ]
        );
        assert_eq!(
            done.drives,
            [
                "file=target/run/nvme0.img,format=raw,if=none,id=nvme0",
                "file=target/run/nvme1.img,format=raw,if=none,id=nvme1",
            ]
        );
        assert_eq!(Devices::complete(&[]), Devices::default());
    }
}
