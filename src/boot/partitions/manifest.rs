//! The bundle that the machine was started with: each partition of its manifest
//! is defined, or it is said why not.

use super::{PartitionError, Plan, control, roster};
use crate::boot::{runtime, secondaries};
use crate::papr::layout::{File, Layout};
use crate::partition::bundle::{Bundle, MANIFEST};
use crate::partition::manifest::{Limits, Manifest, Wanted};
use crate::{error, info, warning};
use alloc::string::String;
use alloc::vec::Vec;

/// How an archive begins: an initrd that does not is no bundle.
const ARCHIVE: &[u8] = b"070701";

/// Defines the partitions of the initrd's manifest, if it has one, and starts
/// those that are to start by themselves. What cannot be built is named with
/// node, property and expectation, and left out.
pub fn define_all() {
    let Some(file) = runtime::initrd().filter(|file| file.starts_with(ARCHIVE)) else {
        return;
    };
    let bundle = match Bundle::check(file) {
        Ok(bundle) => bundle,
        Err(why) => return warning!("initrd: {why}; no partition is defined"),
    };
    // An archive without one is for `start`.
    let Some(blob) = bundle.file(MANIFEST) else {
        return;
    };
    let limits = Limits {
        memory: runtime::frames().0,
        threads: u32::try_from(secondaries::all().len() + 1).unwrap_or(u32::MAX),
    };
    match Manifest::read(blob, &limits, |name| bundle.file(name).is_some()) {
        Ok(manifest) => take(&manifest, bundle),
        Err(why) => error!("{MANIFEST}: {why}; no partition is defined"),
    }
}

fn take(manifest: &Manifest, bundle: Bundle<'static>) {
    let is_there = |name: &str| manifest.partitions.iter().any(|it| it.name == name);
    for left_out in &manifest.left_out {
        for reason in &left_out.reasons {
            error!("{MANIFEST}: {reason}");
        }
        match (left_out.node.as_str(), is_there(&left_out.node)) {
            ("", _) => warning!("a partition without a name is left out"),
            (name, true) => warning!("a second partition {name} is left out"),
            (name, false) => warning!("partition {name} is left out"),
        }
    }
    if manifest.more > 0 {
        warning!("and {} more partitions are left out", manifest.more);
    }
    let mut defined = 0;
    for wanted in &manifest.partitions {
        match define(wanted, bundle) {
            Ok(()) => defined += 1,
            Err(why) => {
                error!("{MANIFEST}: /{}: {why}", wanted.name);
                warning!("partition {} is left out", wanted.name);
            }
        }
    }
    info!(
        "{MANIFEST}: {defined} of {} partitions defined",
        manifest.partitions.len() + manifest.left_out.len() + manifest.more
    );
    let sharing = manifest.partitions.iter().filter(|it| it.share);
    let sharing: Vec<&str> = sharing.map(|it| it.name.as_str()).collect();
    if !sharing.is_empty() {
        warning!(
            "{MANIFEST}: share: cores may be shared by {}; what one does can be felt in the caches by another",
            sharing.join(", ")
        );
    }
    for wanted in manifest.partitions.iter().filter(|it| it.autostart) {
        // One that is not there was named above.
        let Ok(defined) = roster::find(&wanted.name) else {
            continue;
        };
        if let Err(why) = control::begin(&defined) {
            error!("partition {} not started: {why}", wanted.name);
        }
    }
}

fn define(wanted: &Wanted, bundle: Bundle<'static>) -> Result<(), PartitionError> {
    let file = |name: &Option<String>| {
        let name = name.clone()?;
        let bytes = bundle.file(&name)?;
        Some(File { name, bytes })
    };
    let plan = Plan {
        name: wanted.name.clone(),
        bytes: wanted.memory,
        vcpus: wanted.cpus as usize,
        kernel: file(&wanted.kernel),
        initrd: file(&wanted.initrd),
        bootargs: wanted.bootargs.clone(),
        shares: wanted.share,
    };
    if let Some(kernel) = &plan.kernel {
        Layout::new(kernel, plan.initrd.as_ref(), plan.bytes)?;
    }
    roster::define(plan, wanted.dma_limit, &wanted.devices, false).map(drop)
}
