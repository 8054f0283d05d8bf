//! An operation that was noted: its words in memory, and its line of text.
//!
//! Words are stored one by one while others may read. So each has the number of
//! the lap around the ring in its low bits: words of two laps are not taken for
//! an entry. Bus and host addresses are those of pages, whose low bits are free.

use core::fmt;

/// Words of an entry.
pub const WORDS: usize = 7;

/// Bytes from one entry to the next.
pub const STRIDE: usize = 64;

/// First word of a ring in memory.
pub const MAGIC: u64 = u64::from_be_bytes(*b"PINIONTR");

/// Bits of the lap in each word.
const TAG: u32 = 12;

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Native map.
    Map = 0,
    /// Native unmap.
    Unmap = 1,
    /// Remap, as PAPR's calls mean it.
    Remap = 2,
    /// Unmap of a whole window.
    Clear = 3,
    /// A PE gets a window.
    Attach = 4,
    /// A PE loses a window.
    Detach = 5,
    /// The end of a window.
    Remove = 6,
    /// Recovery after a failed kill.
    Recover = 7,
    /// A kill outside of map, unmap and remap, or one of theirs that failed.
    Kill = 8,
}

impl Kind {
    /// All, by number.
    pub const ALL: [Self; 9] = [
        Self::Map,
        Self::Unmap,
        Self::Remap,
        Self::Clear,
        Self::Attach,
        Self::Detach,
        Self::Remove,
        Self::Recover,
        Self::Kill,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Unmap => "unmap",
            Self::Remap => "remap",
            Self::Clear => "clear",
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::Remove => "remove",
            Self::Recover => "recover",
            Self::Kill => "kill",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Verdict {
    /// Done.
    Done = 0,
    /// Something was in the way.
    Busy = 1,
    /// Nothing was mapped there.
    NotMapped = 2,
    /// It made no sense.
    Invalid = 3,
    /// It was not inside the window.
    OutOfRange = 4,
    /// The memory was another's.
    NotOwned = 5,
    /// Memory or a limit.
    NoResources = 6,
    /// The window or PE was gone.
    Gone = 7,
    /// The PHB failed.
    Hardware = 8,
}

impl Verdict {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Busy,
        Self::NotMapped,
        Self::Invalid,
        Self::OutOfRange,
        Self::NotOwned,
        Self::NoResources,
        Self::Gone,
        Self::Hardware,
    ];

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Busy => "busy",
            Self::NotMapped => "not mapped",
            Self::Invalid => "invalid",
            Self::OutOfRange => "out of range",
            Self::NotOwned => "not owned",
            Self::NoResources => "no resources",
            Self::Gone => "gone",
            Self::Hardware => "hardware",
        }
    }
}

/// An operation that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What.
    pub kind: Kind,
    /// With what result.
    pub verdict: Verdict,
    /// Timebase at its end, in ticks; the low 52 bits.
    pub end: u64,
    /// How long it took, in ticks, below 2^52.
    pub ticks: u64,
    /// The partition; [`Entry::NOBODY`] for none.
    pub owner: u32,
    /// The window's LIOBN; 0 for a window without one, and for a kill.
    pub liobn: u32,
    /// First bus address, down to its 4K page.
    pub bus: u64,
    /// IO pages.
    pub pages: u64,
    /// Map: the first host address, down to its 4K page. Attach, detach and kill:
    /// the PE, as `phb << 16 | pe`, 4096 fold. Else 0.
    pub target: u64,
}

impl Entry {
    /// No partition: they are numbered from 1.
    pub const NOBODY: u32 = 0;

    /// [`Entry::target`] of a PE.
    pub const fn pe(phb: u16, pe: u16) -> u64 {
        ((phb as u64) << 16 | pe as u64) << TAG
    }

    /// Who did what with which result, in one word with free low bits.
    #[inline]
    pub const fn who(kind: Kind, verdict: Verdict, owner: u32) -> u64 {
        (owner as u64) << 32 | (kind as u64) << 28 | (verdict as u64) << 24
    }

    /// Its words on lap `lap` around the ring.
    pub const fn encode(&self, lap: u64) -> [u64; WORDS] {
        words(
            Self::who(self.kind, self.verdict, self.owner),
            self.liobn,
            self.bus,
            self.pages,
            self.target,
            self.ticks,
            self.end,
            lap,
        )
    }

    /// The entry of lap `lap`; `None` where a word is of another.
    pub fn decode(words: &[u64; WORDS], lap: u64) -> Option<Self> {
        const MASK: u64 = (1 << TAG) - 1;
        if words.iter().any(|word| word & MASK != lap & MASK) {
            return None;
        }
        let [end, bus, target, who, liobn, pages, ticks] = *words;
        Some(Self {
            kind: *Kind::ALL.get((who >> 28 & 15) as usize)?,
            verdict: *Verdict::ALL.get((who >> 24 & 15) as usize)?,
            end: end >> TAG,
            ticks: ticks >> TAG,
            owner: (who >> 32) as u32,
            liobn: (liobn >> 32) as u32,
            bus: bus & !MASK,
            pages: pages >> TAG,
            target: target & !MASK,
        })
    }

    /// Microseconds from `start` to its end, both of a timebase of `hertz`.
    pub const fn microseconds(&self, start: u64, hertz: u64) -> u64 {
        const MASK: u64 = (1 << (64 - TAG)) - 1;
        let ticks = self.end.wrapping_sub(start) & MASK;
        let hertz = if hertz == 0 { 1 } else { hertz };
        // Not through 128 bits: 2^52 ticks in two parts do.
        ticks / hertz * 1_000_000 + ticks % hertz * 1_000_000 / hertz
    }
}

/// The words of an entry on lap `lap`, by [`Entry::who`] and fields.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "in registers, not in memory")]
pub(super) const fn words(
    who: u64,
    liobn: u32,
    bus: u64,
    pages: u64,
    target: u64,
    ticks: u64,
    end: u64,
    lap: u64,
) -> [u64; WORDS] {
    const MASK: u64 = (1 << TAG) - 1;
    let tag = lap & MASK;
    [
        end << TAG | tag,
        bus & !MASK | tag,
        target & !MASK | tag,
        who | tag,
        (liobn as u64) << 32 | tag,
        pages << TAG | tag,
        ticks << TAG | tag,
    ]
}

/// What stands above lines of entries.
pub const HEADING: &str =
    "  [seconds]       PIR what       owner    LIOBN             IOBA   pages   ticks";

/// The line of an entry: [`HEADING`]'s columns and what came of it.
pub struct Line<'e> {
    /// The entry.
    pub entry: &'e Entry,
    /// PIR of its thread.
    pub thread: u64,
    /// Microseconds since the start.
    pub microseconds: u64,
    /// Its owner's name, if that has one; of longer ones 8 letters are shown.
    pub owner: Option<&'e str>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entry, time) = (self.entry, self.microseconds);
        write!(
            f,
            "  [{:5}.{:06}] {:04x} {:<7} ",
            time / 1_000_000,
            time % 1_000_000,
            self.thread,
            entry.kind.name()
        )?;
        match (self.owner, entry.owner) {
            (Some(name), _) => write!(f, "{name:>8.8}")?,
            (None, Entry::NOBODY) => f.write_str("       -")?,
            (None, owner) => write!(f, "{owner:>8x}")?,
        }
        match entry.liobn {
            0 => f.write_str("        -")?,
            liobn => write!(f, " {liobn:>8x}")?,
        }
        match entry.kind {
            Kind::Map | Kind::Unmap | Kind::Remap | Kind::Clear => {
                write!(f, " {:>16x} {:>7}", entry.bus, entry.pages)?;
            }
            _ => f.write_str("                -       -")?,
        }
        match entry.ticks {
            ticks @ 0..10_000_000 => write!(f, " {ticks:>7}")?,
            ticks => write!(f, " {:>6}M", ticks / 1_000_000)?,
        }
        match (entry.verdict, entry.kind) {
            (Verdict::Done, Kind::Map) => write!(f, " to {:x}", entry.target),
            (verdict, Kind::Attach | Kind::Detach | Kind::Kill) => {
                let pe = entry.target >> TAG;
                write!(f, " PE {}:{:03x}", pe >> 16, pe & 0xffff)?;
                match verdict {
                    Verdict::Done => Ok(()),
                    verdict => write!(f, ": {}", verdict.name()),
                }
            }
            (Verdict::Done, _) => Ok(()),
            (verdict, _) => write!(f, " {}", verdict.name()),
        }
    }
}
