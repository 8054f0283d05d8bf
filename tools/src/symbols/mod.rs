//! Addresses of the image turned into functions and lines.

mod trace;

use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use gimli::{EndianArcSlice, RunTimeEndian, SectionId};
use object::{Object, ObjectSection, ObjectSymbol};

use crate::cli::{SymbolizeOptions, parse_address};
use crate::image;
use crate::workspace::Workspace;
pub use trace::{Frame, TraceFilter};

type Slice = EndianArcSlice<RunTimeEndian>;

/// The image's symbols and line table.
pub struct Symbols {
    lines: addr2line::Context<Slice>,
    /// Start, end and name of each function, sorted by start.
    functions: Vec<(u64, u64, String)>,
    /// The workspace's folder: files in it are named from there.
    folder: String,
}

impl Symbols {
    /// Reads the file with symbols.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = image::read(path)?;
        Self::parse(&bytes).with_context(|| format!("{} has no usable symbols", path.display()))
    }

    /// Reads a linked file.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes)?;
        let endian = if file.is_little_endian() {
            RunTimeEndian::Little
        } else {
            RunTimeEndian::Big
        };
        let section = |id: SectionId| -> Result<Slice, object::Error> {
            let data = match file.section_by_name(id.name()) {
                Some(section) => section.data()?.to_vec(),
                None => Vec::new(),
            };
            Ok(EndianArcSlice::new(Arc::from(data), endian))
        };
        let dwarf = gimli::Dwarf::load(section)?;
        let lines = addr2line::Context::from_dwarf(dwarf)?;
        let mut functions: Vec<(u64, u64, String)> = file
            .symbols()
            .filter(|symbol| {
                symbol.is_definition()
                    && matches!(
                        symbol.kind(),
                        object::SymbolKind::Text
                            | object::SymbolKind::Label
                            | object::SymbolKind::Unknown
                    )
            })
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| !name.is_empty())?;
                let name = addr2line::demangle_auto(name.into(), None).into_owned();
                Some((symbol.address(), symbol.address() + symbol.size(), name))
            })
            .collect();
        functions.sort();
        let folder = std::env::current_dir()
            .map_or_else(|_| String::new(), |path| format!("{}/", path.display()));
        Ok(Self {
            lines,
            functions,
            folder,
        })
    }

    /// `function at file:line` for an address counted from the image's start;
    /// functions inlined there come first. `None` outside the image's code.
    pub fn describe(&self, address: u64) -> Option<String> {
        let mut calls = Vec::new();
        if let Ok(mut frames) = self.lines.find_frames(address).skip_all_loads() {
            while let Ok(Some(frame)) = frames.next() {
                let function = frame
                    .function
                    .as_ref()
                    .and_then(|f| Some(f.demangle().ok()?.into_owned()));
                let place = frame.location.and_then(|l| match (l.file, l.line) {
                    (Some(file), Some(line)) => Some(format!("{}:{line}", self.shortened(file))),
                    (Some(file), None) => Some(self.shortened(file).to_owned()),
                    _ => None,
                });
                match (function, place) {
                    (Some(function), Some(place)) => calls.push(format!("{function} at {place}")),
                    (Some(function), None) => calls.push(function),
                    (None, Some(place)) => calls.push(match self.function(address) {
                        Some(function) => format!("{function} at {place}"),
                        None => format!("at {place}"),
                    }),
                    (None, None) => {}
                }
            }
        }
        if calls.is_empty() {
            return self.function(address);
        }
        Some(calls.join(", inlined into "))
    }

    /// The function of this project that the instruction at `address` belongs
    /// to, with its file below `src/`: the innermost of those that are inlined
    /// there, but for those of libraries.
    pub fn own_function(&self, address: u64) -> Option<String> {
        if let Ok(mut frames) = self.lines.find_frames(address).skip_all_loads() {
            while let Ok(Some(frame)) = frames.next() {
                let file = frame.location.and_then(|place| place.file);
                let own = file.and_then(|file| self.shortened(file).strip_prefix("src/"));
                if let (Some(file), Some(function)) = (own, frame.function)
                    && let Ok(name) = function.demangle()
                {
                    // Type arguments are long and the same everywhere.
                    let plain = name.split('<').next().unwrap_or(&name);
                    return Some(format!("{file}: {plain}"));
                }
            }
        }
        let name = self.function(address)?;
        // Assembly has labels only.
        Some(name.split('+').next().unwrap_or(&name).to_owned())
    }

    /// Where the function or label of this name begins.
    pub fn address_of(&self, name: &str) -> Option<u64> {
        let mut functions = self.functions.iter();
        functions.find(|known| known.2 == name).map(|known| known.0)
    }

    fn shortened<'path>(&self, file: &'path str) -> &'path str {
        file.strip_prefix(&self.folder).unwrap_or(file)
    }

    /// The function or label that holds `address`, with the distance from its
    /// start where nothing says how long it is.
    fn function(&self, address: u64) -> Option<String> {
        let after = self
            .functions
            .partition_point(|(start, _, _)| *start <= address);
        let (start, end, name) = self.functions[..after].iter().next_back()?;
        if address < *end {
            return Some(name.clone());
        }
        // Assembly has labels without a size.
        (start == end).then(|| format!("{name}+{:#x}", address - start))
    }
}

/// `cargo xtask symbolize`.
pub fn command(workspace: &Workspace, options: &SymbolizeOptions) -> Result<ExitCode> {
    let symbols = Symbols::load(workspace.debug_image()).context(
        "build the image first: `cargo xtask image` (it must be the very image that ran)",
    )?;
    if options.addresses.is_empty() {
        let mut filter = TraceFilter::new(Some(symbols));
        for line in stdin().lock().split(b'\n') {
            let mut line = line.context("cannot read standard input")?;
            line.push(b'\n');
            stdout()
                .write_all(&filter.feed(&line))
                .context("cannot write")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    for text in &options.addresses {
        let offset = match text.strip_prefix('+') {
            Some(offset) => parse_address(offset),
            None => parse_address(text).and_then(|address| {
                address
                    .checked_sub(options.base)
                    .ok_or_else(|| format!("{text} lies below the image at {:#x}", options.base))
            }),
        };
        let offset = match offset {
            Ok(offset) => offset,
            Err(error) => bail!("{error}"),
        };
        let what = symbols
            .describe(offset)
            .unwrap_or_else(|| "not in the image".to_owned());
        println!("+{offset:#x}  {what}");
    }
    Ok(ExitCode::SUCCESS)
}
