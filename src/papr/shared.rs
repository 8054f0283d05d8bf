//! What vCPUs do that share threads: virtual processor areas (LoPAR 2.9, 14.11.1)
//! and H_CONFER.

use super::{Host, Next, code};
use crate::addr::GuestAddr;

/// Bytes of a virtual processor area at least.
const BYTES: u64 = 640;

/// Where its size is, two bytes.
const SIZE: u64 = 4;

/// Where it says that the vCPU shares its thread, and the bit.
const STATUS: u64 = 9;
const SHARES: u8 = 2;

/// Where it counts how often the vCPU got and lost its turn, four bytes.
pub const DISPATCHES: u64 = 0x100;

/// r4: subfunction in bits 16 to 18; r5: vCPU; r6: address.
#[inline(never)]
pub fn register_area(gpr: &[u64; 32], host: &mut impl Host) -> i64 {
    let (vcpu, at) = (gpr[5], gpr[6]);
    if vcpu >= host.vcpus() {
        return code::PARAMETER;
    }
    match gpr[4] >> 45 & 7 {
        1 => match register(vcpu, at, host) {
            Some(()) => code::SUCCESS,
            None => code::PARAMETER,
        },
        // Nothing is kept in the dispatch log and the shadow of segments.
        2 | 3 => match at.is_multiple_of(8) {
            true => code::SUCCESS,
            false => code::PARAMETER,
        },
        5 => {
            host.set_area(vcpu, None);
            code::SUCCESS
        }
        6 | 7 => code::SUCCESS,
        _ => code::PARAMETER,
    }
}

fn register(vcpu: u64, at: u64, host: &mut impl Host) -> Option<()> {
    let is_placed = at != 0 && at.is_multiple_of(64) && at & 0xfff <= 0x1000 - BYTES;
    let field = |offset| GuestAddr::new(at.saturating_add(offset));
    let (mut size, mut status) = ([0; 2], [0]);
    let is_there =
        is_placed && host.read(field(SIZE), &mut size) && host.read(field(STATUS), &mut status);
    if !is_there || u64::from(u16::from_be_bytes(size)) < BYTES {
        return None;
    }
    let shares = if host.shares_threads() { SHARES } else { 0 };
    // Its last byte too: all of it is memory.
    let is_writable = host.write(field(STATUS), &[status[0] & !SHARES | shares])
        && host.read(field(BYTES - 1), &mut status);
    is_writable.then(|| host.set_area(vcpu, Some(GuestAddr::new(at))))
}

/// r4: a vCPU, or -1 for all of the partition; r5: its dispatches, as the caller
/// saw them.
#[inline(never)]
pub fn confer(gpr: &[u64; 32], host: &mut impl Host) -> (i64, Next) {
    let (vcpu, seen) = (gpr[4], gpr[5] as u32);
    if vcpu == u64::MAX {
        return (code::SUCCESS, Next::Yield);
    }
    if vcpu >= host.vcpus() {
        return (code::PARAMETER, Next::Resume);
    }
    if vcpu == host.this() {
        return (code::SUCCESS, Next::Doze);
    }
    // It runs, or it did since the caller looked: there is nothing to wait for.
    let is_waiting = seen & 1 == 1 && host.dispatches(vcpu) == seen;
    if !is_waiting {
        return (code::SUCCESS, Next::Resume);
    }
    host.favour(vcpu);
    (code::SUCCESS, Next::Yield)
}
