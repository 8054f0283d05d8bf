//! From a checked tree to partitions.

use super::{
    COMPATIBLE, DeviceName, Expected, LeftOut, Limits, MAX_BOOTARGS, MAX_DEVICES, MAX_LEFT_OUT,
    MAX_NAME, MAX_PARTITIONS, MAX_REASONS, MEMORY_UNIT, Manifest, ManifestError, Problem,
    TABLE_UNIT, Wanted, shown,
};
use crate::fdt::{Node, Property, Tree};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The properties of a partition; dtc adds the last two by itself.
const KNOWN: [&str; 11] = [
    "memory",
    "cpus",
    "kernel",
    "initrd",
    "bootargs",
    "devices",
    "dma-limit",
    "autostart",
    "share",
    "phandle",
    "linux,phandle",
];

pub(super) fn read(
    tree: Tree<'_>,
    limits: &Limits,
    has_file: &dyn Fn(&str) -> bool,
) -> Result<Manifest, ManifestError> {
    let root = tree.root();
    if !root.is_compatible(COMPATIBLE) {
        return Err(ManifestError::NotAManifest);
    }
    let mut manifest = Manifest::default();
    for node in root.children() {
        let mut reader = Reader {
            node,
            limits,
            has_file,
            reasons: Vec::new(),
        };
        let wanted = reader.partition(&manifest.partitions);
        let reasons = reader.reasons;
        match wanted {
            Some(wanted) if reasons.is_empty() => manifest.partitions.push(wanted),
            _ if manifest.left_out.len() < MAX_LEFT_OUT => manifest.left_out.push(LeftOut {
                node: shown(node.name()),
                reasons,
            }),
            _ => manifest.more += 1,
        }
    }
    Ok(manifest)
}

/// Reads one node and collects what is wrong with it.
struct Reader<'r, 'a> {
    node: Node<'a>,
    limits: &'r Limits,
    has_file: &'r dyn Fn(&str) -> bool,
    reasons: Vec<Problem>,
}

impl<'a> Reader<'_, 'a> {
    fn partition(&mut self, earlier: &[Wanted]) -> Option<Wanted> {
        let name = self.name(earlier);
        if earlier.len() >= MAX_PARTITIONS {
            self.note("", Expected::FewerPartitions);
            return None;
        }
        for property in self.node.properties() {
            if !KNOWN.contains(&property.name()) {
                self.note(property.name(), Expected::Known);
            }
        }
        if let Some(child) = self.node.children().next() {
            self.note(child.name(), Expected::NoChild);
        }
        let memory = self.memory();
        let cpus = self.cpus();
        let kernel = self.file("kernel");
        let initrd = self.file("initrd");
        let bootargs = self.bootargs();
        let devices = self.devices(earlier);
        let dma_limit = self.dma_limit(memory.unwrap_or(0));
        let (autostart, share) = (self.flag("autostart"), self.flag("share"));
        if self.node.property("kernel").is_none() {
            for needs in ["initrd", "autostart"] {
                if self.node.property(needs).is_some() {
                    self.note(needs, Expected::Kernel);
                }
            }
        }
        Some(Wanted {
            name: name?,
            memory: memory?,
            cpus: cpus?,
            kernel,
            initrd,
            bootargs: bootargs?,
            devices,
            dma_limit: dma_limit?,
            autostart,
            share,
        })
    }

    /// Notes a reason, and has nothing to return.
    fn wrong<T>(&mut self, property: &str, expected: Expected) -> Option<T> {
        self.note(property, expected);
        None
    }

    fn note(&mut self, property: &str, expected: Expected) {
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(Problem {
                node: shown(self.node.name()),
                property: shown(property),
                expected,
            });
        }
    }

    fn name(&mut self, earlier: &[Wanted]) -> Option<String> {
        let name = self.node.name();
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(letter) {
            return self.wrong("", Expected::Name);
        }
        if earlier.iter().any(|other| other.name == name) {
            return self.wrong("", Expected::OwnName);
        }
        Some(name.to_string())
    }

    fn number(&mut self, name: &'static str, property: Property<'a>) -> Option<u64> {
        match property.bytes().len() {
            8 => property.number(),
            length => self.wrong(name, Expected::TwoCells(length)),
        }
    }

    fn memory(&mut self) -> Option<u64> {
        let Some(property) = self.node.property("memory") else {
            return self.wrong("memory", Expected::Present);
        };
        let bytes = self.number("memory", property)?;
        let most = self.limits.memory;
        if bytes == 0 || !bytes.is_multiple_of(MEMORY_UNIT) {
            return self.wrong("memory", Expected::MemoryUnit(bytes));
        }
        if bytes > most {
            let found = bytes;
            return self.wrong("memory", Expected::LessMemory { found, most });
        }
        Some(bytes)
    }

    fn cpus(&mut self) -> Option<u32> {
        let Some(property) = self.node.property("cpus") else {
            return self.wrong("cpus", Expected::Present);
        };
        let most = self.limits.threads;
        match property.u32() {
            None => self.wrong("cpus", Expected::OneCell(property.bytes().len())),
            Some(found) if found == 0 || found > most => {
                self.wrong("cpus", Expected::Processors { found, most })
            }
            found => found,
        }
    }

    /// Table memory: unless said, twice what one entry of 4K for each of its
    /// pages takes, and a mebibyte for levels.
    fn dma_limit(&mut self, memory: u64) -> Option<u64> {
        let Some(property) = self.node.property("dma-limit") else {
            return Some((memory / 256).next_multiple_of(TABLE_UNIT) + (1 << 20));
        };
        let bytes = self.number("dma-limit", property)?;
        let most = self.limits.memory;
        if bytes == 0 || !bytes.is_multiple_of(TABLE_UNIT) {
            return self.wrong("dma-limit", Expected::TableUnit(bytes));
        }
        if bytes > most {
            let found = bytes;
            return self.wrong("dma-limit", Expected::LessMemory { found, most });
        }
        Some(bytes)
    }

    /// One text, ended by its only NUL.
    fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let property = self.node.property(name)?;
        let text = property
            .bytes()
            .split_last()
            .filter(|&(&last, text)| last == 0 && !text.contains(&0))
            .and_then(|(_, text)| core::str::from_utf8(text).ok());
        if text.is_none() {
            return self.wrong(name, Expected::Text);
        }
        text
    }

    fn file(&mut self, name: &'static str) -> Option<String> {
        let file = self.text(name)?;
        if file.is_empty() || !(self.has_file)(file) {
            return self.wrong(name, Expected::File(shown(file)));
        }
        Some(file.to_string())
    }

    fn bootargs(&mut self) -> Option<String> {
        if self.node.property("bootargs").is_none() {
            return Some(String::new());
        }
        let text = self.text("bootargs")?;
        if text.len() > MAX_BOOTARGS {
            return self.wrong("bootargs", Expected::ShorterText(text.len()));
        }
        Some(text.to_string())
    }

    fn devices(&mut self, earlier: &[Wanted]) -> Vec<DeviceName> {
        let mut devices = Vec::new();
        let Some(property) = self.node.property("devices") else {
            return devices;
        };
        for text in property.texts() {
            let Ok(device) = text.parse::<DeviceName>() else {
                self.note("devices", Expected::Device(shown(text)));
                continue;
            };
            if devices.len() >= MAX_DEVICES {
                self.note("devices", Expected::FewerDevices);
                break;
            }
            // Several of a kind may be wanted, an address only once.
            let at = matches!(device, DeviceName::At(_));
            let other = earlier
                .iter()
                .find(|other| at && other.devices.contains(&device))
                .map(|other| other.name.clone())
                .or_else(|| (at && devices.contains(&device)).then(|| shown(self.node.name())));
            if let Some(other) = other {
                let device = device.to_string();
                self.note("devices", Expected::FreeDevice { device, other });
            }
            devices.push(device);
        }
        devices
    }

    fn flag(&mut self, name: &'static str) -> bool {
        let Some(property) = self.node.property(name) else {
            return false;
        };
        if !property.bytes().is_empty() {
            self.note(name, Expected::NoValue(property.bytes().len()));
        }
        true
    }
}
