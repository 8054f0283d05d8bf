use super::*;
use crate::papr::code;
use crate::papr::dispatch::Token;
use std::collections::BTreeMap;

const VCPUS: u32 = 3;

/// The partition's memory: 2 MiB in two pieces that do not follow each other.
const BYTES: u64 = 2 << 20;
const PIECES: [(u64, u64); 2] = [(0, 0x4000_0000), (1 << 20, 0x8000_0000)];

/// Numbers that firmware knows sources by; all others are somebody else's.
const NUMBERS: std::ops::Range<u32> = 0x1000..0x1010;

/// A controller that remembers what it was told, and refuses when it is told to.
#[derive(Default)]
struct Model {
    routes: BTreeMap<u32, (u32, u8, u32)>,
    queues: BTreeMap<(u32, u8), HostQueue>,
    /// Refuses once in so many times; 0 for never.
    refuses: u64,
    rng: Option<Rng>,
    changes: usize,
}

impl Model {
    fn refuse(&mut self) -> Result<(), Refused> {
        self.changes += 1;
        let refuses = self.refuses;
        let is_time = |rng: &mut Rng| refuses != 0 && rng.one_in(refuses);
        match self.rng.as_mut().is_some_and(is_time) {
            true => Err(Refused),
            false => Ok(()),
        }
    }
}

fn host(at: u64, bytes: u64) -> Option<u64> {
    let end = at.checked_add(bytes)?;
    let all = PIECES.iter();
    let mut all = all.filter(|(guest, _)| at >= *guest && end <= guest + BYTES / 2);
    all.next().map(|(guest, host)| host + (at - guest))
}

impl Machine for Model {
    fn memory(&self, at: GuestAddr, bytes: u64) -> Option<HostAddr> {
        host(at.get(), bytes).map(HostAddr::new)
    }
    fn route(&mut self, source: &Source, to: Option<Target>, number: u32) -> Result<(), Refused> {
        assert!(NUMBERS.contains(&source.number));
        assert_eq!(number >> 31, 0);
        self.refuse()?;
        match to {
            Some(to) => self
                .routes
                .insert(source.number, (to.vcpu, to.priority, number)),
            None => self.routes.remove(&source.number),
        };
        Ok(())
    }
    fn set_queue(&mut self, target: Target, queue: Option<HostQueue>) -> Result<(), Refused> {
        let key = (target.vcpu, target.priority);
        assert!(target.vcpu < VCPUS && target.priority < 7);
        self.refuse()?;
        match queue {
            Some(queue) => self.queues.insert(key, queue),
            None => self.queues.remove(&key),
        };
        Ok(())
    }
    fn sync(&mut self, source: &Source) -> Result<(), Refused> {
        assert!(NUMBERS.contains(&source.number));
        self.refuse()
    }
    fn load(&mut self, source: &Source, offset: u64) -> u64 {
        assert!(NUMBERS.contains(&source.number));
        assert!(offset < 0x1000 && offset.is_multiple_of(8));
        self.changes += 1;
        1
    }
    fn store(&mut self, source: &Source, offset: u64, _: u64) {
        self.load(source, offset);
    }
}

struct Rig {
    xive: Xive,
    model: Model,
    registers: [u64; 32],
}

impl Rig {
    /// An IPI for each vCPU, and two devices, of which the last one is a level.
    fn new() -> Self {
        let mut xive = Xive::new(VCPUS);
        for number in NUMBERS.take(VCPUS as usize + 2) {
            let source = Source {
                number,
                management: HostAddr::new(u64::from(number) << 17),
                trigger: Some(HostAddr::new(1)),
                is_level: number == 0x1004,
                ends_by_store: false,
            };
            let source = Source {
                trigger: source.trigger.filter(|_| !source.is_level),
                ..source
            };
            let purpose = match number < 0x1000 + VCPUS {
                true => Purpose::Ipi,
                false => Purpose::Device,
            };
            xive.give(source, purpose).unwrap();
        }
        Self {
            xive,
            model: Model::default(),
            registers: [0; 32],
        }
    }

    fn call(&mut self, token: Token, arguments: &[u64]) -> i64 {
        self.registers = [0; 32];
        self.registers[4..4 + arguments.len()].copy_from_slice(arguments);
        call(token, &mut self.registers, &mut self.xive, &mut self.model)
    }

    fn answers(&mut self, token: Token, arguments: &[u64]) -> [u64; 4] {
        assert_eq!(self.call(token, arguments), code::SUCCESS);
        self.registers[4..8].try_into().unwrap()
    }

    /// What must hold at any time.
    fn check(&self) {
        for ((vcpu, priority), queue) in &self.model.queues {
            let target = Target {
                vcpu: *vcpu,
                priority: *priority,
            };
            let known = self.xive.queue(target).unwrap();
            let bytes = 1 << queue.shift;
            assert_eq!(host(known.page.get(), bytes), Some(queue.page.get()));
            assert_eq!(known.shift, queue.shift);
            assert!(queue.page.is_aligned(queue.shift));
        }
        for (number, (vcpu, priority, shown)) in &self.model.routes {
            assert!(self.model.queues.contains_key(&(*vcpu, *priority)));
            let mut all = (0..LISNS).filter_map(|it| self.xive.source(Lisn::new(it)));
            let known = all.find(|it| it.source.number == *number).unwrap();
            assert_eq!(known.number, *shown);
            let target = known.target.unwrap();
            assert_eq!((target.vcpu, target.priority), (*vcpu, *priority));
        }
    }
}

use Token::{
    IntEsb, IntGetQueueConfig, IntGetQueueInfo, IntGetSourceConfig, IntGetSourceInfo, IntReset,
    IntSetQueueConfig, IntSetSourceConfig, IntSync,
};

const DEVICE: u64 = FIRST_DEVICE as u64;

#[test]
fn a_kernel_sets_up_its_ipis() {
    let mut rig = Rig::new();
    for vcpu in 0..u64::from(VCPUS) {
        // As Linux does: the queue of priority 6, then the IPI.
        assert_eq!(
            rig.answers(IntGetQueueInfo, &[0, vcpu, 6])[..2],
            [NO_PAGE, 0]
        );
        let page = 0x10_0000 + (vcpu << 16);
        let queue = [1, vcpu, 6, page, 16];
        assert_eq!(rig.call(IntSetQueueConfig, &queue), code::SUCCESS);
        let [flags, management, trigger, shift] = rig.answers(IntGetSourceInfo, &[0, vcpu]);
        assert_eq!((flags, shift), (0, 16));
        assert_eq!(management - trigger, 1 << 16);
        let route = [2, vcpu, vcpu, 6, 0x7fff_fff0 + vcpu];
        assert_eq!(rig.call(IntSetSourceConfig, &route), code::SUCCESS);
        rig.check();
        let [to, priority, number, _] = rig.answers(IntGetSourceConfig, &[0, vcpu]);
        assert_eq!((to, priority, number), (vcpu, 6, 0x7fff_fff0 + vcpu));
        let queue = rig.answers(IntGetQueueConfig, &[0, vcpu, 6]);
        assert_eq!(queue, [1, page, 16, 0]);
    }
    assert_eq!(rig.model.routes.len(), 3);
    assert_eq!(rig.model.queues[&(1, 6)].page.get(), 0x8001_0000);
    // Without a number of its own the old one stays; a mask keeps it, too.
    assert_eq!(rig.call(IntSetSourceConfig, &[0, 1, 2, 6, 5]), 0);
    assert_eq!(rig.model.routes[&0x1001], (2, 6, 0x7fff_fff1));
    assert_eq!(rig.call(IntSetSourceConfig, &[1, 1, 2, 6, 5]), 0);
    assert!(!rig.model.routes.contains_key(&0x1001));
    assert_eq!(rig.answers(IntGetSourceConfig, &[0, 1])[1], 0xff);
    assert_eq!(rig.call(IntReset, &[0]), 0);
    assert!(rig.model.routes.is_empty() && rig.model.queues.is_empty());
}

const NO_PAGE: u64 = u64::MAX;

#[test]
fn devices_are_told_as_what_they_are() {
    let mut rig = Rig::new();
    let [flags, management, trigger, _] = rig.answers(IntGetSourceInfo, &[0, DEVICE]);
    assert_eq!((flags, trigger), (0, 0x6_0100_0000_0000 + (64 << 17)));
    assert_eq!(management, trigger + 0x1_0000);
    let [flags, _, trigger, _] = rig.answers(IntGetSourceInfo, &[0, DEVICE + 1]);
    assert_eq!((flags, trigger), (6, NO_PAGE), "its page triggers");
    assert_eq!(rig.answers(IntEsb, &[0, DEVICE, 0x800])[0], 1);
    assert_eq!(rig.answers(IntEsb, &[1, DEVICE, 0, 7])[0], NO_PAGE);
    assert_eq!(rig.call(IntSync, &[0, DEVICE]), 0);
}

#[test]
fn a_queue_that_goes_takes_its_routes_along() {
    let mut rig = Rig::new();
    for priority in [0, 6] {
        let page = 0x2000 * (1 + priority);
        assert_eq!(rig.call(IntSetQueueConfig, &[1, 1, priority, page, 12]), 0);
        assert_eq!(rig.call(IntSetSourceConfig, &[0, DEVICE, 1, priority]), 0);
        assert_eq!(
            rig.call(IntSetSourceConfig, &[0, priority / 3, 1, priority]),
            0
        );
    }
    assert_eq!(rig.call(IntSetQueueConfig, &[0, 1, 6, 0, 0]), 0);
    rig.check();
    assert_eq!(rig.model.routes.keys().collect::<Vec<_>>(), [&0x1000]);
    // Another time there is nothing to do.
    let changes = rig.model.changes;
    assert_eq!(rig.call(IntSetQueueConfig, &[0, 1, 6, 0, 0]), 0);
    assert_eq!(rig.model.changes, changes);
}

#[test]
fn wrong_arguments_are_named_and_change_nothing() {
    let mut rig = Rig::new();
    assert_eq!(rig.call(IntSetQueueConfig, &[1, 0, 5, 0x1000, 12]), 0);
    let changes = rig.model.changes;
    let before = rig.xive.clone();
    let wrong: &[(Token, &[u64], i64)] = &[
        (IntGetSourceInfo, &[1, 0], code::PARAMETER),
        (IntGetSourceInfo, &[0, 3], code::P2),
        (IntGetSourceInfo, &[0, 1 << 32], code::P2),
        (IntSetSourceConfig, &[4, 0, 0, 5], code::PARAMETER),
        (IntSetSourceConfig, &[0, 512, 0, 5], code::P2),
        (IntSetSourceConfig, &[0, 0, 3, 5], code::P3),
        (IntSetSourceConfig, &[0, 0, 1 << 32, 5], code::P3),
        (IntSetSourceConfig, &[0, 0, 0, 7], code::P4),
        (IntSetSourceConfig, &[0, 0, 0, 256 + 5], code::P4),
        // No queue there.
        (IntSetSourceConfig, &[0, 0, 1, 5], code::P4),
        (IntSetSourceConfig, &[1, 0, 1, 5], code::P4),
        (IntSetSourceConfig, &[2, 0, 0, 5, 1 << 31], code::P5),
        (IntSetSourceConfig, &[2, 0, 0, 0xff, 1 << 31], code::P5),
        (IntGetQueueInfo, &[0, 3, 0], code::P2),
        (IntGetQueueInfo, &[0, 0, 7], code::P3),
        (IntSetQueueConfig, &[2, 0, 0, 0, 12], code::PARAMETER),
        (IntSetQueueConfig, &[0, 0, 0, 0, 12], code::PARAMETER),
        (IntSetQueueConfig, &[1, 3, 0, 0, 12], code::P2),
        (IntSetQueueConfig, &[1, 0, 7, 0, 12], code::P3),
        // Not aligned, behind the end, across pieces, no memory.
        (IntSetQueueConfig, &[1, 0, 0, 0x1_1000, 16], code::P4),
        (IntSetQueueConfig, &[1, 0, 0, 0x800, 12], code::P4),
        (IntSetQueueConfig, &[1, 0, 0, BYTES, 12], code::P4),
        (
            IntSetQueueConfig,
            &[1, 0, 0, 0u64.wrapping_sub(0x1000), 12],
            code::P4,
        ),
        (
            IntSetQueueConfig,
            &[1, 0, 0, 0x6_0100_0000_0000, 12],
            code::P4,
        ),
        (IntSetQueueConfig, &[1, 0, 0, 0, 21], code::P5),
        (IntSetQueueConfig, &[1, 0, 0, 0, 1 << 32 | 12], code::P5),
        (IntGetQueueConfig, &[1, 0, 5], code::PARAMETER),
        (IntEsb, &[2, 0, 0], code::PARAMETER),
        (IntEsb, &[0, 0, 0x1000], code::P3),
        (IntEsb, &[0, 0, 0xc04], code::P3),
        (IntEsb, &[1, 7, 0], code::P2),
        (IntSync, &[0, 7], code::P2),
        (IntReset, &[1], code::PARAMETER),
        (Token::Cppr, &[0], code::FUNCTION),
    ];
    for (token, arguments, status) in wrong {
        assert_eq!(
            rig.call(*token, arguments),
            *status,
            "{token:?} {arguments:x?}"
        );
    }
    assert_eq!(rig.model.changes, changes);
    assert_eq!(rig.xive, before);
}

#[test]
fn a_source_is_known_by_what_firmware_knows_it_by() {
    let rig = Rig::new();
    for lisn in [0, 1, FIRST_DEVICE, FIRST_DEVICE + 1].map(Lisn::new) {
        let number = rig.xive.source(lisn).unwrap().source.number;
        assert_eq!(rig.xive.lisn_of(number), Some(lisn));
    }
    assert_eq!(rig.xive.lisn_of(u32::MAX), None);
}

#[test]
fn lisns_run_out() {
    let mut rig = Rig::new();
    let source = rig.xive.source(Lisn::new(0)).unwrap().source;
    for lisn in FIRST_DEVICE + 2..LISNS {
        assert_eq!(rig.xive.give(source, Purpose::Device), Ok(Lisn::new(lisn)));
    }
    assert_eq!(rig.xive.give(source, Purpose::Device), Err(Full));
    assert_eq!(rig.xive.give(source, Purpose::Ipi), Ok(Lisn::new(VCPUS)));
}

#[test]
fn a_source_that_was_taken_is_nobodys_until_it_is_given_again() {
    let mut rig = Rig::new();
    let device = Lisn::new(FIRST_DEVICE);
    let source = rig.xive.source(device).unwrap().source;
    assert_eq!(rig.call(IntSetQueueConfig, &[1, 1, 6, 0x2000, 12]), 0);
    assert_eq!(rig.call(IntSetSourceConfig, &[2, DEVICE, 1, 6, 77]), 0);
    // Firmware refuses: it stays, and goes on.
    rig.model.rng = Some(Rng::new(1));
    rig.model.refuses = 1;
    assert_eq!(rig.xive.take(&mut rig.model, device), Err(Refused));
    assert!(rig.xive.source(device).is_some());
    rig.model.refuses = 0;
    assert_eq!(rig.xive.take(&mut rig.model, device), Ok(()));
    assert!(rig.model.routes.is_empty());
    rig.check();
    let changes = rig.model.changes;
    for (token, arguments) in [
        (IntGetSourceInfo, &[0, DEVICE][..]),
        (IntSetSourceConfig, &[2, DEVICE, 1, 6, 77]),
        (IntGetSourceConfig, &[0, DEVICE]),
        (IntEsb, &[0, DEVICE, 0xd00]),
        (IntSync, &[0, DEVICE]),
    ] {
        assert_eq!(rig.call(token, arguments), code::P2, "{token:?}");
    }
    assert_eq!(rig.call(IntReset, &[0]), 0);
    // Nothing but the others' and the queue's.
    assert!(rig.model.changes > changes);
    assert_eq!(rig.xive.take(&mut rig.model, device), Ok(()));
    assert_eq!(rig.xive.give(source, Purpose::Device), Ok(device));
    let [to, priority, number, _] = rig.answers(IntGetSourceConfig, &[0, DEVICE]);
    assert_eq!((to, priority, number), (0, 0xff, DEVICE));
}

#[test]
fn whatever_is_asked_for_the_controller_stays_in_the_partition() {
    let calls = [
        IntGetSourceInfo,
        IntSetSourceConfig,
        IntGetSourceConfig,
        IntGetQueueInfo,
        IntSetQueueConfig,
        IntGetQueueConfig,
        IntEsb,
        IntSync,
        IntReset,
    ];
    let mut succeeded = [0u32; 9];
    let mut most = 0;
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut rig = Rig::new();
        rig.model.rng = Some(Rng::new(!seed));
        rig.model.refuses = [0, 3, 20][seed as usize % 3];
        for _ in 0..2000 {
            let which = match rng.below(200) {
                0 => 8,
                other => other as usize % 8,
            };
            // Near what is right in most places, so that some get through.
            let near = |rng: &mut Rng, bound: u64| match rng.below(12) {
                0 => rng.number() >> rng.below(64),
                1 => bound + rng.below(3),
                _ => rng.below(bound),
            };
            let vcpu = near(&mut rng, VCPUS.into());
            let priority = near(&mut rng, 7);
            let lisn = near(&mut rng, 3) + if rng.one_in(3) { DEVICE } else { 0 };
            let shift = [0, 12 + rng.below(10), 12, 16, 12, 16, 12, 16][rng.below(8) as usize];
            let page = near(&mut rng, BYTES) & !0 << [0, 12, 16, 16][rng.below(4) as usize];
            let flags = [0, 1, 2, 3, rng.number()][rng.below(5) as usize];
            let few = flags & 1;
            let wild = near(&mut rng, 1 << 31);
            let arguments = match calls[which] {
                IntSetSourceConfig => [
                    flags,
                    lisn,
                    vcpu,
                    [priority, 0xff][rng.below(2) as usize],
                    wild,
                ],
                IntGetQueueInfo | IntGetQueueConfig => [few, vcpu, priority, 0, 0],
                IntSetQueueConfig => [few, vcpu, priority, page, shift],
                IntEsb => [few, lisn, near(&mut rng, 0x1000), wild, 0],
                _ => [few, lisn, wild, wild, wild],
            };
            let before = rig.xive.clone();
            let status = rig.call(calls[which], &arguments);
            rig.check();
            match status {
                code::SUCCESS => succeeded[which] += 1,
                // Firmware failed half-way.
                code::HARDWARE => assert_ne!(rig.model.refuses, 0),
                _ => assert_eq!(rig.xive, before),
            }
            most = most.max(rig.model.routes.len());
        }
        rig.model.refuses = 0;
        assert_eq!(rig.xive.reset(&mut rig.model), Ok(()));
        assert!(rig.model.routes.is_empty() && rig.model.queues.is_empty());
    }
    assert!(succeeded.iter().all(|count| *count > 100), "{succeeded:?}");
    assert!(most >= 3, "{most} sources at most were routed at a time");
}
