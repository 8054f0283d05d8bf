//! What a crash left in memory, found by its first words and told to a person.

mod epitaph;
mod ring;
#[cfg(test)]
mod tests;
mod trace;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::cli::DumpOptions;
use crate::symbols::Symbols;
use crate::workspace::Workspace;

/// Reads the file and prints what is in it.
pub fn command(workspace: &Workspace, options: &DumpOptions) -> Result<ExitCode> {
    let memory = std::fs::read(&options.file)
        .with_context(|| format!("cannot read {}", options.file.display()))?;
    let symbols = Symbols::load(workspace.debug_image()).ok();
    match tell(&memory, symbols.as_ref()) {
        Some(text) => print!("{text}"),
        None => bail!(
            "{}: no epitaph, log or trace of Pinion in {} bytes; is the image's own memory in it?",
            options.file.display(),
            memory.len()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// All epitaphs, logs and traces in `memory`, in the order of their addresses. `None`
/// if there is none. Something that only looks like one is named as that.
pub fn tell(memory: &[u8], symbols: Option<&Symbols>) -> Option<String> {
    let mut text = String::new();
    let mut at = 0;
    while let Some(rest) = memory.get(at..).filter(|rest| rest.len() >= 8) {
        if rest.starts_with(epitaph::MAGIC) {
            let _ = writeln!(text, "epitaph at offset {at:#x}");
            epitaph::tell(rest, &mut text);
        } else if rest.starts_with(ring::MAGIC) {
            let _ = writeln!(text, "log at offset {at:#x}");
            ring::tell(rest, symbols, &mut text);
        } else if rest.starts_with(&trace::MAGIC) {
            let _ = writeln!(text, "trace of DMA operations at offset {at:#x}");
            trace::tell(rest, &mut text);
        }
        at += 8;
    }
    (!text.is_empty()).then_some(text)
}

/// The big-endian word at byte `offset`.
fn word(memory: &[u8], offset: usize) -> Option<u64> {
    let bytes = memory.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
