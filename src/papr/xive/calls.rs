//! The calls: the number in r3, arguments from r4 on. Flags are told here by
//! LoPAR's bit numbers, in which 63 is the last bit.

use super::state::{Queue, QueueError};
use super::{Lisn, Machine, PAGE_SHIFT, PRIORITIES, Refused, Target, Xive};
use crate::addr::GuestAddr;
use crate::papr::code;
use crate::papr::dispatch::Token;

/// H_INT_GET_SOURCE_INFO, bit 61: level.
const LEVEL: u64 = 4;
/// Bit 62: the management page triggers, too.
const TRIGGERS: u64 = 2;
/// Bit 63: it is ended by a store.
const ENDS_BY_STORE: u64 = 1;

/// H_INT_SET_SOURCE_CONFIG, bit 62: the number in r8 is what the queue shows.
const SET_NUMBER: u64 = 2;
/// Bit 63: the source is masked.
const MASK: u64 = 1;
/// The priority of a source that goes nowhere.
const NOWHERE: u64 = 0xff;

/// H_INT_SET_QUEUE_CONFIG, bit 63: each event notifies.
const ALWAYS_NOTIFY: u64 = 1;

/// H_INT_ESB, bit 63: a store.
const STORE: u64 = 1;

/// Bytes of a management page that mean something; the rest repeats them.
const ESB_BYTES: u64 = 0x1000;

/// No such page.
const NO_PAGE: u64 = u64::MAX;

/// Bits of what a queue shows.
const NUMBER_BITS: u32 = 31;

/// What a call answers when it does not do it.
type Answer = Result<(), i64>;

impl From<Refused> for i64 {
    fn from(Refused: Refused) -> Self {
        code::HARDWARE
    }
}

/// Answers a call.
pub fn call(token: Token, gpr: &mut [u64; 32], xive: &mut Xive, machine: &mut dyn Machine) -> i64 {
    let answer = match token {
        Token::IntGetSourceInfo => source_info(gpr, xive),
        Token::IntSetSourceConfig => set_source(gpr, xive, machine),
        Token::IntGetSourceConfig => source_config(gpr, xive),
        Token::IntGetQueueInfo => queue_info(gpr, xive),
        Token::IntSetQueueConfig => set_queue(gpr, xive, machine),
        Token::IntGetQueueConfig => queue_config(gpr, xive),
        Token::IntEsb => access(gpr, xive, machine),
        Token::IntSync => sync(gpr, xive, machine),
        Token::IntReset => reset(gpr, xive, machine),
        _ => Err(code::FUNCTION),
    };
    answer.err().unwrap_or(code::SUCCESS)
}

/// r4: flags, of which only `known` may be set.
fn flags(gpr: &[u64; 32], known: u64) -> Result<u64, i64> {
    match gpr[4] & !known {
        0 => Ok(gpr[4]),
        _ => Err(code::PARAMETER),
    }
}

/// r5: a source of the partition.
fn lisn(gpr: &[u64; 32], xive: &Xive) -> Result<Lisn, i64> {
    let number = u32::try_from(gpr[5]).map_err(|_| code::P2)?;
    let lisn = Lisn::new(number);
    xive.source(lisn).map(|_| lisn).ok_or(code::P2)
}

fn vcpu(value: u64, xive: &Xive, otherwise: i64) -> Result<u32, i64> {
    let vcpu = u32::try_from(value).ok();
    vcpu.filter(|vcpu| *vcpu < xive.vcpus()).ok_or(otherwise)
}

fn priority(value: u64, otherwise: i64) -> Result<u8, i64> {
    let priority = u8::try_from(value).ok();
    priority.filter(|it| *it < PRIORITIES).ok_or(otherwise)
}

/// r5: vCPU; r6: priority.
fn queue_of(gpr: &[u64; 32], xive: &Xive) -> Result<Target, i64> {
    Ok(Target {
        vcpu: vcpu(gpr[5], xive, code::P2)?,
        priority: priority(gpr[6], code::P3)?,
    })
}

/// Answers r4: what it is; r5: management page; r6: trigger page; r7: their size
/// as a base-2 logarithm.
fn source_info(gpr: &mut [u64; 32], xive: &Xive) -> Answer {
    flags(gpr, 0)?;
    let lisn = lisn(gpr, xive)?;
    let source = &xive.source(lisn).ok_or(code::P2)?.source;
    let bit = |is: bool, bit| if is { bit } else { 0 };
    // Of levels too: Linux uses none that has nowhere to be triggered.
    let triggers = source.trigger.is_none();
    gpr[4] = bit(source.is_level, LEVEL)
        | bit(triggers, TRIGGERS)
        | bit(source.ends_by_store, ENDS_BY_STORE);
    gpr[5] = lisn.management_page().get();
    gpr[6] = match source.trigger {
        Some(_) => lisn.trigger_page().get(),
        None => NO_PAGE,
    };
    gpr[7] = PAGE_SHIFT.into();
    Ok(())
}

/// r6: vCPU; r7: priority; r8: what the queue shows.
fn set_source(gpr: &[u64; 32], xive: &mut Xive, machine: &mut dyn Machine) -> Answer {
    let flags = flags(gpr, SET_NUMBER | MASK)?;
    let lisn = lisn(gpr, xive)?;
    let number = match (flags & SET_NUMBER, xive.source(lisn)) {
        (0, Some(assigned)) => assigned.number,
        _ if gpr[8] >> NUMBER_BITS != 0 => return Err(code::P5),
        _ => gpr[8] as u32,
    };
    if gpr[7] == NOWHERE {
        return Ok(xive.route(machine, lisn, None, number)?);
    }
    let target = Target {
        priority: priority(gpr[7], code::P4)?,
        vcpu: vcpu(gpr[6], xive, code::P3)?,
    };
    if xive.queue(target).is_none() {
        return Err(code::P4);
    }
    let target = (flags & MASK == 0).then_some(target);
    Ok(xive.route(machine, lisn, target, number)?)
}

/// Answers r4: vCPU; r5: priority; r6: what the queue shows.
fn source_config(gpr: &mut [u64; 32], xive: &Xive) -> Answer {
    flags(gpr, 0)?;
    let lisn = lisn(gpr, xive)?;
    let assigned = xive.source(lisn).ok_or(code::P2)?;
    (gpr[4], gpr[5]) = match assigned.target {
        Some(target) => (target.vcpu.into(), target.priority.into()),
        None => (0, NOWHERE),
    };
    gpr[6] = assigned.number.into();
    Ok(())
}

/// Answers r4: the page that ends its notifications, which it has none of, as
/// each event notifies; r5: its size.
fn queue_info(gpr: &mut [u64; 32], xive: &Xive) -> Answer {
    flags(gpr, 0)?;
    queue_of(gpr, xive)?;
    gpr[4] = NO_PAGE;
    gpr[5] = 0;
    Ok(())
}

/// r7: page; r8: its size as a base-2 logarithm, 0 for no queue.
fn set_queue(gpr: &[u64; 32], xive: &mut Xive, machine: &mut dyn Machine) -> Answer {
    let flags = flags(gpr, ALWAYS_NOTIFY)?;
    let target = queue_of(gpr, xive)?;
    if gpr[8] == 0 {
        return Ok(xive.take_queue(machine, target)?);
    }
    if flags & ALWAYS_NOTIFY == 0 {
        // It would need a page that ends notifications.
        return Err(code::PARAMETER);
    }
    let queue = Queue {
        page: GuestAddr::new(gpr[7]),
        shift: u32::try_from(gpr[8]).map_err(|_| code::P5)?,
    };
    xive.give_queue(machine, target, queue)
        .map_err(|error| match error {
            QueueError::Size => code::P5,
            QueueError::Page => code::P4,
            QueueError::Refused => code::HARDWARE,
        })
}

/// Answers r4: flags; r5: page; r6: its size.
fn queue_config(gpr: &mut [u64; 32], xive: &Xive) -> Answer {
    // How far the controller is with the queue is not told.
    flags(gpr, 0)?;
    let target = queue_of(gpr, xive)?;
    (gpr[4], gpr[5], gpr[6]) = match xive.queue(target) {
        Some(queue) => (ALWAYS_NOTIFY, queue.page.get(), queue.shift.into()),
        None => (0, 0, 0),
    };
    gpr[7] = 0;
    Ok(())
}

/// r6: offset; r7: what is stored; answers r4: what was loaded. For a partition
/// that cannot use the pages itself.
fn access(gpr: &mut [u64; 32], xive: &Xive, machine: &mut dyn Machine) -> Answer {
    let flags = flags(gpr, STORE)?;
    let lisn = lisn(gpr, xive)?;
    let offset = gpr[6];
    if offset >= ESB_BYTES || !offset.is_multiple_of(8) {
        return Err(code::P3);
    }
    let source = &xive.source(lisn).ok_or(code::P2)?.source;
    if flags & STORE == 0 {
        gpr[4] = machine.load(source, offset);
    } else {
        machine.store(source, offset, gpr[7]);
        gpr[4] = NO_PAGE;
    }
    Ok(())
}

fn sync(gpr: &[u64; 32], xive: &Xive, machine: &mut dyn Machine) -> Answer {
    flags(gpr, 0)?;
    let lisn = lisn(gpr, xive)?;
    let source = &xive.source(lisn).ok_or(code::P2)?.source;
    Ok(machine.sync(source)?)
}

fn reset(gpr: &[u64; 32], xive: &mut Xive, machine: &mut dyn Machine) -> Answer {
    flags(gpr, 0)?;
    Ok(xive.reset(machine)?)
}
