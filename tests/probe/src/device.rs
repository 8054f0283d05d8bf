//! A device of the partition's: its configuration, its registers, and DMA through
//! windows that this program maps by hypervisor calls.

use crate::call::{hypervisor, rtas};
use crate::checks::{Outcome, interrupts_so_far, last_vector, pause, want};
use crate::edu::Edu;
use crate::nvme;
use crate::random::Random;
use crate::signals;
use crate::tree::{self, Bridge};
use crate::xive;
use core::arch::asm;

pub const GET_TCE: u64 = 0x1c;
pub const PUT_TCE: u64 = 0x20;
pub const STUFF_TCE: u64 = 0x138;
pub const PUT_TCE_INDIRECT: u64 = 0x13c;

/// H_PARAMETER, and what RTAS says to a wrong argument.
const PARAMETER: i64 = -4;
pub const WRONG: u32 = -3i32 as u32;

/// Ids of capabilities.
pub const MSI: u32 = 5;
pub const MSIX: u32 = 0x11;

/// Rights of an entry.
pub const READ: u64 = 1;
pub const BOTH: u64 = 3;

/// IO pages of the default window.
pub const PAGE: u64 = 4096;

/// Memory for transfers and lists, used by nothing else here.
pub const BUFFERS: u64 = 10 << 20;
pub const LIST: u64 = BUFFERS + (1 << 20);
/// Behind the partition's 16 MiB.
const BEYOND: u64 = 16 << 20;

/// What there is to check with.
pub struct Device {
    pub tree: u64,
    pub bridge: Bridge,
}

type Check = fn(&Device) -> Outcome;

pub const CHECKS: &[(&str, Check)] = &[
    ("device-tree", described),
    ("device-config", configuration),
    ("device-registers", registers),
    ("device-put", put),
    ("device-indirect", indirect),
    ("device-stuff", stuff),
    ("device-hostile", hostile),
    ("device-dma", dma),
    ("device-windows", windows),
    ("device-messages", signals::messages),
    ("device-line", signals::line),
];

impl Device {
    pub fn config(&self, offset: u32) -> [u32; 3] {
        let Bridge { buid, config, .. } = self.bridge;
        let address = config | (offset & 0xff) | ((offset & 0xf00) << 20);
        [address, (buid >> 32) as u32, buid as u32]
    }

    /// Status and value.
    pub fn read_config(&self, offset: u32, size: u32) -> (u32, u32) {
        let [address, high, low] = self.config(offset);
        let mut answers = [0; 2];
        rtas(14, &[address, high, low, size], &mut answers);
        (answers[0], answers[1])
    }

    /// Where a capability is.
    pub fn capability(&self, wanted: u32) -> Result<Option<u32>, &'static str> {
        let mut at = self.read_config(0x34, 1).1;
        for _ in 0..48 {
            if at == 0 {
                return Ok(None);
            }
            if self.read_config(at, 1).1 == wanted {
                return Ok(Some(at));
            }
            at = self.read_config(at + 1, 1).1;
        }
        Err("the list of capabilities has no end")
    }

    pub fn write_config(&self, offset: u32, size: u32, value: u32) -> u32 {
        let [address, high, low] = self.config(offset);
        let mut answers = [0];
        rtas(15, &[address, high, low, size, value], &mut answers);
        answers[0]
    }

    /// Sets the entry of a page of the default window.
    pub fn put(&self, page: u64, tce: u64) -> i64 {
        let ioba = self.bridge.base + page * PAGE;
        hypervisor(PUT_TCE, &[self.bridge.liobn, ioba, tce]).0
    }

    /// Its entry.
    fn get(&self, page: u64) -> (i64, u64) {
        let ioba = self.bridge.base + page * PAGE;
        let (status, [tce, ..]) = hypervisor(GET_TCE, &[self.bridge.liobn, ioba]);
        (status, tce)
    }

    fn many(&self, token: u64, page: u64, what: u64, count: u64) -> i64 {
        let ioba = self.bridge.base + page * PAGE;
        hypervisor(token, &[self.bridge.liobn, ioba, what, count]).0
    }

    /// One of the four calls for windows.
    fn window_call(&self, which: usize, more: &[u32], answers: &mut [u32]) {
        let [address, high, low] = self.config(0);
        let mut arguments = [address, high, low, 0, 0];
        arguments[3..3 + more.len()].copy_from_slice(more);
        rtas(
            self.bridge.windows[which],
            &arguments[..3 + more.len()],
            answers,
        );
    }
}

fn described(device: &Device) -> Outcome {
    let functions = tree::property(device.tree, "rtas", "ibm,hypertas-functions");
    let functions = functions.ok_or("there is no ibm,hypertas-functions")?;
    want(
        tree::lists(functions, "hcall-tce") && tree::lists(functions, "hcall-multi-tce"),
        "TCE calls are not told",
    )?;
    let bridge = &device.bridge;
    want(
        bridge.base == 0 && bridge.bytes == 1 << 30 && bridge.liobn >> 31 == 1,
        "the window is not the default one",
    )?;
    want(
        bridge.windows.iter().all(|token| *token != 0),
        "calls for windows are not told",
    )?;
    want(bridge.registers.0 != 0, "registers are in no range")
}

fn configuration(device: &Device) -> Outcome {
    let bridge = &device.bridge;
    let read = |offset, size| device.read_config(offset, size);
    want(
        read(0, 4) == (0, bridge.identity),
        "ids differ from the tree's",
    )?;
    want(
        (read(8, 4).1 >> 8) == bridge.class,
        "the class differs from the tree's",
    )?;
    // Sized, and back.
    let (status, bar) = read(0x10, 4);
    want(status == 0, "BAR 0 cannot be read")?;
    device.write_config(0x10, 4, u32::MAX);
    let size = !(read(0x10, 4).1 & !0xf) + 1;
    want(
        u64::from(size) == bridge.registers.1,
        "BAR 0 has another size",
    )?;
    device.write_config(0x10, 4, bar);
    want(read(0x10, 4).1 == bar, "BAR 0 is not what was written")?;
    // Memory and bus master can be set, and nothing else.
    device.write_config(4, 2, 0xffff);
    want(
        (read(4, 2).1 & !0x400) == 6,
        "the command register has other bits",
    )?;
    // MSI and MSI-X only where the partition takes interrupts of devices.
    let messages = device.capability(MSI)?.or(device.capability(MSIX)?);
    want(
        messages.is_some() == xive::is_there(),
        "messages are offered, or not, against what there is",
    )?;
    want(read(1, 4).0 == WRONG, "a misaligned access is not refused")?;
    want(read(0, 3).0 == WRONG, "three bytes are not refused")?;
    let mut answers = [0; 2];
    for other in [
        [
            bridge.config ^ 0x800,
            (bridge.buid >> 32) as u32,
            bridge.buid as u32,
            4,
        ],
        [0, (bridge.buid >> 32) as u32, bridge.buid as u32, 4],
        [bridge.config, 0, 0, 4],
        [bridge.config, u32::MAX, u32::MAX, 4],
    ] {
        rtas(14, &other, &mut answers);
        want(answers[0] == WRONG, "another function is not refused")?;
    }
    Ok(())
}

/// A word that may not be there: the vector that it led to, and the word.
pub fn try_load(address: u64) -> (u64, u64) {
    let (count, word): (u64, u64) = (interrupts_so_far(), 0);
    let mut word = word;
    // SAFETY: the vector leaves out a load that leads nowhere.
    unsafe { asm!("lwz {0}, 0({1})", inout(reg) word, in(reg) address, options(nostack)) };
    let vector = match interrupts_so_far() == count {
        true => 0,
        false => last_vector(),
    };
    (vector, word)
}

fn registers(device: &Device) -> Outcome {
    let (start, bytes) = device.bridge.registers;
    want(try_load(start).0 == 0, "registers are out of reach")?;
    let pages = bytes.next_multiple_of(PAGE);
    want(
        try_load(start + pages).0 == 0x300,
        "what is behind the registers is in reach",
    )?;
    want(
        try_load(start - 4).0 == 0x300,
        "what is before the registers is in reach",
    )?;
    match nvme::is_one(device) {
        true => Ok(()),
        false => Edu::new(start).map(drop),
    }
}

fn put(device: &Device) -> Outcome {
    let tce = BUFFERS | READ;
    want(device.get(3) == (0, 0), "a new window is not empty")?;
    want(device.put(3, tce) == 0, "H_PUT_TCE fails")?;
    want(device.get(3) == (0, tce), "H_GET_TCE tells another entry")?;
    want(
        device.put(3, (BUFFERS + PAGE) | BOTH) == 0,
        "an entry is not replaced",
    )?;
    want(
        device.get(3) == (0, (BUFFERS + PAGE) | BOTH),
        "the old entry is there still",
    )?;
    // Without rights: nothing, whatever else it says.
    want(device.put(3, BEYOND) == 0, "an entry is not taken back")?;
    want(
        device.get(3) == (0, 0),
        "an entry that was taken back is there still",
    )?;
    let last = device.bridge.bytes / PAGE - 1;
    want(
        device.put(last, tce) == 0,
        "the window's last page is refused",
    )?;
    want(
        device.put(last, 0) == 0,
        "the window's last page cannot be taken back",
    )
}

/// Puts entries where [`LIST`] is.
pub fn write_list(entries: impl IntoIterator<Item = u64>) {
    for (index, entry) in entries.into_iter().enumerate() {
        // SAFETY: memory of this partition that nothing else uses.
        unsafe { ((LIST + 8 * index as u64) as *mut u64).write_volatile(entry) };
    }
}

fn indirect(device: &Device) -> Outcome {
    let call = |page, list, count| device.many(PUT_TCE_INDIRECT, page, list, count);
    write_list((0..512).map(|index| (BUFFERS + (511 - index) * PAGE) | BOTH));
    want(call(700, LIST, 512) == 0, "512 entries are refused")?;
    for index in [0, 1, 255, 511] {
        let tce = (BUFFERS + (511 - index) * PAGE) | BOTH;
        want(
            device.get(700 + index) == (0, tce),
            "an entry is not the list's",
        )?;
    }
    // One wrong entry, and nothing has changed.
    write_list([BUFFERS | BOTH, BEYOND | BOTH]);
    want(
        call(700, LIST, 2) == PARAMETER,
        "memory of others is mapped",
    )?;
    want(
        device.get(700).1 == (BUFFERS + 511 * PAGE) | BOTH,
        "half a list is done",
    )?;
    want(
        call(700, LIST, 513) == PARAMETER,
        "513 entries are not refused",
    )?;
    want(
        call(700, LIST + 8, 1) == PARAMETER,
        "a misaligned list is not refused",
    )?;
    want(
        call(700, BEYOND, 1) == PARAMETER,
        "a list beyond memory is not refused",
    )?;
    want(
        call(700, u64::MAX - 4095, 1) == PARAMETER,
        "a list at the end of all addresses is not refused",
    )?;
    want(
        call(700, device.bridge.registers.0, 1) == PARAMETER,
        "a list in registers is not refused",
    )
}

fn stuff(device: &Device) -> Outcome {
    let call = |page, tce, count| device.many(STUFF_TCE, page, tce, count);
    want(call(700, 0, 512) == 0, "512 entries are not taken back")?;
    want(
        device.get(700) == (0, 0) && device.get(1211) == (0, 0),
        "entries are left",
    )?;
    want(call(5, BUFFERS | READ, 4) == 0, "H_STUFF_TCE fails")?;
    want(
        device.get(8) == (0, BUFFERS | READ),
        "H_STUFF_TCE leaves one out",
    )?;
    want(device.get(9) == (0, 0), "H_STUFF_TCE goes too far")?;
    want(
        call(5, BEYOND | READ, 4) == PARAMETER,
        "memory of others is mapped",
    )?;
    let all = device.bridge.bytes / PAGE;
    // What Linux does at each start.
    want(call(0, 0, all) == 0, "a whole window is not taken back")?;
    want(device.get(5) == (0, 0), "an entry is left in the window")?;
    want(
        call(0, 0, all + 1) == PARAMETER,
        "more than a window is not refused",
    )?;
    want(
        call(all, 0, 1) == PARAMETER,
        "what is behind the window is not refused",
    )
}

fn hostile(device: &Device) -> Outcome {
    let liobn = device.bridge.liobn;
    for wrong in [
        0,
        1,
        liobn + 1,
        liobn - 1,
        liobn + 64,
        liobn | 1 << 32,
        u64::MAX,
    ] {
        for token in [PUT_TCE, GET_TCE, STUFF_TCE, PUT_TCE_INDIRECT] {
            want(
                hypervisor(token, &[wrong, 0, LIST, 1]).0 == PARAMETER,
                "a LIOBN of nobody's is not refused",
            )?;
        }
    }
    for ioba in [1, 8, device.bridge.bytes, 1 << 59, !0xfff, u64::MAX] {
        want(
            hypervisor(PUT_TCE, &[liobn, ioba, BUFFERS | BOTH]).0 == PARAMETER,
            "a bus address outside of the window is not refused",
        )?;
    }
    let (registers, _) = device.bridge.registers;
    for tce in [
        BEYOND | BOTH,
        registers | BOTH,
        u64::MAX,
        BUFFERS | 0x10 | BOTH,
        1 << 63 | READ,
        (1 << 52) | READ,
    ] {
        want(
            device.put(0, tce) == PARAMETER,
            "an entry of nobody's is not refused",
        )?;
    }
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut next = || random.next();
    for _ in 0..20_000 {
        let shifts = next();
        let token = [PUT_TCE, GET_TCE, STUFF_TCE, PUT_TCE_INDIRECT][(shifts & 3) as usize];
        let liobn = match shifts & 4 {
            0 => liobn,
            _ => next() >> (shifts >> 8 & 63),
        };
        let arguments = [
            liobn,
            next() >> (shifts >> 16 & 63),
            next() >> (shifts >> 24 & 63),
            next() >> (shifts >> 32 & 63),
        ];
        let (status, _) = hypervisor(token, &arguments);
        want(
            matches!(status, 0 | PARAMETER | -44),
            "a wild call is answered with something else",
        )?;
    }
    let all = device.bridge.bytes / PAGE;
    want(
        device.many(STUFF_TCE, 0, 0, all) == 0,
        "the window cannot be emptied any more",
    )
}

fn dma(device: &Device) -> Outcome {
    match nvme::is_one(device) {
        true => nvme::exercise(device),
        false => Edu::new(device.bridge.registers.0)?.exercise(device),
    }
}

fn windows(device: &Device) -> Outcome {
    let mut found = [0; 6];
    device.window_call(0, &[], &mut found);
    want(found[0] == 0 && found[1] == 1, "no window can be created")?;
    want(found[4] & 3 == 3, "pages of 4K and 64K are not offered")?;
    want(
        found[2] == 0 && found[3].is_power_of_two(),
        "entries are no power of two",
    )?;
    // IO pages of 64K, 16 MiB.
    let mut made = [0; 4];
    device.window_call(1, &[16, 24], &mut made);
    want(made[0] == 0, "a window is not created")?;
    let base = u64::from(made[2]) << 32 | u64::from(made[3]);
    let liobn = u64::from(made[1]);
    want(
        base == 1 << 59 && liobn != device.bridge.liobn,
        "it is at another place",
    )?;
    let mut again = [0; 4];
    device.window_call(1, &[16, 24], &mut again);
    want(again[0] == WRONG, "a third window is created")?;
    want(
        hypervisor(PUT_TCE, &[liobn, base, BUFFERS | BOTH]).0 == 0,
        "H_PUT_TCE in it fails",
    )?;
    want(
        hypervisor(PUT_TCE, &[liobn, base + PAGE, BUFFERS | BOTH]).0 == PARAMETER,
        "a bus address inside a page of 64K is not refused",
    )?;
    want(
        hypervisor(PUT_TCE, &[liobn, base, (BUFFERS + PAGE) | BOTH]).0 == PARAMETER,
        "a part of a page of 64K is not refused",
    )?;
    let edu = match nvme::is_one(device) {
        true => None,
        false => Some(Edu::new(device.bridge.registers.0)?),
    };
    if let Some(edu) = &edu {
        edu.round_trip(base + 0x1230)?;
    }
    let mut status = [0];
    rtas(device.bridge.windows[2], &[made[1]], &mut status);
    want(status == [0], "the window is not removed")?;
    want(
        hypervisor(PUT_TCE, &[liobn, base, BUFFERS | BOTH]).0 == PARAMETER,
        "a window that is removed maps still",
    )?;
    if let Some(edu) = &edu {
        edu.is_refused(base)?;
    }
    rtas(device.bridge.windows[2], &[made[1]], &mut status);
    want(status == [WRONG], "a window is removed twice")?;
    // The default one goes too, and comes back empty.
    want(
        device.put(1, BUFFERS | BOTH) == 0,
        "the default window is gone",
    )?;
    rtas(
        device.bridge.windows[2],
        &[device.bridge.liobn as u32],
        &mut status,
    );
    want(status == [0], "the default window is not removed")?;
    want(device.put(1, BUFFERS | BOTH) == PARAMETER, "it maps still")?;
    device.window_call(3, &[], &mut status);
    want(status == [0], "windows are not reset")?;
    want(
        device.get(1) == (0, 0),
        "the default window comes back with entries",
    )?;
    // Whoever changes windows starts the device again.
    device.write_config(4, 2, 6);
    if let Some(edu) = &edu {
        want(device.put(0, BUFFERS | BOTH) == 0, "H_PUT_TCE fails")?;
        edu.round_trip(0x230)?;
    }
    pause(1);
    Ok(())
}
