//! Interrupts of the device: messages that RTAS gives it, which come without an
//! exit.

use crate::call::{INT_ESB, INT_GET_SOURCE_INFO, INT_SET_SOURCE_CONFIG, hypervisor, rtas};
use crate::checks::{Outcome, interrupts_so_far, pause, set_external, want};
use crate::device::{Device, MSI, MSIX, WRONG, try_load};
use crate::edu::Edu;
use crate::xive::{self, ENTRIES, Source};
use crate::{nvme, println};

/// `ibm,change-msi` and `ibm,query-interrupt-source-number`.
const CHANGE: u32 = 16;
const QUERY: u32 = 17;

/// Functions of the first.
const NOW: u32 = 0;
const SET_MSI: u32 = 3;
const SET_MSIX: u32 = 4;

/// Bits that turn messages on, in a capability's first word.
const MSI_ON: u32 = 1 << 16;
const MSIX_ON: u32 = 1 << 31;

/// Status, number of messages, next in the sequence, kind.
fn change(device: &Device, function: u32, count: u32) -> [u32; 4] {
    let [address, high, low] = device.config(0);
    let mut answers = [0; 4];
    rtas(
        CHANGE,
        &[address, high, low, function, count, 1],
        &mut answers,
    );
    answers
}

/// Status, source.
fn source(device: &Device, index: u32) -> (u32, u32) {
    let [address, high, low] = device.config(0);
    let mut answers = [0; 3];
    rtas(QUERY, &[address, high, low, index], &mut answers);
    (answers[0], answers[1])
}

/// Messages come: while the vCPU runs, taken, and out of H_CEDE; none comes that was
/// not asked for.
pub fn messages(device: &Device) -> Outcome {
    if !xive::is_there() {
        return want(
            change(device, SET_MSI, 1)[0] == WRONG && source(device, 0).0 == WRONG,
            "messages are offered without a way to take them",
        );
    }
    let is_nvme = nvme::is_one(device);
    let (function, kind, on) = match is_nvme {
        true => (SET_MSIX, 2, (MSIX, MSIX_ON)),
        false => (SET_MSI, 1, (MSI, MSI_ON)),
    };
    hostile(device, function)?;
    want(
        change(device, function, 1) == [0, 1, 2, kind],
        "one message is refused",
    )?;
    want(is_on(device, on)?, "the function is not told")?;
    want(source(device, 1).0 == WRONG, "there is a second source")?;
    let (status, lisn) = source(device, 0);
    want(status == 0, "a message has no source")?;
    let mut it = Source::route(lisn.into())?;
    want(!it.is_level(), "a message is told as a level")?;
    match is_nvme {
        true => by_drive(device, &mut it)?,
        false => by_edu(device, &mut it)?,
    }
    it.off();
    want(
        change(device, function, 0)[..2] == [0, 0],
        "messages stay on",
    )?;
    want(!is_on(device, on)?, "the function is not told of the end")?;
    want(source(device, 0).0 == WRONG, "a source is left")?;
    xive::reset()
}

/// Whether messages are on, as the function says it.
fn is_on(device: &Device, (id, bit): (u32, u32)) -> Result<bool, &'static str> {
    let at = device.capability(id)?.ok_or("it has no such messages")?;
    Ok(device.read_config(at, 4).1 & bit != 0)
}

fn hostile(device: &Device, function: u32) -> Outcome {
    want(
        change(device, NOW, 9)[..2] == [0, 0],
        "messages are on already",
    )?;
    want(source(device, 0).0 == WRONG, "there is a source already")?;
    for wrong in [7, 100, u32::MAX] {
        want(
            change(device, wrong, 1)[0] == WRONG,
            "a function of no call is not refused",
        )?;
    }
    let all = change(device, function, u32::MAX);
    want(
        all[0] == 0 && (1..=32).contains(&all[1]),
        "more messages than there are are not cut",
    )?;
    for index in [all[1], all[1] + 1, 1 << 16, u32::MAX] {
        want(source(device, index).0 == WRONG, "there is another source")?;
    }
    let (_, last) = source(device, all[1] - 1);
    want(
        hypervisor(INT_GET_SOURCE_INFO, &[0, u64::from(last)]).0 == 0,
        "a source of a message is unknown",
    )?;
    // Another function, another bridge.
    let [address, high, low] = device.config(0);
    let mut answers = [0; 4];
    for [address, high, low] in [
        [address ^ 0x800, high, low],
        [address ^ 0x1_0000, high, low],
        [address, high ^ 1, low],
        [address, high, low ^ 1],
        [u32::MAX; 3],
    ] {
        rtas(CHANGE, &[address, high, low, function, 1, 1], &mut answers);
        want(answers[0] == WRONG, "another function has messages")?;
        rtas(QUERY, &[address, high, low, 0], &mut answers[..3]);
        want(answers[0] == WRONG, "another function has sources")?;
    }
    Ok(())
}

fn by_edu(device: &Device, it: &mut Source) -> Outcome {
    let edu = Edu::new(device.bridge.registers.0)?;
    let each = xive::cost(ENTRIES, || {
        edu.raise();
        it.is_seen()
    });
    edu.acknowledge();
    let each = each.ok_or("a message did not come as it should")?;
    println!("probe: cost  message of the device: {each} instructions");
    let count = interrupts_so_far();
    edu.raise();
    set_external(true);
    set_external(false);
    it.was_taken(count)?;
    it.off();
    edu.raise();
    want(!it.is_queued(), "a source that is off fires")?;
    edu.acknowledge();
    Ok(())
}

/// A drive takes its time: the vCPU waits in H_CEDE for it.
fn by_drive(device: &Device, it: &mut Source) -> Outcome {
    nvme::start(device)?;
    for command in 0..4 {
        let count = interrupts_so_far();
        want(
            nvme::identify(device.bridge.registers.0, command),
            "the drive does not say who it is",
        )?;
        // If it was not in H_CEDE.
        set_external(true);
        set_external(false);
        it.was_taken(count)?;
    }
    nvme::stop(device)
}

/// Memory, bus master, and the pin kept quiet.
const QUIET: u32 = 0x406;

/// The line comes as a level: again after its end while the device holds it.
pub fn line(device: &Device) -> Outcome {
    let (pin, lisn) = (device.bridge.pin, device.bridge.line);
    want(
        (pin != 0, lisn != 0) == (xive::is_there(), xive::is_there()),
        "a line is told, or not, against what there is",
    )?;
    want(
        device.read_config(0x3d, 1).1 == pin,
        "the pin differs from the tree's",
    )?;
    if lisn == 0 || nvme::is_one(device) {
        return Ok(());
    }
    let edu = Edu::new(device.bridge.registers.0)?;
    device.write_config(4, 2, QUIET & !0x400);
    let mut it = Source::route(lisn.into())?;
    want(it.is_level(), "a line is told as a message")?;
    edu.raise();
    want(it.is_seen(), "the line does not come")?;
    want(it.is_seen(), "a line that is held does not come again")?;
    let count = interrupts_so_far();
    set_external(true);
    set_external(false);
    edu.acknowledge();
    it.was_taken(count)?;
    want(!it.is_queued(), "a line that was let go of comes again")?;
    device.write_config(4, 2, QUIET);
    edu.raise();
    want(!it.is_queued(), "a pin that is kept quiet comes")?;
    edu.acknowledge();
    it.off();
    xive::reset()
}

/// What a call for a source that is not the partition's answers: H_P2.
const NO_SOURCE: i64 = -55;

/// Keeps a message of its edu until the device is taken away, and then gets nothing
/// of it any more, whatever it tries.
pub fn keep(device: &Device) -> Outcome {
    want(
        change(device, SET_MSI, 1)[..2] == [0, 1],
        "one message is refused",
    )?;
    let lisn = u64::from(source(device, 0).1);
    let mut it = Source::route(lisn)?;
    let edu = Edu::new(device.bridge.registers.0)?;
    edu.raise();
    want(it.is_seen(), "a message does not come")?;
    println!("probe: keeps source {lisn}");
    while source(device, 0).0 != WRONG {
        pause(10);
    }
    // The group's calls end first, its sources then.
    for _ in 0..100 {
        pause(10);
    }
    for (token, arguments) in [
        (INT_GET_SOURCE_INFO, &[0, lisn][..]),
        (INT_SET_SOURCE_CONFIG, &[2, lisn, 0, 6, 1]),
        (INT_ESB, &[0, lisn, 0xd00]),
        (INT_ESB, &[1, lisn, 0]),
    ] {
        want(
            hypervisor(token, arguments).0 == NO_SOURCE,
            "a source is left that was taken away",
        )?;
    }
    want(
        try_load(it.page()).0 == 0x300,
        "the page of a source that was taken away is in reach",
    )?;
    want(
        change(device, SET_MSI, 1)[0] == WRONG,
        "a function that was taken away has messages",
    )?;
    want(!it.is_queued(), "a message comes still")?;
    println!("probe: its source is gone");
    Ok(())
}
