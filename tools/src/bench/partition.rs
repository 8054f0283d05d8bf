//! Initrds with the partition that measures calls: `tests/probe`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{bundle, image};

/// What the probe is told: to measure, or to be there and nothing else.
const MEASURE: &str = "probe=cost";
const WAIT: &str = "probe=wait";
/// To give its thread away whenever it gets it.
const YIELD: &str = "probe=yield";

/// Where they are written.
const FOLDER: &str = "target/bench";

/// It starts by itself.
const START: &str = " autostart;";

/// The device of the one that measures: the benchmark's edu.
const DEVICE: &str = "1234:11e8";

/// A manifest with one partition that has a device, and measures all rows; or
/// this one alone, when it is started.
///
/// # Errors
/// It does not build.
pub fn one(workspace: &Workspace, row: Option<&str>) -> Result<PathBuf> {
    let (row, start) = match row {
        None => (String::new(), START),
        Some(row) => (format!(" row={row}"), ""),
    };
    let more = format!("bootargs = \"{MEASURE}{row}\"; devices = \"{DEVICE}\";{start}");
    make(workspace, "partition", &[more])
}

/// A manifest with `count` of them, on one thread, that start by themselves: all but
/// one wait.
///
/// # Errors
/// It does not build.
pub fn many(workspace: &Workspace, count: usize) -> Result<PathBuf> {
    // The first to be started would measure before the others are there.
    let words = (1..=count).map(|number| match number {
        number if number == count => MEASURE,
        _ => WAIT,
    });
    let all: Vec<String> = words
        .map(|word| format!("share; bootargs = \"{word}\";{START}"))
        .collect();
    make(workspace, &format!("partitions-{count}"), &all)
}

/// A manifest with two partitions on one thread, which give it to each other.
///
/// # Errors
/// It does not build.
pub fn pair(workspace: &Workspace) -> Result<PathBuf> {
    let measure = format!("{MEASURE} row=world-switch");
    let both = [YIELD, &measure].map(|word| format!("share; bootargs = \"{word}\";{START}"));
    make(workspace, "pair", &both)
}

/// The bundle `name`, with a partition for each of `more` properties.
fn make(workspace: &Workspace, name: &str, more: &[String]) -> Result<PathBuf> {
    let probe = probe(workspace)?;
    let mut source = String::from("/dts-v1/;\n/ {\n\tcompatible = \"pinion,manifest-v1\";\n");
    for (number, more) in more.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = writeln!(
            source,
            "\tp{} {{ memory = <0 0x1000000>; cpus = <1>; kernel = \"probe\"; {more} }};",
            number + 1
        );
    }
    source.push_str("};\n");
    let at = |end: &str| PathBuf::from(FOLDER).join(format!("{name}.{end}"));
    image::write_if_changed(&at("dts"), source.as_bytes())?;
    let files = [format!("probe={}", probe.display())];
    bundle::make(&at("dts"), &at("cpio"), &files, &at("dtb"))?;
    Ok(at("cpio"))
}

fn probe(workspace: &Workspace) -> Result<PathBuf> {
    std::fs::create_dir_all(FOLDER)?;
    image::build::cargo(workspace, "pinion-probe", "probe")
}
