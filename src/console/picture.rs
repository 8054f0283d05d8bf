//! A picture of a window: a bar of what is mapped where, and the runs.
#![forbid(unsafe_code)]

use crate::addr::BusAddr;
use crate::dma::Mapping;
use crate::tce::{Access, WindowRange};
use alloc::vec::Vec;
use core::fmt;

/// Columns of the bar.
const COLUMNS: u64 = 64;

/// Runs that are shown.
const RUNS: usize = 24;

/// Pages that follow each other on both sides, with the same rights.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Mapping,
    pages: u64,
}

/// What one column stands for.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    live: u64,
    buried: u64,
}

/// The picture. Mappings are added in the order of bus addresses.
pub struct Picture {
    range: WindowRange,
    columns: [Column; COLUMNS as usize],
    runs: Vec<Run>,
    more: u64,
    last: Option<Run>,
}

impl Picture {
    /// Nothing is mapped in `range`. Allocates all that it needs.
    pub fn new(range: WindowRange) -> Self {
        Self {
            range,
            columns: [Column::default(); COLUMNS as usize],
            runs: Vec::with_capacity(RUNS),
            more: 0,
            last: None,
        }
    }

    fn page(&self) -> u64 {
        self.range.shape().page().bytes()
    }

    /// Bytes of a column: whole pages.
    fn column(&self) -> u64 {
        let pages = self.range.bytes() / self.page();
        pages.div_ceil(COLUMNS) * self.page()
    }

    /// Adds an entry that is in use. Does not allocate.
    pub fn add(&mut self, mapping: Mapping) {
        let at = mapping.bus.get().wrapping_sub(self.range.base().get()) / self.column();
        if let Some(column) = self.columns.get_mut(at as usize) {
            match mapping.access {
                Some(_) => column.live += 1,
                None => column.buried += 1,
            }
        }
        let page = self.page();
        let follows = |run: &Run| {
            let past = run.pages * page;
            run.first.access == mapping.access
                && run.first.bus.checked_add(past) == Some(mapping.bus)
                && run.first.host.checked_add(past) == Some(mapping.host)
        };
        match &mut self.last {
            Some(run) if follows(run) => run.pages += 1,
            _ => {
                self.end_run();
                self.last = Some(Run {
                    first: mapping,
                    pages: 1,
                });
            }
        }
    }

    fn end_run(&mut self) {
        let Some(run) = self.last.take() else { return };
        if self.runs.len() < RUNS {
            self.runs.push(run);
        } else {
            self.more += 1;
        }
    }

    /// No more comes.
    pub fn finish(&mut self) {
        self.end_run();
    }

    fn mark(&self, column: Column) -> char {
        let pages = self.column() / self.page();
        match (column.live, column.buried) {
            (0, 0) => '.',
            (_, 1..) => '!',
            (live, 0) if live == pages => '#',
            (live, 0) if live * 2 >= pages => '+',
            (_, 0) => '-',
        }
    }
}

/// A bar with its ends, and a line for each run.
impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (column, page) = (self.column(), self.page());
        // A small window has fewer columns than there is room for.
        let used = self.range.bytes().div_ceil(column) as usize;
        f.write_str("  |")?;
        for &column in self.columns.iter().take(used) {
            write!(f, "{}", self.mark(column))?;
        }
        writeln!(
            f,
            "|\n  from {:#x} to {:#x}; each column {:#x} bytes, {} pages:\n  \
             . none, - some, + half or more, # all mapped, ! some await a kill",
            self.range.base(),
            self.range.last(),
            column,
            column / page
        )?;
        if self.runs.is_empty() {
            return writeln!(f, "  nothing is mapped");
        }
        writeln!(
            f,
            "         bus address  ..              last     pages       host address  rights"
        )?;
        for run in &self.runs {
            let last = run.first.bus.get() + (run.pages * page - 1);
            writeln!(
                f,
                "  {:#018x}..{:#018x}  {:>8}  {:#017x}  {}",
                run.first.bus,
                BusAddr::new(last),
                run.pages,
                run.first.host,
                match run.first.access {
                    Some(Access::ReadWrite) => "read, write",
                    Some(_) => "read",
                    None => "none: awaits a kill",
                }
            )?;
        }
        if self.more > 0 {
            writeln!(f, "  and {} runs more", self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::HostAddr;
    use crate::tce::{PageShift, TableShape};

    fn range(pages: u64) -> WindowRange {
        let shape = TableShape::new(PageShift::K4, 2, 12).unwrap();
        WindowRange::new(BusAddr::new(0x10_0000), pages, shape).unwrap()
    }

    fn draw(pages: u64, mapped: impl Iterator<Item = (u64, u64, Option<Access>)>) -> String {
        let mut picture = Picture::new(range(pages));
        for (page, host, access) in mapped {
            picture.add(Mapping {
                bus: BusAddr::new(0x10_0000 + (page << 12)),
                host: HostAddr::new(host << 12),
                access,
            });
        }
        picture.finish();
        picture.to_string()
    }

    const WRITE: Option<Access> = Some(Access::ReadWrite);

    #[test]
    fn columns_show_how_much_is_mapped() {
        let full = (0..4).map(|page| (page, 0x100 + page, WRITE));
        let half = (4..6).map(|page| (page, 0x200 + page, WRITE));
        let some = [(8, 0x300, WRITE), (255, 0x400, None)];
        let text = draw(256, full.chain(half).chain(some));
        let bar = format!("  |#+-{}!|\n", ".".repeat(60));
        assert!(text.starts_with(&bar), "{text}");
        assert!(text.contains("each column 0x4000 bytes, 4 pages"), "{text}");
        assert!(text.contains("none: awaits a kill"), "{text}");
    }

    #[test]
    fn runs_follow_on_both_sides_with_the_same_rights() {
        let text = draw(
            256,
            [
                (0, 0x100, WRITE),
                (1, 0x101, WRITE),
                (2, 0x103, WRITE),
                (3, 0x104, Some(Access::Read)),
            ]
            .into_iter(),
        );
        assert!(
            text.contains("  0x0000000000100000..0x0000000000101fff         2  0x000000000100000  read, write\n"),
            "{text}"
        );
        assert_eq!(text.matches("..0x").count(), 3, "{text}");
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }

    #[test]
    fn a_thousand_runs_are_counted() {
        let text = draw(4096, (0..1000).map(|page| (page * 2, 7, WRITE)));
        assert!(text.ends_with("  and 976 runs more\n"), "{text}");
    }

    #[test]
    fn a_window_of_one_page_has_one_column() {
        assert!(draw(1, [(0, 9, WRITE)].into_iter()).starts_with("  |#|\n"));
        let text = draw(1, [].into_iter());
        assert!(text.starts_with("  |.|\n") && text.ends_with("  nothing is mapped\n"));
    }
}
