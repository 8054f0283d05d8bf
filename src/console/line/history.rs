//! Lines that were typed before.

use super::Line;
use arrayvec::ArrayVec;

/// Lines that are kept.
pub(super) const KEPT: usize = 16;

/// The last lines, oldest first, and which of them is shown.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: ArrayVec<Line, KEPT>,
    /// How far back the shown line is; 0 is the one being typed.
    back: usize,
    /// What was being typed when going back began.
    draft: Line,
}

impl History {
    /// Keeps `line`, unless it is blank or the same as the last.
    pub(super) fn add(&mut self, line: &Line) {
        self.rewind();
        if line.trim().is_empty() || self.lines.last() == Some(line) {
            return;
        }
        if self.lines.is_full() {
            self.lines.remove(0);
        }
        self.lines.push(*line);
    }

    /// Shows the line being typed again.
    pub(super) fn rewind(&mut self) {
        self.back = 0;
    }

    /// The line before the shown one, which is `current`.
    pub(super) fn older(&mut self, current: &Line) -> Option<Line> {
        let at = self.lines.len().checked_sub(self.back + 1)?;
        let line = self.lines.get(at)?;
        if self.back == 0 {
            self.draft = *current;
        }
        self.back += 1;
        Some(*line)
    }

    /// The line after the shown one; at last what was being typed.
    pub(super) fn newer(&mut self) -> Option<Line> {
        self.back = self.back.checked_sub(1)?;
        match self.lines.len().checked_sub(self.back) {
            Some(at) if self.back > 0 => self.lines.get(at).copied(),
            _ => Some(self.draft),
        }
    }
}
