//! What must hold.

use crate::call::{
    CEDE, CONFER, CPPR, GET_CPU_CHARACTERISTICS, GET_TERM_CHAR, NOTHING, PROD, PUT_TERM_CHAR,
    RANDOM, REGISTER_VPA, SET_MODE, hypervisor, rtas,
};
use crate::device::{self, Device};
use crate::random::Random;
use crate::tree;
use crate::vectors::{expected_registers, load, registers, store, timebase};
use crate::words;
use crate::{get, println, set, traps, xive};
use core::arch::asm;

/// Whether something holds, and if not, what is wrong.
pub type Outcome = Result<(), &'static str>;

type Check = fn() -> Outcome;

const CHECKS: &[(&str, Check)] = &[
    ("calls", calls),
    ("registers", general_registers),
    ("vectors", vector_registers),
    ("specials", special_registers),
    ("newer-specials", newer_special_registers),
    ("come-from", come_from),
    ("counts", counts),
    ("breakpoints", breakpoints),
    ("characteristics", characteristics),
    ("timebase", time_goes_on),
    ("decrementer", decrementer),
    ("cede", cede),
    ("prod", prod),
    ("confer", confer),
    ("interrupts", xive::interrupts),
    ("traps", traps::traps),
    ("wild", traps::wild),
    ("wild-fetch", traps::wild_fetch),
    ("wild-tables", traps::wild_tables),
    ("problem-state", traps::problem_state),
    ("rtas", run_time_services),
    ("random-calls", random_calls),
];

/// Runs all of these unless the arguments say `probe=device`, and those of a
/// device if there is one. Returns how many failed.
pub fn run(tree: u64) -> usize {
    let is_short = words::told(tree, "probe=device");
    let own = match is_short {
        true => &[],
        false => CHECKS,
    };
    let mut failed = 0;
    let mut tell = |name: &str, outcome: Outcome| match outcome {
        Ok(()) => println!("probe: ok    {name}"),
        Err(why) => {
            failed += 1;
            println!("probe: FAIL  {name}: {why}");
        }
    };
    for (name, check) in own {
        tell(name, check());
    }
    match tree::bridge(tree) {
        Some(bridge) => {
            let device = Device { tree, bridge };
            for (name, check) in device::CHECKS {
                tell(name, check(&device));
            }
        }
        None if is_short => tell("device", Err("there is none in the tree")),
        None => {}
    }
    failed
}

pub fn want(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// Ticks in a millisecond: 512 MHz on every machine.
pub const MILLISECOND: u64 = 512_000;

/// Lets the hypervisor take its time slices.
pub fn spin(milliseconds: u64) {
    let end = timebase() + milliseconds * MILLISECOND;
    while timebase() < end {}
}

fn calls() -> Result<(), &'static str> {
    want(
        hypervisor(NOTHING, &[]).0 == -2,
        "an unknown call is not refused with H_FUNCTION",
    )?;
    want(
        hypervisor(PUT_TERM_CHAR, &[0, 17]).0 == -4,
        "17 bytes are not refused",
    )?;
    want(
        hypervisor(PUT_TERM_CHAR, &[5, 1]).0 == -4,
        "a terminal that is not there is not refused",
    )?;
    let (status, [count, first, second]) = hypervisor(GET_TERM_CHAR, &[0]);
    want(
        status == 0 && count == 0 && first == 0 && second == 0,
        "something was typed",
    )?;
    let (one, [a, ..]) = hypervisor(RANDOM, &[]);
    let (other, [b, ..]) = hypervisor(RANDOM, &[]);
    want(one == 0 && other == 0 && a != b, "random numbers repeat")
}

fn general_registers() -> Result<(), &'static str> {
    for token in [NOTHING, RANDOM, PROD] {
        let found = registers(token);
        want(
            found[..21] == expected_registers(),
            "a register that calls keep has changed",
        )?;
        want(
            found[21] & 0x00ff_f000 == 0x0053_6000,
            "a field of CR that calls keep has changed",
        )?;
        want(
            found[22..] == [0; 4],
            "something is left in r0, r11, r12 or CTR",
        )?;
    }
    Ok(())
}

fn vector_registers() -> Result<(), &'static str> {
    let mut pattern = [0u64; 128];
    for round in 1..4u64 {
        for (index, word) in pattern.iter_mut().enumerate() {
            *word = (index as u64 + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(round as u32);
        }
        load(&pattern);
        hypervisor(NOTHING, &[]);
        hypervisor(RANDOM, &[]);
        spin(25);
        want(store() == pattern, "a vector-scalar register has changed")?;
    }
    Ok(())
}

macro_rules! specials {
    ($($number:literal $value:literal,)*) => {
        fn special_registers() -> Result<(), &'static str> {
            $(set!($number, $value);)*
            hypervisor(RANDOM, &[]);
            spin(25);
            hypervisor(NOTHING, &[]);
            $(want(get!($number) == $value, concat!("SPR ", $number, " has changed"))?;)*
            Ok(())
        }
    };
}

// SPRG0 and 1, TAR, DSCR, VRSAVE, AMR, PID, DAR, DSISR, SRR0 and 1, EBBHR,
// EBBRR, PMC1, MMCR2, SDAR.
specials! {
    272 0x1111_2222_3333_4444, 273 0x5555_6666_7777_8888,
    815 0x1234_5678_9abc_def0, 17 0x1ff, 256 0xdead_beef,
    29 0x0f0f_0f0f_0f0f_0f0f, 48 0x123, 19 0xffff_0000_1234_5678, 18 0x4200_0000,
    804 0xabcd_ef00, 805 0xfedc_ba98,
    787 0x1234_5678, 797 0x7654_3210_7654_3210,
}

/// Those that only one generation has, and the run latch.
fn newer_special_registers() -> Result<(), &'static str> {
    set!(152, 0u64);
    let is_power9 = get!(287) >> 16 == 0x4e;
    if is_power9 {
        set!(144, 0x1234u64); // TIDR
    } else {
        set!(468, 0x1111_2222_3333_4444u64); // HASHKEYR
        set!(754, 0x3u64); // MMCR3
        set!(752, 0x5555_6666u64); // SIER2
    }
    hypervisor(RANDOM, &[]);
    spin(25);
    want(get!(136) & 1 == 0, "the run latch has changed")?;
    set!(152, 1u64);
    if is_power9 {
        return want(get!(144) == 0x1234, "TIDR has changed");
    }
    want(get!(468) == 0x1111_2222_3333_4444, "HASHKEYR has changed")?;
    want(
        get!(754) == 3 && get!(752) == 0x5555_6666,
        "MMCR3 or SIER2 has changed",
    )
}

/// CFAR behind a call is nothing of the hypervisor's.
fn come_from() -> Result<(), &'static str> {
    for token in [NOTHING, CPPR] {
        let from: u64;
        // SAFETY: as in `hypervisor`.
        unsafe {
            asm!(
                "b 1f", "1: sc 1", "mfspr 5, 28",
                inout("3") token => _, inout("4") 0u64 => _, out("5") from,
                out("0") _, out("6") _, out("7") _, out("8") _, out("9") _,
                out("10") _, out("11") _, out("12") _,
                out("ctr") _, out("xer") _, out("cr0") _, out("cr1") _,
                out("cr5") _, out("cr6") _, out("cr7") _,
            );
        }
        want(from == 0, "CFAR behind a call is not 0")?;
    }
    Ok(())
}

/// PURR and VTB stand still while the vCPU waits.
fn counts() -> Result<(), &'static str> {
    let now = || (timebase(), get!(309), get!(849));
    let (time, purr, vtb) = now();
    pause(30);
    let (later, ..) = now();
    spin(5);
    let (end, purr_end, vtb_end) = now();
    want(later - time >= 30 * MILLISECOND, "H_CEDE came back early")?;
    let most = end - later + 10 * MILLISECOND;
    want(vtb_end - vtb <= most, "VTB counts while the vCPU waits")?;
    want(purr_end - purr <= most, "PURR counts while the vCPU waits")?;
    want(vtb_end > vtb && purr_end > purr, "VTB or PURR stands still")
}

/// H_SET_MODE of a breakpoint.
fn set_breakpoint(resource: u64, first: u64, second: u64) -> i64 {
    hypervisor(SET_MODE, &[0, resource, first, second]).0
}

/// Executes an instruction, and says where it is.
#[inline(never)]
fn landmark() -> u64 {
    let at;
    // SAFETY: the vector leaves out the nop behind it.
    unsafe {
        asm!(
            "bcl 20, 31, 1f", "1: mflr {0}", "addi {0}, {0}, 2f - 1b", "2: nop", "nop",
            out(reg_nonzero) at, out("lr") _,
        )
    };
    at
}

fn breakpoints() -> Result<(), &'static str> {
    want(
        set_breakpoint(1, 0x2003, 0) == -56,
        "a breakpoint in the hypervisor is not refused",
    )?;
    let at = landmark();
    want(
        set_breakpoint(1, at | 2, 0) == 0,
        "H_SET_MODE refuses CIABR",
    )?;
    let before = interrupts_so_far();
    landmark();
    let [vector, srr0, ..] = last();
    let is_hit = interrupts_so_far() == before + 1 && vector == 0xd00;
    want(
        set_breakpoint(1, 0, 0) == 0,
        "H_SET_MODE does not take CIABR back",
    )?;
    // It traps behind the instruction; in the emulator, before it.
    let is_there = srr0 == at || srr0 == at + 4;
    want(is_hit && is_there, "a breakpoint does not trap")?;
    let watched = 0u64;
    let address = core::ptr::from_ref(&watched) as u64;
    // Privileged state, whatever the translation, loads and stores.
    let status = set_breakpoint(2, address, 0x6a);
    if get!(287) >> 16 == 0x4e {
        return want(status == -55, "POWER9's watchpoint is given");
    }
    want(status == 0, "H_SET_MODE refuses DAWR0")?;
    let before = interrupts_so_far();
    // SAFETY: the word above.
    unsafe { core::ptr::from_ref(&watched).read_volatile() };
    let [vector, _, _, dar, dsisr, ..] = last();
    let is_hit = interrupts_so_far() == before + 1 && vector == 0x300;
    want(
        set_breakpoint(2, 0, 0) == 0,
        "H_SET_MODE does not take DAWR0 back",
    )?;
    want(is_hit, "a watchpoint does not trap")?;
    want(
        dar == address && dsisr & 0x40_0000 != 0,
        "a watchpoint is not told as one",
    )
}

/// For whoever compares it with what firmware says.
fn characteristics() -> Result<(), &'static str> {
    let (status, [characteristics, behaviour, _]) = hypervisor(GET_CPU_CHARACTERISTICS, &[]);
    println!("probe: characteristics {characteristics:#x}, behaviour {behaviour:#x}");
    want(status == 0, "H_GET_CPU_CHARACTERISTICS is not answered")
}

fn time_goes_on() -> Result<(), &'static str> {
    let mut last = timebase();
    for round in 0..2000u64 {
        hypervisor(if round % 2 == 0 { NOTHING } else { RANDOM }, &[]);
        let now = timebase();
        want(now > last, "the timebase went back or stood still")?;
        last = now;
    }
    Ok(())
}

/// What the vectors keep: vector, SRR0, SRR1, DAR, DSISR, timebase, count.
pub fn last() -> [u64; 7] {
    // SAFETY: `entry.s` has it at 0x1000, written by its vectors only.
    core::array::from_fn(|index| unsafe { ((0x1000 + 8 * index) as *const u64).read_volatile() })
}

/// Interrupts until now.
pub fn interrupts_so_far() -> u64 {
    last()[6]
}

/// The vector of the last one.
pub fn last_vector() -> u64 {
    last()[0]
}

/// Lets others run for a while.
pub fn pause(milliseconds: u64) {
    set!(22, milliseconds * MILLISECOND);
    hypervisor(CEDE, &[]);
    set_external(false);
}

pub fn set_external(on: bool) {
    // SAFETY: the vectors deal with whatever comes.
    unsafe { asm!("mtmsrd {}, 1", in(reg) if on { 0x8000u64 } else { 0 }, options(nostack)) };
}

/// Where a thread is shared, another's turn may be in the way of one.
const DECREMENTER_TRIES: u32 = 8;

fn decrementer() -> Result<(), &'static str> {
    for milliseconds in [1, 3, 15, 40] {
        let mut is_late = true;
        for _ in 0..DECREMENTER_TRIES {
            is_late = decrementer_lags(milliseconds)? > 2 * MILLISECOND;
            if !is_late {
                break;
            }
        }
        want(!is_late, "the decrementer came more than 2 ms late")?;
    }
    Ok(())
}

/// Ticks that the decrementer's interrupt comes too late.
pub fn decrementer_lags(milliseconds: u64) -> Result<u64, &'static str> {
    let count = last()[6];
    let due = timebase() + milliseconds * MILLISECOND;
    set!(22, milliseconds * MILLISECOND);
    set_external(true);
    while last()[6] == count && timebase() < due + 100 * MILLISECOND {}
    set_external(false);
    let [vector, .., when, _] = last();
    want(vector == 0x900, "no decrementer interrupt came")?;
    when.checked_sub(due).ok_or("the decrementer came early")
}

fn cede() -> Result<(), &'static str> {
    let count = last()[6];
    let due = timebase() + 30 * MILLISECOND;
    set!(22, 30 * MILLISECOND);
    let (status, _) = hypervisor(CEDE, &[]);
    let now = timebase();
    set_external(false);
    want(status == 0, "H_CEDE fails")?;
    want(now >= due, "H_CEDE returned before anything happened")?;
    want(now < due + 30 * MILLISECOND, "H_CEDE overslept by 30 ms")?;
    want(
        last()[6] == count + 1 && last()[0] == 0x900,
        "H_CEDE did not end with the decrementer's interrupt",
    )
}

fn prod() -> Result<(), &'static str> {
    want(
        hypervisor(PROD, &[99]).0 == -4,
        "a vCPU that is not there is not refused",
    )?;
    want(hypervisor(PROD, &[0]).0 == 0, "H_PROD fails")?;
    let start = timebase();
    set!(22, 500 * MILLISECOND);
    hypervisor(CEDE, &[]);
    set_external(false);
    set!(22, 0x7fff_ffffu64);
    want(
        timebase() - start < 100 * MILLISECOND,
        "a prod before H_CEDE is lost",
    )?;
    let status = if xive::is_there() { -2 } else { 0 };
    want(
        hypervisor(CPPR, &[0xff]).0 == status,
        "H_CPPR is not answered as it should be",
    )
}

/// H_CONFER, and the count of dispatches in the virtual processor area.
fn confer() -> Result<(), &'static str> {
    want(
        hypervisor(CONFER, &[1, 0]).0 == -4,
        "H_CONFER to a vCPU that is not there is not refused",
    )?;
    want(
        hypervisor(CONFER, &[u64::MAX, 0]).0 == 0,
        "H_CONFER to all fails",
    )?;
    // SAFETY: memory that this program uses for nothing else.
    unsafe { ((AREA + 4) as *mut u16).write_volatile(640) };
    let register = |what: u64| hypervisor(REGISTER_VPA, &[what << 45, 0, AREA]).0;
    want(register(1) == 0, "a virtual processor area is refused")?;
    // SAFETY: as above.
    let count = || unsafe { ((AREA + 0x100) as *const u32).read_volatile() };
    let first = count();
    hypervisor(CONFER, &[u64::MAX, 0]);
    pause(1);
    let second = count();
    want(
        first % 2 == 0 && second % 2 == 0,
        "a vCPU that runs is not counted as dispatched",
    )?;
    want(
        second.wrapping_sub(first) >= 4,
        "turns are not counted in the virtual processor area",
    )?;
    // Itself: until a prod, which is there already.
    hypervisor(PROD, &[0]);
    set!(22, 500 * MILLISECOND);
    let start = timebase();
    want(
        hypervisor(CONFER, &[0, 0]).0 == 0,
        "H_CONFER to itself fails",
    )?;
    set!(22, 0x7fff_ffffu64);
    want(
        timebase() - start < 100 * MILLISECOND,
        "H_CONFER to itself does not see a prod",
    )?;
    want(register(5) == 0, "a virtual processor area is kept")
}

/// Where it has its virtual processor area, for a while.
const AREA: u64 = 10 << 20;

fn run_time_services() -> Result<(), &'static str> {
    let mut answer = [0];
    rtas(0x7777, &[], &mut answer);
    want(answer[0] as i32 == -3, "an unknown function is not refused")?;
    let mut answers = [0; 2];
    rtas(8, &[0], &mut answers);
    want(answers == [0, 2], "this vCPU is not told as running")?;
    rtas(8, &[77], &mut answers);
    want(
        answers[0] as i32 == -3,
        "a vCPU that is not there is not refused",
    )?;
    rtas(6, &[0, 0x100, 0], &mut answer);
    want(answer[0] != 0, "a running vCPU can be started")
}

/// Numbers and arguments at random; what would print or end the partition left out.
fn random_calls() -> Result<(), &'static str> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut next = || random.next();
    for round in 0..100_000 {
        let wide = next();
        let token = if round % 2 == 0 { wide & 0x7fc } else { wide };
        if matches!(token, PUT_TERM_CHAR | CEDE | 0xf000 | 0x31c | 0x37c) {
            continue;
        }
        let arguments = [
            next() >> (wide & 63),
            next() >> (wide >> 6 & 63),
            next(),
            next(),
        ];
        hypervisor(token, &arguments);
    }
    hypervisor(CPPR, &[0]);
    want(
        hypervisor(NOTHING, &[]).0 == -2,
        "an unknown call is not refused any more",
    )
}
