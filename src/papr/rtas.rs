//! RTAS: run-time abstraction services (LoPAR 2.9, chapter 7). A partition
//! enters a few instructions in its own memory, which make one hypervisor call
//! with the address of the arguments.

use super::config::View;
use super::ddw::{Available, WindowCalls};
use super::messages::{Messages, Sender};
use super::{Host, Next};
use crate::addr::GuestAddr;
use crate::pci::{ConfigAccess, ConfigError};
use alloc::string::String;

/// The instructions at the entry: mr r4,r3; lis r3,0; ori r3,r3,0xf000; sc 1;
/// blr. 32-bit, big-endian.
pub const ENTRY: [u32; 5] = [
    0x7c64_1b78,
    0x3c60_0000,
    0x6063_f000,
    0x4400_0022,
    0x4e80_0020,
];

/// The call worked.
const SUCCESS: i32 = 0;
/// The machine failed.
pub const HARDWARE: i32 = -1;
/// Another call is at work: to be tried again.
pub const BUSY: i32 = -2;
/// A parameter is wrong, or there is no such function.
pub const PARAMETER: i32 = -3;
/// Nothing of this number, for `ibm,get-system-parameter`.
const NOT_SUPPORTED: i32 = -3;

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $token:literal $text:literal,)*) => {
        /// A function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Function {
            $($(#[$doc])* $name,)*
        }

        impl Function {
            /// All of them: the token, and the property of the tree's node that
            /// tells it.
            pub const ALL: &[(u32, &str)] = &[$(($token, $text),)*];

            /// Its token.
            pub const fn token(self) -> u32 {
                match self {
                    $(Self::$name => $token,)*
                }
            }

            fn of(token: u32) -> Option<Self> {
                match token {
                    $($token => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

functions! {
    /// Prints a character.
    DisplayCharacter = 1 "display-character",
    /// The time, in seven words.
    GetTimeOfDay = 2 "get-time-of-day",
    /// Ends the partition.
    PowerOff = 3 "power-off",
    /// Starts the partition again.
    SystemReboot = 4 "system-reboot",
    /// The partition's last words.
    OsTerm = 5 "ibm,os-term",
    /// Starts a vCPU.
    StartCpu = 6 "start-cpu",
    /// Stops the vCPU that calls.
    StopSelf = 7 "stop-self",
    /// Whether a vCPU is stopped.
    QueryStopped = 8 "query-cpu-stopped-state",
    /// A parameter of the system.
    GetSystemParameter = 9 "ibm,get-system-parameter",
    /// What DMA windows a group could have.
    QueryWindow = 10 "ibm,query-pe-dma-window",
    /// Makes a DMA window.
    CreateWindow = 11 "ibm,create-pe-dma-window",
    /// Removes a DMA window.
    RemoveWindow = 12 "ibm,remove-pe-dma-window",
    /// Restores the default window.
    ResetWindow = 13 "ibm,reset-pe-dma-window",
    /// Reads configuration space.
    ReadConfig = 14 "ibm,read-pci-config",
    /// Writes configuration space.
    WriteConfig = 15 "ibm,write-pci-config",
    /// How many messages a function sends.
    ChangeMessages = 16 "ibm,change-msi",
    /// The interrupt source of a message.
    QuerySource = 17 "ibm,query-interrupt-source-number",
}

/// Most words of arguments or answers.
const WORDS: u32 = 16;

/// The arguments' head: token, counts of arguments and answers.
const HEAD: u64 = 12;

struct Call<'a, H> {
    host: &'a mut H,
    at: GuestAddr,
    arguments: u32,
    answers: u32,
}

impl<H: Host> Call<'_, H> {
    fn argument(&self, index: u32) -> Option<u32> {
        if index >= self.arguments {
            return None;
        }
        word(self.host, self.at.checked_add(HEAD + 4 * u64::from(index))?)
    }

    /// A function and its host bridge, the first three arguments of some calls.
    fn function(&self) -> Option<(u32, u64)> {
        let (config, high, low) = (self.argument(0)?, self.argument(1)?, self.argument(2)?);
        Some((config, u64::from(high) << 32 | u64::from(low)))
    }

    /// Sets an answer; 0 is the status. What there is no room for is left out.
    fn answer(&mut self, index: u32, value: u32) {
        if index < self.answers {
            let offset = HEAD + 4 * u64::from(self.arguments + index);
            if let Some(at) = self.at.checked_add(offset) {
                self.host.write(at, &value.to_be_bytes());
            }
        }
    }
}

fn word(host: &impl Host, at: GuestAddr) -> Option<u32> {
    let mut bytes = [0; 4];
    host.read(at, &mut bytes).then(|| u32::from_be_bytes(bytes))
}

/// Does what the arguments at `at` ask for. Without arguments that can be read
/// nothing happens: there is nowhere to say so.
#[inline(never)]
pub fn call(at: GuestAddr, host: &mut impl Host) -> Next {
    let head = |host: &_, offset| word(host, at.checked_add(offset)?);
    let (Some(token), Some(arguments), Some(answers)) =
        (head(host, 0), head(host, 4), head(host, 8))
    else {
        return Next::Resume;
    };
    if arguments > WORDS || answers > WORDS {
        return Next::Resume;
    }
    let mut call = Call {
        host,
        at,
        arguments,
        answers,
    };
    let (status, next) = match Function::of(token) {
        Some(function) => act(function, &mut call),
        None => (PARAMETER, Next::Resume),
    };
    call.answer(0, status as u32);
    next
}

fn act<H: Host>(function: Function, call: &mut Call<'_, H>) -> (i32, Next) {
    let status = match function {
        Function::PowerOff => return (SUCCESS, Next::PowerOff),
        Function::SystemReboot => return (SUCCESS, Next::Reboot),
        Function::StopSelf => return (SUCCESS, Next::Stop),
        Function::OsTerm => {
            // Linux up to 6.12 at least gives 0 where its text should be.
            let at = call.argument(0).filter(|at| *at != 0);
            let text = at.map(|at| text(call.host, at));
            call.host.last_words(text.as_deref().unwrap_or(""));
            return (SUCCESS, Next::Failed);
        }
        Function::DisplayCharacter => match call.argument(0) {
            Some(character) => {
                call.host.put_terminal(&[character as u8]);
                SUCCESS
            }
            None => PARAMETER,
        },
        Function::GetTimeOfDay => time_of_day(call),
        Function::QueryStopped => {
            let stopped = call
                .argument(0)
                .and_then(|vcpu| call.host.is_stopped(vcpu.into()));
            match stopped {
                Some(stopped) => {
                    call.answer(1, if stopped { 0 } else { 2 });
                    SUCCESS
                }
                None => PARAMETER,
            }
        }
        Function::StartCpu => start(call),
        Function::GetSystemParameter => NOT_SUPPORTED,
        Function::QueryWindow => query_window(call),
        Function::CreateWindow => create_window(call),
        Function::RemoveWindow => match call.argument(0) {
            Some(liobn) => windows(call.host, |windows| windows.remove(liobn)),
            None => PARAMETER,
        },
        Function::ReadConfig => read_config(call),
        Function::WriteConfig => write_config(call),
        Function::ChangeMessages => change_messages(call),
        Function::QuerySource => query_source(call),
        Function::ResetWindow => match call.function() {
            Some((config, buid)) => windows(call.host, |windows| windows.reset(config, buid)),
            None => PARAMETER,
        },
    };
    (status, Next::Resume)
}

/// The status of a call for windows.
fn windows<H: Host>(
    host: &mut H,
    mut act: impl FnMut(&WindowCalls<'_, H::Platform>) -> Result<(), i32>,
) -> i32 {
    let mut status = PARAMETER;
    host.with_windows(&mut |calls| status = act(calls).err().unwrap_or(SUCCESS));
    status
}

/// Answers of `ibm,query-pe-dma-window`, the status included: without and with
/// the upper half of the number of entries.
const QUERY_ANSWERS: core::ops::RangeInclusive<u32> = 5..=6;

fn query_window<H: Host>(call: &mut Call<'_, H>) -> i32 {
    let Some((config, buid)) = call.function() else {
        return PARAMETER;
    };
    if !QUERY_ANSWERS.contains(&call.answers) {
        return PARAMETER;
    }
    let mut found = Available::default();
    let status = windows(call.host, |calls| {
        found = calls.query(config, buid)?;
        Ok(())
    });
    if status != SUCCESS {
        return status;
    }
    call.answer(1, found.windows);
    let pages = if call.answers == *QUERY_ANSWERS.end() {
        call.answer(2, (found.entries >> 32) as u32);
        call.answer(3, found.entries as u32);
        4
    } else {
        // As many as its word can say.
        call.answer(2, u32::try_from(found.entries).unwrap_or(u32::MAX));
        3
    };
    call.answer(pages, found.pages);
    // No page is migrated: partitions do not move.
    call.answer(pages + 1, 0);
    SUCCESS
}

fn create_window<H: Host>(call: &mut Call<'_, H>) -> i32 {
    let (Some((config, buid)), Some(page), Some(window)) =
        (call.function(), call.argument(3), call.argument(4))
    else {
        return PARAMETER;
    };
    let mut made = None;
    let status = windows(call.host, |calls| {
        made = Some(calls.create(config, buid, page, window)?);
        Ok(())
    });
    if let Some(made) = made {
        call.answer(1, made.liobn.0);
        call.answer(2, (made.base.get() >> 32) as u32);
        call.answer(3, made.base.get() as u32);
    }
    status
}

/// Address in configuration space: function, and offset in two parts.
const FUNCTION: u32 = 0x00ff_ff00;

const fn offset(address: u32) -> u16 {
    (address >> 20 & 0xf00 | address & 0xff) as u16
}

/// Accesses configuration space of one of the partition's functions.
fn configuration<H: Host, T>(
    call: &mut Call<'_, H>,
    mut act: impl FnMut(&View, &mut dyn ConfigAccess, u16) -> Result<T, ConfigError>,
) -> Result<T, i32> {
    let (address, buid) = call.function().ok_or(PARAMETER)?;
    let mut done = None;
    call.host
        .with_function(address & FUNCTION, buid, &mut |view, access| {
            done = Some(act(view, access, offset(address)));
        });
    done.ok_or(PARAMETER)?.map_err(|error| match error {
        ConfigError::Offset { .. } => PARAMETER,
        ConfigError::Refused { .. } | ConfigError::Silent { .. } => HARDWARE,
    })
}

fn read_config<H: Host>(call: &mut Call<'_, H>) -> i32 {
    let Some(size) = call.argument(3) else {
        return PARAMETER;
    };
    let read = configuration(call, |view, access, at| view.read(access, at, size));
    match read {
        Ok(value) => {
            call.answer(1, value);
            SUCCESS
        }
        Err(status) => status,
    }
}

fn write_config<H: Host>(call: &mut Call<'_, H>) -> i32 {
    let (Some(size), Some(value)) = (call.argument(3), call.argument(4)) else {
        return PARAMETER;
    };
    let write = configuration(call, |view, access, at| view.write(access, at, size, value));
    write.err().unwrap_or(SUCCESS)
}

/// Asks the messages of one of the partition's functions.
fn messages<H: Host, T>(
    call: &mut Call<'_, H>,
    mut ask: impl FnMut(&Messages, &mut dyn Sender) -> Result<T, i32>,
) -> Result<T, i32> {
    let (address, buid) = call.function().ok_or(PARAMETER)?;
    let mut answer = None;
    call.host
        .with_messages(address & FUNCTION, buid, &mut |messages, sender| {
            answer = Some(ask(messages, sender));
        });
    answer.ok_or(PARAMETER)?
}

fn change_messages<H: Host>(call: &mut Call<'_, H>) -> i32 {
    let (Some(function), Some(wanted)) = (call.argument(3), call.argument(4)) else {
        return PARAMETER;
    };
    match messages(call, |messages, sender| {
        messages.change(function, wanted, sender)
    }) {
        Ok(sent) => {
            // Nothing is left for a second call of the sequence.
            let next = call.argument(5).unwrap_or(0).wrapping_add(1);
            call.answer(1, sent.count.into());
            call.answer(2, next);
            call.answer(3, sent.kind_number());
            SUCCESS
        }
        Err(status) => status,
    }
}

fn query_source<H: Host>(call: &mut Call<'_, H>) -> i32 {
    let Some(index) = call.argument(3) else {
        return PARAMETER;
    };
    match messages(call, |messages, _| messages.source(index).ok_or(PARAMETER)) {
        Ok(lisn) => {
            call.answer(1, lisn.get());
            call.answer(2, EDGE);
            SUCCESS
        }
        Err(status) => status,
    }
}

/// A source of messages, not of a level.
const EDGE: u32 = 1;

fn start<H: Host>(call: &mut Call<'_, H>) -> i32 {
    let (Some(vcpu), Some(at), Some(r3)) = (call.argument(0), call.argument(1), call.argument(2))
    else {
        return PARAMETER;
    };
    let at = GuestAddr::new(at.into());
    if call.host.start(vcpu.into(), at, r3.into()) {
        SUCCESS
    } else {
        HARDWARE
    }
}

fn time_of_day<H: Host>(call: &mut Call<'_, H>) -> i32 {
    let Some((seconds, nanoseconds)) = call.host.time() else {
        return HARDWARE;
    };
    let (year, month, day) = date(seconds / 86_400);
    let words = [
        year,
        month,
        day,
        (seconds / 3600 % 24) as u32,
        (seconds / 60 % 60) as u32,
        (seconds % 60) as u32,
        nanoseconds,
    ];
    for (index, value) in (1..).zip(words) {
        call.answer(index, value);
    }
    SUCCESS
}

/// Year, month and day of a number of days since 1970-01-01, by the Gregorian
/// calendar, whose cycle of 400 years has 146097 days.
fn date(days: u64) -> (u32, u32, u32) {
    // Days since 0000-03-01: leap days come last in such a year.
    let shifted = days + 719_468;
    let cycle = shifted / 146_097;
    let in_cycle = shifted % 146_097;
    let year = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (
        (cycle * 400 + year + carry) as u32,
        month as u32,
        day as u32,
    )
}

/// Longest last words.
const TEXT: usize = 120;

/// A text of the partition's, up to its zero, as far as it can be read.
fn text(host: &impl Host, at: u32) -> String {
    let mut text = String::new();
    for offset in 0..TEXT as u64 {
        let mut byte = [0];
        let at = GuestAddr::new(u64::from(at) + offset);
        if !host.read(at, &mut byte) || byte[0] == 0 {
            break;
        }
        text.push(match byte[0] {
            printable @ 0x20..=0x7e => char::from(printable),
            _ => '.',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_become_dates() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_782, (2024, 2, 29)),
            (20_781, (2026, 11, 24)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
