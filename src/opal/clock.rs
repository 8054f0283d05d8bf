//! The machine's clock, as firmware keeps it (skiboot
//! doc/opal-api/opal-rtc-read-3.rst): binary coded decimals, in UTC.

use super::{Opal, OpalError, RawOpal, Token, Waiter};

impl<R: RawOpal, W: Waiter> Opal<R, W> {
    /// Seconds since 1970. May take firmware some milliseconds.
    ///
    /// # Errors
    /// What firmware says, or a time that does not exist.
    pub fn clock(&self) -> Result<u64, OpalError> {
        let (mut date, mut time) = (0u32, 0u64);
        let arguments = [&raw mut date as u64, &raw mut time as u64];
        // SAFETY: pointers to four and to eight bytes, which live until the call
        // returns.
        unsafe { self.retried(Token::RtcRead, &arguments)? };
        let (date, time) = (u32::from_be(date), u64::from_be(time));
        seconds(date, time).ok_or(OpalError::Nonsense {
            token: Token::RtcRead,
            value: u64::from(date),
        })
    }
}

/// Digits of a binary coded decimal.
fn decimal(value: u64, digits: u32) -> Option<u64> {
    (0..digits).rev().try_fold(0, |sum, digit| {
        let next = value >> (4 * digit) & 0xf;
        (next < 10).then_some(sum * 10 + next)
    })
}

const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// Seconds since 1970: of year, month and day, of 16, 8 and 8 bits, and of hour,
/// minute and second, the first three bytes of `time`. `None`: no such time.
fn seconds(date: u32, time: u64) -> Option<u64> {
    let date = u64::from(date);
    let year = decimal(date >> 16, 4)?;
    let (month, day) = (decimal(date >> 8, 2)?, decimal(date, 2)?);
    let (hour, minute, second) = (
        decimal(time >> 56, 2)?,
        decimal(time >> 48, 2)?,
        decimal(time >> 40, 2)?,
    );
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let before = *DAYS_BEFORE.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let years = year.checked_sub(1970)?;
    // Of the years that have ended.
    let leaps = leap_days(year - 1) - leap_days(1969);
    let past_february = u64::from(is_leap && month > 2);
    let days = 365 * years + leaps + before + past_february + day.checked_sub(1)?;
    // 60 is a leap second.
    if day > 31 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::super::calls_tests::{Counted, Pretend};
    use super::*;

    #[test]
    fn times_are_counted_in_seconds() {
        for (date, time, expected) in [
            (0x1970_0101, 0, 0),
            (0x2000_0229, 0x23_59_59 << 40, 951_868_799),
            (0x2000_0301, 0, 951_868_800),
            (0x2026_1130, 0x16_30_05 << 40, 1_796_056_205),
            (0x2100_0301, 0, 4_107_542_400),
        ] {
            assert_eq!(seconds(date, time), Some(expected), "{date:#x}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for (date, time) in [
            (0, 0),
            (0x1969_1231, 0),
            (0x2026_0001, 0),
            (0x2026_1301, 0),
            (0x2026_0100, 0),
            (0x2026_0132, 0),
            (0x2026_010a, 0),
            (0x2026_0101, 0x24 << 56),
            (0x2026_0101, 0x60 << 48),
            (0x2026_0101, 0x1a << 40),
        ] {
            assert_eq!(seconds(date, time), None, "{date:#x} {time:#x}");
        }
    }

    #[test]
    fn a_busy_clock_is_asked_again_and_nonsense_is_told() {
        let (raw, waited) = (Pretend::answering(&[-2, 0]), Counted::default());
        // Nothing was filled in.
        let error = Opal::new(&raw, &waited).clock().unwrap_err();
        let (token, value) = (Token::RtcRead, 0);
        assert_eq!(error, OpalError::Nonsense { token, value });
    }
}
