//! The calls themselves, one function each.

use super::{EventBits, OpalError, OpalStatus, RawOpal, Token};

/// Time for whoever waits for firmware.
pub trait Waiter {
    /// Waits this long.
    fn wait_ms(&self, milliseconds: u64);
}

/// Firmware, typed.
pub struct Opal<R, W> {
    raw: R,
    waiter: W,
}

/// Where a thread is, as firmware sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuStatus {
    /// Held by firmware: it can be started.
    InOpal,
    /// Running outside of firmware.
    Started,
    /// Absent, or out of use.
    Unavailable,
}

/// A message as firmware hands it out (skiboot include/opal-api.h, struct
/// opal_msg).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its kind.
    pub kind: u32,
    /// What goes with it.
    pub parameters: [u64; 8],
}

/// How to reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reboot {
    /// As firmware likes: a fast reboot where it can.
    Normal,
    /// Through the whole of hostboot or its equal.
    Full,
}

/// Longest wait for a call that answers busy, in milliseconds.
const BUSY_LIMIT_MS: u64 = 10_000;

/// Pause between two tries of a call that answers busy, in milliseconds.
const BUSY_PAUSE_MS: u64 = 1;

/// Size of a message in bytes.
const MESSAGE_SIZE: u64 = 72;

impl<R: RawOpal, W: Waiter> Opal<R, W> {
    /// Firmware behind `raw`, with `waiter` to wait between tries.
    pub const fn new(raw: R, waiter: W) -> Self {
        Self { raw, waiter }
    }

    /// One call, answered as it is.
    ///
    /// # Safety
    /// As for [`RawOpal::call`].
    unsafe fn once(&self, token: Token, arguments: &[u64]) -> Result<i64, OpalError> {
        let mut all = [0; 8];
        for (to, from) in all.iter_mut().zip(arguments) {
            *to = *from;
        }
        // SAFETY: handed on to the caller.
        let code = unsafe { self.raw.call(token, all)? };
        if code < 0 {
            return Err(OpalError::Status {
                token,
                status: OpalStatus::from_code(code),
            });
        }
        Ok(code)
    }

    /// A call that is tried again while firmware is busy, running what firmware
    /// has to do in between (skiboot doc/opal-api/return-codes.rst).
    ///
    /// # Safety
    /// As for [`RawOpal::call`].
    pub(super) unsafe fn retried(&self, token: Token, arguments: &[u64]) -> Result<i64, OpalError> {
        let mut waited = 0;
        loop {
            // SAFETY: handed on to the caller.
            let answer = unsafe { self.once(token, arguments) };
            let status = answer.as_ref().err().and_then(OpalError::status);
            match status {
                Some(OpalStatus::BusyEvent) => {
                    self.poll_events()?;
                }
                Some(OpalStatus::Busy) => {}
                _ => return answer,
            }
            if waited >= BUSY_LIMIT_MS {
                return Err(OpalError::StillBusy {
                    token,
                    milliseconds: waited,
                });
            }
            self.waiter.wait_ms(BUSY_PAUSE_MS);
            waited += BUSY_PAUSE_MS;
        }
    }

    /// Whether this firmware has a call.
    ///
    /// # Errors
    /// There is no firmware.
    pub fn has(&self, token: Token) -> Result<bool, OpalError> {
        // SAFETY: no pointers.
        let present = unsafe { self.once(Token::CheckToken, &[token as u64])? };
        Ok(present == 1)
    }

    /// Runs what firmware has to do, and says what is pending. To be called
    /// each `ibm,heartbeat-ms`.
    ///
    /// # Errors
    /// What firmware says.
    pub fn poll_events(&self) -> Result<EventBits, OpalError> {
        let mut events = 0u64;
        // SAFETY: one pointer, to eight bytes that live until the call returns.
        unsafe { self.once(Token::PollEvents, &[&raw mut events as u64])? };
        Ok(EventBits::from_bits_retain(u64::from_be(events)))
    }

    /// Serves the interrupt `source` of firmware's own.
    ///
    /// # Errors
    /// What firmware says.
    pub fn handle_interrupt(&self, source: u32) -> Result<EventBits, OpalError> {
        let mut events = 0u64;
        let arguments = [u64::from(source), &raw mut events as u64];
        // SAFETY: one pointer, to eight bytes that live until the call returns.
        unsafe { self.retried(Token::HandleInterrupt, &arguments)? };
        Ok(EventBits::from_bits_retain(u64::from_be(events)))
    }

    /// Fetches the oldest message, if there is one.
    ///
    /// # Errors
    /// What firmware says; a message of a later version that is longer than 72
    /// bytes comes as far as it fits.
    pub fn message(&self) -> Result<Option<Message>, OpalError> {
        let mut buffer = [0u64; MESSAGE_SIZE as usize / 8];
        let arguments = [&raw mut buffer as u64, MESSAGE_SIZE];
        // SAFETY: the buffer has the size that is passed with it.
        match unsafe { self.once(Token::GetMessage, &arguments) } {
            Ok(_) => {}
            Err(error) => match error.status() {
                Some(OpalStatus::Resource | OpalStatus::Empty) => return Ok(None),
                Some(OpalStatus::Partial) => {}
                _ => return Err(error),
            },
        }
        let [head, parameters @ ..] = buffer.map(u64::from_be);
        Ok(Some(Message {
            kind: (head >> 32) as u32,
            parameters,
        }))
    }

    /// Writes to a terminal as much as it takes; returns how many bytes.
    ///
    /// # Errors
    /// What firmware says; busy is an answer of 0 bytes.
    pub fn console_write(&self, terminal: u32, bytes: &[u8]) -> Result<usize, OpalError> {
        let mut length = (bytes.len() as u64).to_be();
        let arguments = [
            u64::from(terminal),
            &raw mut length as u64,
            bytes.as_ptr() as u64,
        ];
        // SAFETY: firmware reads as many bytes as `length` says, which the
        // slice has, and writes `length`.
        let answer = unsafe { self.once(Token::ConsoleWrite, &arguments) };
        match answer.as_ref().err().and_then(OpalError::status) {
            Some(OpalStatus::Busy | OpalStatus::BusyEvent) => return Ok(0),
            Some(OpalStatus::Partial) => {}
            _ => {
                answer?;
            }
        }
        let written = u64::from_be(length);
        if written > bytes.len() as u64 {
            return Err(OpalError::Nonsense {
                token: Token::ConsoleWrite,
                value: written,
            });
        }
        Ok(written as usize)
    }

    /// Reads what a terminal has; returns how many bytes of `buffer` it filled.
    ///
    /// # Errors
    /// What firmware says.
    pub fn console_read(&self, terminal: u32, buffer: &mut [u8]) -> Result<usize, OpalError> {
        let mut length = (buffer.len() as u64).to_be();
        let arguments = [
            u64::from(terminal),
            &raw mut length as u64,
            buffer.as_mut_ptr() as u64,
        ];
        // SAFETY: firmware writes at most as many bytes as `length` says, which
        // the slice has, and writes `length`.
        unsafe { self.once(Token::ConsoleRead, &arguments)? };
        let read = u64::from_be(length);
        if read > buffer.len() as u64 {
            return Err(OpalError::Nonsense {
                token: Token::ConsoleRead,
                value: read,
            });
        }
        Ok(read as usize)
    }

    /// Drains a terminal's output a little; `true` once it is empty. `None`:
    /// this firmware cannot tell.
    ///
    /// # Errors
    /// What firmware says.
    pub fn console_flush(&self, terminal: u32) -> Result<Option<bool>, OpalError> {
        // SAFETY: no pointers.
        let answer = unsafe { self.once(Token::ConsoleFlush, &[u64::from(terminal)]) };
        match answer.as_ref().err().and_then(OpalError::status) {
            Some(OpalStatus::Partial | OpalStatus::Busy | OpalStatus::BusyEvent) => Ok(Some(false)),
            Some(OpalStatus::Unsupported | OpalStatus::Parameter) => Ok(None),
            _ => answer.map(|_| Some(true)),
        }
    }

    /// Powers the machine off. Firmware does it some time after the return.
    ///
    /// # Errors
    /// What firmware says.
    pub fn power_down(&self) -> Result<(), OpalError> {
        // SAFETY: no pointers; 0 is a normal power-off.
        unsafe { self.retried(Token::PowerDown, &[0]) }.map(drop)
    }

    /// Reboots the machine. Firmware does it some time after the return.
    ///
    /// # Errors
    /// What firmware says.
    pub fn reboot(&self, how: Reboot) -> Result<(), OpalError> {
        // OPAL_REBOOT_FULL_IPL
        const FULL_IPL: u64 = 2;
        let reason = c"pinion";
        let arguments = [FULL_IPL, reason.as_ptr() as u64];
        match how {
            // SAFETY: no pointers.
            Reboot::Normal => unsafe { self.retried(Token::Reboot, &[]) }.map(drop),
            // SAFETY: the second argument is a text that ends in NUL and stays.
            Reboot::Full => unsafe { self.retried(Token::Reboot2, &arguments) }.map(drop),
        }
    }

    /// Has the thread with this PIR take a system reset interrupt, whatever it does.
    ///
    /// # Errors
    /// What firmware says: an unknown PIR is a bad parameter.
    pub fn signal_system_reset(&self, pir: u64) -> Result<(), OpalError> {
        // SAFETY: no pointers.
        unsafe { self.once(Token::SignalSystemReset, &[pir])? };
        Ok(())
    }

    /// Where the thread with this PIR is.
    ///
    /// # Errors
    /// What firmware says: an unknown PIR is a bad parameter.
    pub fn cpu_status(&self, pir: u64) -> Result<CpuStatus, OpalError> {
        let mut status = 0u8;
        // SAFETY: one pointer, to a byte that lives until the call returns.
        unsafe { self.once(Token::QueryCpuStatus, &[pir, &raw mut status as u64])? };
        match status {
            0 => Ok(CpuStatus::InOpal),
            1 => Ok(CpuStatus::Started),
            2 => Ok(CpuStatus::Unavailable),
            other => Err(OpalError::Nonsense {
                token: Token::QueryCpuStatus,
                value: u64::from(other),
            }),
        }
    }

    /// Sends the thread with this PIR to `entry`.
    ///
    /// # Safety
    /// `entry` is code that can be entered as skiboot core/cpu.c does it:
    /// big-endian, HV|SF, r3 = PIR, without a stack.
    ///
    /// # Errors
    /// What firmware says: the thread is not in firmware, or is unknown.
    pub unsafe fn start_cpu(&self, pir: u64, entry: u64) -> Result<(), OpalError> {
        // SAFETY: no pointers but the entry, which the caller answers for.
        unsafe { self.retried(Token::StartCpu, &[pir, entry]) }.map(drop)
    }

    /// Gives the calling thread back to firmware. Returns only if firmware
    /// does not take it.
    pub fn return_cpu(&self) -> OpalError {
        // SAFETY: no pointers. The thread's stack is not used by anyone after.
        match unsafe { self.once(Token::ReturnCpu, &[]) } {
            Err(error) => error,
            Ok(value) => OpalError::Nonsense {
                token: Token::ReturnCpu,
                value: value as u64,
            },
        }
    }

    /// Makes all threads take interrupts big-endian (HILE = 0), and, where
    /// `radix`, translate by radix trees (POWER9 and later: HID0, which only
    /// firmware changes). All other threads must be in firmware.
    ///
    /// # Errors
    /// What firmware says.
    pub fn set_thread_modes(&self, radix: bool) -> Result<(), OpalError> {
        // OPAL_REINIT_CPUS_HILE_BE, OPAL_REINIT_CPUS_MMU_RADIX
        let flags = if radix { 1 | 1 << 3 } else { 1 };
        // SAFETY: no pointers.
        unsafe { self.retried(Token::ReinitCpus, &[flags]) }.map(drop)
    }

    /// Serves a hypervisor maintenance interrupt on the calling thread; returns
    /// the flags of firmware's answer (0 where only the older call exists).
    ///
    /// # Errors
    /// What firmware says.
    pub fn handle_maintenance(&self) -> Result<u64, OpalError> {
        let mut flags = 0u64;
        // SAFETY: one pointer, to eight bytes that live until the call returns.
        let answer = unsafe { self.once(Token::HandleHmi2, &[&raw mut flags as u64]) };
        let absent = matches!(answer, Err(OpalError::Absent { .. }))
            || answer.as_ref().err().and_then(OpalError::status) == Some(OpalStatus::Parameter);
        if absent {
            // SAFETY: no pointers.
            unsafe { self.once(Token::HandleHmi, &[])? };
            return Ok(0);
        }
        answer?;
        Ok(u64::from_be(flags))
    }

    /// Reads a byte of the LPC bus's IO space.
    ///
    /// # Errors
    /// What firmware says.
    pub fn lpc_read_io(&self, chip: u32, port: u16) -> Result<u8, OpalError> {
        let mut data = 0u32;
        let arguments = [
            u64::from(chip),
            LPC_IO,
            u64::from(port),
            &raw mut data as u64,
            1,
        ];
        // SAFETY: one pointer, to four bytes that live until the call returns.
        unsafe { self.once(Token::LpcRead, &arguments)? };
        Ok(u32::from_be(data) as u8)
    }

    /// Writes a byte of the LPC bus's IO space.
    ///
    /// # Errors
    /// What firmware says.
    pub fn lpc_write_io(&self, chip: u32, port: u16, byte: u8) -> Result<(), OpalError> {
        let arguments = [u64::from(chip), LPC_IO, u64::from(port), u64::from(byte), 1];
        // SAFETY: no pointers.
        unsafe { self.once(Token::LpcWrite, &arguments) }.map(drop)
    }
}

/// OPAL_LPC_IO
const LPC_IO: u64 = 1;
