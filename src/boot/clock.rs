//! The time of day: firmware's clock, read once, and the timebase since then.

use super::runtime::OPAL;
use crate::{cpu, warning};
use spin::Once;

/// The timebase and the seconds since 1970, at one moment; `None` if firmware
/// does not know them.
static MOMENT: Once<Option<(u64, u64)>> = Once::new();

/// Reads firmware's clock, the first time.
pub fn read() {
    MOMENT.call_once(|| match OPAL.clock() {
        Ok(seconds) => Some((cpu::timebase(), seconds)),
        Err(error) => {
            warning!("the time of day is not known: {error}");
            None
        }
    });
}

/// Seconds since 1970 and nanoseconds, if the clock was read.
pub fn now() -> Option<(u64, u32)> {
    let (then, seconds) = (*MOMENT.get()?)?;
    let (ticks, hz) = (cpu::timebase().wrapping_sub(then), cpu::timebase_hz());
    let nanoseconds = ticks % hz * 1_000_000_000 / hz;
    Some((seconds + ticks / hz, nanoseconds as u32))
}
