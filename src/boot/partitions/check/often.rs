//! A drive is kept busy, its partition is stopped meanwhile, again and again:
//! its memory is out of reach each time.

use super::subject::{Counts, PAGE_SHIFT, Subject, disobey, members, text};
use crate::addr::BusAddr;
use crate::boot::pci::check::candidates::Candidate;
use crate::boot::pci::check::nvme::drives;
use crate::boot::pci::device::Order;
use crate::boot::runtime;
use crate::cpu;
use crate::drivers::DmaMemory;
use crate::drivers::nvme::{Controller, IN_FLIGHT, MEMORY_SIZE, Opcode, Signal, is_refused};
use alloc::format;
use alloc::string::String;

/// How often it is stopped.
const TIMES: u32 = 200;

/// Pages of the queues, and of what each command reads into.
const QUEUES: u64 = MEMORY_SIZE as u64 >> PAGE_SHIFT;
const EACH: u64 = 2;

/// Memory of the partition, in bytes.
const BYTES: u64 = 256 << 10;
const _: () = assert!((QUEUES + EACH * IN_FLIGHT as u64) << PAGE_SHIFT <= BYTES);

/// What its memory holds once it could be another's.
const CANARY: u8 = 0xc5;

/// How long a write that is late may take.
const LATE_MS: u64 = 1;

/// The self-test's part `stop-often`. Nothing is written to the drive.
pub fn stop_often() -> Result<String, String> {
    if !runtime::machine().is_some_and(|machine| machine.is_emulated) {
        return Ok("left out: drives are reset so often on an emulated machine only".into());
    }
    let Some(drive) = drives().into_iter().next().map(|drive| drive.0) else {
        return Ok("left out: there is no NVMe drive that is nobody's".into());
    };
    let devices = members((drive.phb, drive.group));
    // Lists grow once.
    let first = |subject: &Subject| once(&drive, subject).map(drop);
    Subject::with("often", BYTES, &devices, first)?;
    let before = Counts::now()?;
    let busy = Subject::with("often", BYTES, &devices, |subject| {
        let defined = Counts::now()?;
        let mut busy = 0;
        for time in 1..=TIMES {
            let told = |why| format!("{}, time {time}: {why}", drive.id);
            busy += u32::from(once(&drive, subject).map_err(told)?);
            defined.are_back().map_err(told)?;
        }
        Ok(busy)
    })?;
    before.are_back()?;
    if busy == 0 {
        return Err("the drive was never busy".into());
    }
    Ok(format!(
        "{} was kept busy, its partition stopped {TIMES} times: no memory in reach afterwards",
        drive.id
    ))
}

/// Whether commands were under way when the partition was stopped.
fn once(drive: &Candidate, subject: &Subject) -> Result<bool, String> {
    subject.start()?;
    let queues = subject.map(drive.pe, 0, QUEUES)?;
    let data = EACH * u64::from(IN_FLIGHT);
    let data = subject.map(drive.pe, QUEUES << PAGE_SHIFT, data)?;
    let registers = || drive.bar(Order::Little).awake();
    let mut controller = Controller::new(registers(), queues, Signal::Polled).map_err(text)?;
    let identity = *controller.identity();
    let blocks = ((EACH << PAGE_SHIFT) / u64::from(identity.block_size)) as u32;
    for number in 0..u64::from(IN_FLIGHT) {
        let bus = BusAddr::new(data.bus().get() + number * (EACH << PAGE_SHIFT));
        controller
            .begin(Opcode::Read, number * u64::from(blocks), blocks, bus)
            .map_err(text)?;
    }
    let is_busy = controller.ended() > 0;
    subject.stop()?;
    // The memory could be anybody's now.
    subject.is_all(0)?;
    subject.fill(CANARY)?;
    cpu::wait_ms(LATE_MS);
    subject.is_all(CANARY)?;
    // As if it did not know that it was stopped.
    let place = (drive.phb, drive.group);
    disobey(place, true)?;
    let refused = is_refused(&mut registers(), [0, 0x1000].map(BusAddr::new));
    disobey(place, false)?;
    if !refused.map_err(text)? {
        return Err("the drive still fetched from its queues".into());
    }
    subject.is_all(CANARY)?;
    match subject.pins() {
        0 => Ok(is_busy),
        pins => Err(format!("{pins} pins hold its memory")),
    }
}
