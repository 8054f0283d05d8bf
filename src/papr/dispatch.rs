//! Hypervisor calls: the number in r3, arguments from r4 on, the answer in r3
//! and further ones from r4 on (LoPAR 2.9, chapter 14).

use super::icp::Icp;
use super::tce::{List, MOST_ENTRIES, RIGHTS, TceCalls};
use super::{Host, Next, Tables, code, mode, rtas, shared, xive};
use crate::addr::GuestAddr;
use crate::memory::radix::process_entry;

macro_rules! tokens {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// A call's number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u64)]
        pub enum Token {
            $($(#[$doc])* $name = $number,)*
        }

        impl Token {
            const fn search(number: u64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

tokens! {
    /// Looks at an entry of a TCE table.
    GetTce = 0x1c,
    /// Sets an entry of a TCE table.
    PutTce = 0x20,
    /// Reads from the terminal.
    GetTermChar = 0x54,
    /// Writes to the terminal.
    PutTermChar = 0x58,
    /// Ends an interrupt.
    Eoi = 0x64,
    /// Sets the priority.
    Cppr = 0x68,
    /// Requests an IPI.
    Ipi = 0x6c,
    /// Looks at what is pending.
    Ipoll = 0x70,
    /// Takes an interrupt.
    Xirr = 0x74,
    /// Registers a virtual processor area.
    RegisterVpa = 0xdc,
    /// Waits.
    Cede = 0xe0,
    /// Gives time away.
    Confer = 0xe4,
    /// Wakes another vCPU.
    Prod = 0xe8,
    /// Sets many entries of a TCE table to one value.
    StuffTce = 0x138,
    /// Sets many entries of a TCE table from a list.
    PutTceIndirect = 0x13c,
    /// What the processor has and needs against leaks by speculation.
    GetCpuCharacteristics = 0x1c8,
    /// Takes an interrupt, and says when.
    XirrX = 0x2fc,
    /// A random number.
    Random = 0x300,
    /// How interrupts come, breakpoints.
    SetMode = 0x31c,
    /// Registers the process table.
    RegisterProcessTable = 0x37c,
    /// XIVE: pages of a source.
    IntGetSourceInfo = 0x3a8,
    /// XIVE: routes a source.
    IntSetSourceConfig = 0x3ac,
    /// XIVE: where a source goes.
    IntGetSourceConfig = 0x3b0,
    /// XIVE: the page of a queue's notifications.
    IntGetQueueInfo = 0x3b4,
    /// XIVE: gives a queue its page.
    IntSetQueueConfig = 0x3b8,
    /// XIVE: the page of a queue.
    IntGetQueueConfig = 0x3bc,
    /// XIVE: loads or stores in a source's page.
    IntEsb = 0x3c8,
    /// XIVE: waits until what was sent has arrived.
    IntSync = 0x3cc,
    /// XIVE: all sources off, no queues.
    IntReset = 0x3d0,
    /// RTAS: what the few instructions at its entry call. Not PAPR's.
    Rtas = 0xf000,
}

/// PAPR's numbers are multiples of 4 below this.
const NUMBERS: u64 = 0x400;

impl Token {
    /// The call of this number, if Pinion has it. By one look into a table, as it
    /// is asked on each call.
    #[inline(always)]
    pub const fn of(number: u64) -> Option<Self> {
        const TABLE: [Option<Token>; NUMBERS as usize / 4] = {
            let mut table = [None; NUMBERS as usize / 4];
            let mut number = 0;
            while number < NUMBERS {
                table[number as usize / 4] = Token::search(number);
                number += 4;
            }
            table
        };
        if number < NUMBERS && number.is_multiple_of(4) {
            return TABLE[number as usize / 4];
        }
        if number == Self::Rtas as u64 {
            Some(Self::Rtas)
        } else {
            None
        }
    }
}

/// What the fast path has made of a call: the answer for r3, or [`Quick::MORE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Quick(pub i64);

impl Quick {
    /// The call needs [`call`]: nothing was done. No code of PAPR's has this value.
    pub const MORE: Self = Self(0x7fff);
}

/// Answers a call by the fast path, with the partition's translation in place, if
/// it is one that takes registers only, or one for entries of TCE tables, which
/// takes tables and one kill. All but r3 of the answer is in the registers.
#[inline]
pub fn quick<T: Tables>(gpr: &mut [u64; 32], tables: &T) -> Quick {
    match gpr[3] {
        // Asked for first: it comes most often.
        PUT_TCE if gpr[6] & RIGHTS != 0 => put_tce(gpr, tables),
        PUT_TCE => clear_tce(gpr, tables),
        number => match Token::of(number) {
            None => Quick(code::FUNCTION),
            Some(token @ (Token::GetTce | Token::StuffTce | Token::PutTceIndirect)) => {
                other_entries(token, gpr, tables)
            }
            Some(_) => Quick::MORE,
        },
    }
}

const PUT_TCE: u64 = Token::PutTce as u64;

/// r4: LIOBN; r5: bus address; r6: entry, with rights. Apart, as those below, so that
/// other calls do not pay for what this needs of the stack.
#[inline(never)]
fn put_tce(gpr: &mut [u64; 32], tables: &impl Tables) -> Quick {
    let quickly = |calls: TceCalls<'_, _>| calls.put_quickly(gpr[4], gpr[5], gpr[6]);
    match tables.tces().and_then(quickly) {
        Some(answer) => Quick(answer),
        None => other_entries(Token::PutTce, gpr, tables),
    }
}

/// r4: LIOBN; r5: bus address; r6: entry, without rights.
#[inline(never)]
fn clear_tce(gpr: &mut [u64; 32], tables: &impl Tables) -> Quick {
    let quickly = |calls: TceCalls<'_, _>| calls.clear_quickly(gpr[4], gpr[5]);
    match tables.tces().and_then(quickly) {
        Some(answer) => Quick(answer),
        None => other_entries(Token::PutTce, gpr, tables),
    }
}

#[inline(never)]
fn other_entries(token: Token, gpr: &mut [u64; 32], tables: &impl Tables) -> Quick {
    // A long one is for the other path.
    if token == Token::StuffTce && gpr[7] > MOST_ENTRIES {
        return Quick::MORE;
    }
    let answer = Quick(entries(token, gpr, tables));
    debug_assert_ne!(answer, Quick::MORE);
    answer
}

/// Answers a call. What takes long is a function of its own, so that calls about
/// interrupts, of which there are most, save few registers.
pub fn call(gpr: &mut [u64; 32], host: &mut impl Host) -> Next {
    let Some(token) = Token::of(gpr[3]) else {
        gpr[3] = code::FUNCTION as u64;
        return Next::Resume;
    };
    let (answer, next) = match token {
        Token::Cede => (code::SUCCESS, Next::Cede),
        Token::Confer => shared::confer(gpr, host),
        Token::Rtas => {
            let next = rtas::call(GuestAddr::new(gpr[4] & 0xffff_ffff), host);
            (code::SUCCESS, next)
        }
        _ => (answer(token, gpr, host), Next::Resume),
    };
    gpr[3] = answer as u64;
    next
}

fn answer(token: Token, gpr: &mut [u64; 32], host: &mut impl Host) -> i64 {
    match token {
        Token::GetTce | Token::PutTce | Token::StuffTce | Token::PutTceIndirect => {
            entries(token, gpr, host)
        }
        Token::PutTermChar => put_terminal(gpr, host),
        Token::GetTermChar => get_terminal(gpr, host),
        Token::SetMode => mode::set(gpr, host),
        Token::RegisterProcessTable => register_process_table(gpr, host),
        Token::RegisterVpa => shared::register_area(gpr, host),
        Token::Random => match host.random() {
            Some(number) => {
                gpr[4] = number;
                code::SUCCESS
            }
            None => code::HARDWARE,
        },
        Token::GetCpuCharacteristics => {
            [gpr[4], gpr[5]] = host.characteristics();
            code::SUCCESS
        }
        Token::Prod => match gpr[4] {
            vcpu if vcpu < host.vcpus() => {
                host.prod(vcpu);
                code::SUCCESS
            }
            _ => code::PARAMETER,
        },
        Token::IntGetSourceInfo
        | Token::IntSetSourceConfig
        | Token::IntGetSourceConfig
        | Token::IntGetQueueInfo
        | Token::IntSetQueueConfig
        | Token::IntGetQueueConfig
        | Token::IntEsb
        | Token::IntSync
        | Token::IntReset => exploit(token, gpr, host),
        Token::Cppr => own_icp(host, |icp| icp.set_priority(gpr[4] as u8)),
        Token::Eoi => own_icp(host, |icp| icp.end(gpr[4] as u32)),
        Token::Ipi => {
            let priority = gpr[5] as u8;
            icp(host, gpr[4], |icp| icp.request(priority))
        }
        Token::Ipoll => {
            let target = gpr[4];
            icp(host, target, |icp| {
                let (answer, request) = icp.poll();
                gpr[4] = u64::from(answer);
                gpr[5] = u64::from(request);
            })
        }
        // The time of an interrupt is told as 0: not known.
        Token::Xirr | Token::XirrX => own_icp(host, |icp| {
            gpr[4] = u64::from(icp.accept());
            gpr[5] = 0;
        }),
        Token::Cede | Token::Confer | Token::Rtas => code::FUNCTION,
    }
}

/// r4: LIOBN; r5: bus address; r6: entry, or a list of entries; r7: count.
#[inline(never)]
fn entries(token: Token, gpr: &mut [u64; 32], tables: &impl Tables) -> i64 {
    let Some(calls) = tables.tces() else {
        return code::PARAMETER;
    };
    let (liobn, ioba, tce, count) = (gpr[4], gpr[5], gpr[6], gpr[7]);
    match token {
        // What the fast path has left.
        Token::PutTce => calls.put(liobn, ioba, tce),
        Token::StuffTce => calls.stuff(liobn, ioba, tce, count),
        Token::PutTceIndirect => {
            let read = |from, count, list: &mut List<'_>| tables.words(from, count, list);
            calls.put_indirect(liobn, ioba, tce, count, read)
        }
        _ => match calls.get(liobn, ioba) {
            Ok(tce) => {
                gpr[4] = tce;
                code::SUCCESS
            }
            Err(code) => code,
        },
    }
}

fn icp(host: &mut impl Host, vcpu: u64, mut act: impl FnMut(&mut Icp)) -> i64 {
    match host.with_icp(vcpu, &mut act) {
        Some(()) => code::SUCCESS,
        None => code::PARAMETER,
    }
}

/// A call for XIVE, of a partition that has one.
fn exploit(token: Token, gpr: &mut [u64; 32], host: &mut impl Host) -> i64 {
    let mut answer = code::FUNCTION;
    host.with_xive(&mut |xive, machine| answer = xive::call(token, gpr, xive, machine));
    answer
}

fn own_icp(host: &mut impl Host, act: impl FnMut(&mut Icp)) -> i64 {
    let this = host.this();
    match icp(host, this, act) {
        // Its own is there, unless the partition has a XIVE.
        code::PARAMETER => code::FUNCTION,
        answer => answer,
    }
}

/// Unit address of the terminal in the partition's tree; 0 means it too.
pub const TERMINAL: u64 = 0x7100_0000;

/// Bytes that a call moves at most, in two registers.
const TERMINAL_BYTES: usize = 16;

/// r4: terminal; r5: count; r6 and r7: bytes.
#[inline(never)]
fn put_terminal(gpr: &[u64; 32], host: &mut impl Host) -> i64 {
    if gpr[4] != 0 && gpr[4] != TERMINAL {
        return code::PARAMETER;
    }
    let mut bytes = [0; TERMINAL_BYTES];
    bytes[..8].copy_from_slice(&gpr[6].to_be_bytes());
    bytes[8..].copy_from_slice(&gpr[7].to_be_bytes());
    let count = usize::try_from(gpr[5]).unwrap_or(usize::MAX);
    let Some(bytes) = bytes.get(..count) else {
        return code::PARAMETER;
    };
    if host.put_terminal(bytes) {
        code::SUCCESS
    } else {
        code::BUSY
    }
}

/// r4: terminal; answers count in r4, bytes in r5 and r6.
#[inline(never)]
fn get_terminal(gpr: &mut [u64; 32], host: &mut impl Host) -> i64 {
    if gpr[4] != 0 && gpr[4] != TERMINAL {
        return code::PARAMETER;
    }
    let mut bytes = [0; TERMINAL_BYTES];
    gpr[4] = host.get_terminal(&mut bytes) as u64;
    let (first, second) = bytes.split_at(8);
    let number = |half: &[u8]| half.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    gpr[5] = number(first);
    gpr[6] = number(second);
    code::SUCCESS
}

/// Flags of H_REGISTER_PROC_TBL: change, register (else take back), radix.
const CHANGE: u64 = 0x10;
const REGISTER: u64 = 0x08;
const RADIX: u64 = 0x04;
const GUEST_INVALIDATES: u64 = 0x01;

/// r4: flags; r5: address; r7: base-2 logarithm of its size less 12.
#[inline(never)]
fn register_process_table(gpr: &[u64; 32], host: &mut impl Host) -> i64 {
    let flags = gpr[4];
    if flags & !(CHANGE | REGISTER | RADIX | GUEST_INVALIDATES) != 0 {
        // A hash table among them: partitions are radix.
        return code::PARAMETER;
    }
    if flags & CHANGE == 0 {
        return code::SUCCESS;
    }
    if flags & REGISTER == 0 {
        host.set_process_table(1 << 63);
        return code::SUCCESS;
    }
    if flags & RADIX == 0 {
        return code::PARAMETER;
    }
    let Some(entry) = process_entry(GuestAddr::new(gpr[5]), gpr[7]) else {
        return code::P2;
    };
    host.set_process_table(entry);
    code::SUCCESS
}
