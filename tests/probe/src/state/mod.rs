//! Watches all state that a partition has, for as long as it is told: patterns
//! in every register, held across exits and other partitions' turns, and read
//! back; the timebase never goes back; the decrementer is not late.
//!
//! Told by `probe=state`, `seed=N` (another for each partition, so that one's
//! values are not the other's), `seconds=N`, and `alone` where nobody else is
//! on the machine: then the decrementer must be in time.

mod hold;
mod specials;

use crate::call::{CEDE, rtas};
use crate::checks::{MILLISECOND, decrementer_lags, interrupts_so_far, set_external};
use crate::random::Random;
use crate::vectors::{Status, load, store, timebase};
use crate::{get, println, set, words};
use hold::{CR, CTR, Kind, LR, WORDS, XER, hold};

/// Longest that registers are held in a loop, and a vCPU waits, in microseconds:
/// a turn has 10 ms.
const LOOP: u64 = 20_000;
const WAIT: u64 = 100_000;

/// How late the decrementer may be for a partition that is alone, in ticks: 100
/// microseconds. At the end of each turn some thousand instructions are Pinion's, of
/// 8 ns each on the emulated machines.
const LATE: u64 = MILLISECOND / 10;

/// Differences that are told one by one.
const TOLD: u64 = 20;

/// An address behind the partition's memory and below its end of 2^52.
const NOWHERE: u64 = 1 << 40;

/// What was found until now.
struct Watch {
    random: Random,
    round: u64,
    compared: u64,
    different: u64,
    last_time: u64,
}

impl Watch {
    /// Compares one value, and says what is wrong with it.
    fn compare(&mut self, kind: Kind, what: &str, index: usize, found: u64, expected: u64) {
        self.compared += 1;
        if found == expected {
            return;
        }
        self.different += 1;
        if self.different <= TOLD {
            println!(
                "probe: FAIL  state: round {}, {kind:?}: {what} {index}: {found:#x}, expected {expected:#x}",
                self.round
            );
        }
    }

    fn time_goes_on(&mut self, kind: Kind) {
        let now = timebase();
        let later = u64::from(now > self.last_time);
        self.compare(kind, "timebase, whether it went on", 0, later, 1);
        self.last_time = now;
    }

    /// One round: everything set, held, and compared.
    fn hold(&mut self, kind: Kind, per_microsecond: u64) {
        self.time_goes_on(kind);
        let fpscr = self.random.next();
        let vscr = self.random.next() & 0x1_0001;
        Status::new(fpscr, vscr).load();
        // Summary bits are made of others.
        let status = Status::store();
        let mut vectors = [0; 128];
        vectors.fill_with(|| self.random.next());
        load(&vectors);
        let mut general = [0; WORDS];
        general.fill_with(|| self.random.next());
        general[CR] &= 0xffff_ffff;
        general[XER] &= 0xe00c_007f;
        general[LR] &= !3;
        let count = 1 + self.random.next() % LOOP * per_microsecond;
        match kind {
            Kind::Low => general[4] = count,
            Kind::High => general[30] = count,
            Kind::Wild => general[30] = NOWHERE | self.random.next() & 0xffff_fff8,
            Kind::Call => {
                general[3] = CEDE;
                set!(22, self.random.next() % WAIT * MILLISECOND / 1000);
            }
        }
        let before = interrupts_so_far();
        let mut special = [0; specials::MOST];
        for (value, register) in special.iter_mut().zip(specials::all()) {
            *value = register.write(self.random.next());
        }
        let held = hold(kind, &general);
        // First those that code in between may use.
        let mut found = [0; specials::MOST];
        for (value, register) in found.iter_mut().zip(specials::all()) {
            *value = register.read();
        }
        let found_vectors = store();
        let found_status = Status::store();
        set_external(false);
        let interrupted = interrupts_so_far() != before;
        for (at, register) in specials::all().enumerate() {
            if !(interrupted && register.interrupts) {
                self.compare(kind, register.name, at, found[at], special[at]);
            }
        }
        let kept = kind.kept_cr();
        self.compare(kind, "CR", 0, held[CR] & kept, general[CR] & kept);
        for (at, name) in [(XER, "XER"), (LR, "LR"), (CTR, "CTR")] {
            if kind.keeps(at) {
                self.compare(kind, name, 0, held[at], general[at]);
            }
        }
        for at in (0..CR).filter(|at| kind.keeps(*at)) {
            self.compare(kind, "general register", at, held[at], general[at]);
        }
        for at in 0..128 {
            self.compare(kind, "half VSR", at, found_vectors[at], vectors[at]);
        }
        self.compare(kind, "FPSCR", 0, found_status.fpscr, status.fpscr);
        self.compare(kind, "VSCR", 0, found_status.vscr[1], status.vscr[1]);
        let wanted = u64::from(matches!(kind, Kind::Wild | Kind::Call));
        self.compare(kind, "interrupts", 0, u64::from(interrupted), wanted);
        self.time_goes_on(kind);
    }
}

/// Rounds of the loop in a microsecond.
fn calibrate() -> u64 {
    const ROUNDS: u64 = 100_000;
    let mut values = [0; WORDS];
    values[4] = ROUNDS;
    let start = timebase();
    hold(Kind::Low, &values);
    let microseconds = (timebase() - start) * 1000 / MILLISECOND;
    (ROUNDS / microseconds.max(1)).max(1)
}

/// Registers of which some bits stay as they are set.
fn watched() -> usize {
    let registers = specials::all();
    let takes = registers.filter(|it| it.write(u64::MAX) != it.write(0));
    takes.count()
}

/// Does all of it, and ends the partition.
pub fn run(tree: u64) -> ! {
    let seed = words::number(tree, "seed=").unwrap_or(1);
    let seconds = words::number(tree, "seconds=").unwrap_or(60);
    let alone = words::told(tree, "alone");
    println!(
        "probe: state: seed {seed}, {seconds} s, {} special registers",
        watched()
    );
    let per_microsecond = calibrate();
    let start = timebase();
    let mut watch = Watch {
        random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        round: 0,
        compared: 0,
        different: 0,
        last_time: start,
    };
    let (mut decrementers, mut late, mut latest, mut minutes) = (0, 0, 0, 0);
    loop {
        let passed = (timebase() - start) / MILLISECOND / 1000;
        if passed >= seconds {
            break;
        }
        if passed / 60 > minutes {
            minutes = passed / 60;
            println!(
                "probe: state: {passed} of {seconds} s, {} differ",
                watch.different
            );
        }
        for kind in Kind::ALL {
            watch.hold(kind, per_microsecond);
        }
        // PURR and VTB only ever count up.
        let counts = (get!(309), get!(849));
        match decrementer_lags(1 + watch.round % 5) {
            Ok(lag) => {
                latest = lag.max(latest);
                late += u64::from(lag > LATE);
            }
            Err(why) => {
                watch.different += 1;
                println!("probe: FAIL  state: {why}");
            }
        }
        decrementers += 1;
        let on = get!(309) > counts.0 && get!(849) > counts.1;
        watch.compare(
            Kind::Low,
            "PURR and VTB, whether they count",
            0,
            on.into(),
            1,
        );
        watch.round += 1;
    }
    println!(
        "probe: state: {} rounds, {} values compared, {} differ",
        watch.round, watch.compared, watch.different
    );
    println!(
        "probe: state: {late} of {decrementers} decrementers more than {} us late, the latest {} us",
        LATE * 1000 / MILLISECOND,
        latest * 1000 / MILLISECOND
    );
    let failed = watch.different + if alone { late } else { 0 };
    println!("probe: done, {failed} failed");
    rtas(3, &[0, 0], &mut [0]);
    loop {}
}
