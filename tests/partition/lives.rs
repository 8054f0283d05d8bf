//! Random lives of partitions that share devices, with failures, beside a
//! reference that knows what each of them has: who reaches what, what is zero, and
//! that everything comes back.

use super::rig::{Rig, pe};
use pinion::addr::{BusAddr, GuestAddr, HostAddr};
use pinion::partition::domain::Domain;
use pinion::partition::life::{State, Then, Verb};
use pinion::seam::PhbError;
use pinion::sim::{Failure, Machine, PhbKind};
use pinion::tce::Access;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Partitions and devices that there may be.
const SLOTS: usize = 3;
const DEVICES: std::ops::Range<u16> = 2..5;

/// IO pages that are used.
const PAGES: u64 = 24;

#[derive(Clone, Copy, Debug)]
enum Event {
    Ask(usize, Verb),
    Attach(usize, u16),
    Detach(usize, u16),
    Map {
        slot: usize,
        device: u16,
        bus: u64,
        guest: u64,
        pages: u64,
    },
    /// One partition maps another's page.
    Steal(usize, usize, u16),
    Dma(u16, u64, bool),
    /// A call into the machine fails, so many from now on.
    Fail(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let slot = || 0..SLOTS;
    let device = || DEVICES;
    let verb = prop::sample::select(Verb::ALL.to_vec());
    let map = (slot(), device(), 0..PAGES, 0..PAGES, 1u64..4).prop_map(
        |(slot, device, bus, guest, pages)| Event::Map {
            slot,
            device,
            bus,
            guest,
            pages,
        },
    );
    // What leads to something comes more often than what ends it.
    let event = prop_oneof![
        3 => (slot(), verb).prop_map(|(slot, verb)| Event::Ask(slot, verb)),
        1 => slot().prop_map(|slot| Event::Ask(slot, Verb::Define)),
        2 => slot().prop_map(|slot| Event::Ask(slot, Verb::Start)),
        3 => (slot(), device()).prop_map(|(slot, device)| Event::Attach(slot, device)),
        1 => (slot(), device()).prop_map(|(slot, device)| Event::Detach(slot, device)),
        4 => map,
        1 => (slot(), slot(), device()).prop_map(|(slot, of, device)| Event::Steal(slot, of, device)),
        8 => (device(), 0..PAGES, any::<bool>()).prop_map(|(pe, bus, write)| Event::Dma(pe, bus, write)),
        1 => (0u64..12).prop_map(Event::Fail),
    ];
    prop::collection::vec(event, 0..120)
}

/// A device, as the reference knows it: host pages by bus pages.
#[derive(Default)]
struct Device {
    maps: BTreeMap<u64, HostAddr>,
    /// Taking it away failed: it may reach what it did, or nothing.
    is_broken: bool,
}

struct Partition {
    domain: Domain<Machine>,
    state: State,
    devices: BTreeMap<u16, Device>,
}

struct World {
    rig: Rig,
    slots: [Option<Partition>; SLOTS],
    owners: u32,
    given: Vec<u16>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rig: Rig::new(PhbKind::Phb4, seed),
            slots: [const { None }; SLOTS],
            owners: 0,
            given: Vec::new(),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask(slot, verb) => self.ask(slot, verb),
            Event::Attach(slot, device) => self.attach(slot, device),
            Event::Detach(slot, device) => self.detach(slot, device),
            Event::Map {
                slot,
                device,
                bus,
                guest,
                pages,
            } => self.map(slot, device, bus, guest, pages),
            Event::Steal(slot, of, device) => self.steal(slot, of, device),
            Event::Dma(device, bus, write) => self.dma(device, bus, write),
            Event::Fail(after) => self.rig.machine().fail(Some(Failure {
                after,
                forever: false,
                error: PhbError::TimedOut,
            })),
        }
    }

    fn ask(&mut self, slot: usize, verb: Verb) {
        let Some(partition) = &mut self.slots[slot] else {
            if verb == Verb::Define {
                self.define(slot);
            }
            return;
        };
        let broken = partition.devices.values().any(|device| device.is_broken);
        if verb == Verb::Start && broken {
            return;
        }
        let expected = partition.state.after(verb);
        assert_eq!(partition.domain.life().apply(verb), expected);
        let Ok(state) = expected else { return };
        partition.state = state;
        match state {
            State::Running if verb == Verb::Start => self.open_all(slot),
            State::Stopping(then) => self.end(slot, then),
            _ => {}
        }
    }

    fn define(&mut self, slot: usize) {
        self.owners += 1;
        let domain = self.rig.domain(self.owners, (1 + slot as u64) << 16);
        let state = domain.life().apply(Verb::Define).unwrap();
        self.slots[slot] = Some(Partition {
            domain,
            state,
            devices: BTreeMap::new(),
        });
    }

    /// Failures are for what ends something: a start that fails is a stop.
    fn open_all(&mut self, slot: usize) {
        self.rig.machine().fail(None);
        let partition = self.slots[slot].as_ref().unwrap();
        for &device in partition.devices.keys() {
            self.rig.open(&partition.domain, device);
        }
    }

    /// As the image ends a run: devices, then memory, then what follows.
    fn end(&mut self, slot: usize, then: Then) {
        let Partition {
            domain,
            mut devices,
            ..
        } = self.slots[slot].take().unwrap();
        let Rig {
            engine,
            ledger,
            frames,
        } = &self.rig;
        let closed = domain.close_all(engine);
        let mut quiet = closed.and_then(|()| match then {
            Then::Crashed | Then::Absent => Ok(()),
            _ => domain.renew(engine, ledger, frames),
        });
        let mut domain = domain;
        if then == Then::Absent && quiet.is_ok() {
            let pieces = domain.memory().map().pieces().to_vec();
            match domain.release(engine, ledger, frames) {
                Ok(()) => {
                    for piece in pieces {
                        assert!(frames.is_zero(piece.host, piece.bytes));
                        self.rig.machine().set_owner(piece.host, piece.bytes, None);
                    }
                    return;
                }
                Err((back, why)) => (domain, quiet) = (back, Err(why)),
            }
        }
        let kept = domain.pes();
        devices.retain(|device, _| kept.contains(&pe(*device)));
        for device in devices.values_mut() {
            device.is_broken = quiet.is_err();
            if quiet.is_ok() {
                device.maps.clear();
            }
        }
        let state = domain.life().settle(then, quiet.is_ok()).unwrap();
        self.slots[slot] = Some(Partition {
            domain,
            state,
            devices,
        });
        if then == Then::Starts && quiet.is_ok() {
            self.ask(slot, Verb::Start);
        }
    }

    fn holder(&self, device: u16) -> Option<usize> {
        let has = |it: &Option<Partition>| {
            let partition = it.as_ref();
            partition.is_some_and(|partition| partition.devices.contains_key(&device))
        };
        self.slots.iter().position(has)
    }

    fn attach(&mut self, slot: usize, device: u16) {
        // Assignment sees to that: `tests/partition/assign.rs`.
        if self.holder(device).is_some() {
            return;
        }
        let Some(partition) = &mut self.slots[slot] else {
            return;
        };
        let is_open = match partition.state {
            State::Stopped => false,
            State::Running | State::Paused => true,
            _ => return,
        };
        self.rig.machine().fail(None);
        self.rig.give(&partition.domain, device);
        if is_open {
            self.rig.open(&partition.domain, device);
        }
        partition.devices.insert(device, Device::default());
        self.given.push(device);
    }

    fn detach(&mut self, slot: usize, device: u16) {
        let Some(partition) = &mut self.slots[slot] else {
            return;
        };
        if !matches!(
            partition.state,
            State::Stopped | State::Running | State::Paused | State::Crashed
        ) {
            return;
        }
        let taken = partition.domain.take(&self.rig.engine, pe(device));
        match partition.devices.get_mut(&device) {
            None => assert!(taken.is_err()),
            Some(known) if taken.is_err() => known.is_broken = true,
            Some(_) => drop(partition.devices.remove(&device)),
        }
    }

    fn map(&mut self, slot: usize, device: u16, bus: u64, guest: u64, pages: u64) {
        let Some(partition) = &mut self.slots[slot] else {
            return;
        };
        let Some(known) = partition.devices.get_mut(&device) else {
            return;
        };
        if partition.state != State::Running || known.is_broken {
            return;
        }
        let map = partition.domain.memory().map();
        let Some(host) = map.host(GuestAddr::new(guest << 12), pages << 12) else {
            return;
        };
        self.rig.machine().fail(None);
        let window = partition.domain.window(pe(device)).unwrap();
        let at = BusAddr::new(bus << 12);
        let engine = &self.rig.engine;
        let mapped = engine.map(&window, at, host, pages, Access::ReadWrite);
        let is_free = known.maps.range(bus..bus + pages).next().is_none();
        assert_eq!(mapped.is_ok(), is_free, "{mapped:?}");
        if is_free {
            let host = |page: u64| HostAddr::new(host.get() + (page << 12));
            known
                .maps
                .extend((0..pages).map(|page| (bus + page, host(page))));
        }
    }

    fn steal(&mut self, slot: usize, of: usize, device: u16) {
        let [Some(thief), Some(other)] = [slot, of].map(|slot| self.slots[slot].as_ref()) else {
            return;
        };
        let Some(window) = thief.domain.window(pe(device)).filter(|_| slot != of) else {
            return;
        };
        let host = other.domain.memory().map().pieces()[0].host;
        let at = BusAddr::new(PAGES << 12);
        let stolen = self.rig.engine.map(&window, at, host, 1, Access::Read);
        assert!(stolen.is_err());
    }

    fn dma(&mut self, device: u16, bus: u64, write: bool) {
        if !self.given.contains(&device) {
            return;
        }
        let at = BusAddr::new(bus << 12);
        let reached = self.rig.machine().probe(0, device, at, write).ok();
        let holder = self
            .holder(device)
            .and_then(|slot| self.slots[slot].as_ref());
        let known = holder.map(|partition| (&partition.devices[&device], partition.state));
        let mapped = known.and_then(|(known, _)| known.maps.get(&bus).copied());
        match known {
            Some((known, _)) if known.is_broken => {
                assert!(reached.is_none() || reached == mapped, "{reached:?}");
            }
            Some((_, State::Running | State::Paused)) => assert_eq!(reached, mapped),
            _ => assert_eq!(reached, None),
        }
        if let Some(host) = reached.filter(|_| write) {
            self.rig
                .frames
                .soil(HostAddr::new(host.get() & !0xffff), 1 << 16);
        }
    }

    /// What holds between any two events.
    fn is_sound(&self) {
        let rig = &self.rig;
        assert_eq!(rig.machine().violations(), []);
        let there = || self.slots.iter().flatten();
        assert_eq!(rig.ledger.counts().0, there().count());
        for Partition {
            domain,
            state,
            devices,
        } in there()
        {
            assert_eq!(domain.life().state(), *state);
            assert_eq!(domain.pes().len(), devices.len());
            for piece in domain.memory().map().pieces() {
                let owner = domain.memory().owner();
                assert_eq!(rig.ledger.owner_of(piece.host), Some(owner));
                let is_zero = rig.frames.is_zero(piece.host, piece.bytes);
                assert!(is_zero || *state != State::Stopped);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn partitions_reach_what_the_reference_says_and_leave_nothing_behind(
        events in events(),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(seed);
        let counters = |world: &World| {
            let rig = &world.rig;
            (rig.frames.free_bytes(), rig.machine().table_bytes(), rig.ledger.counts())
        };
        let before = counters(&world);
        for event in events {
            world.happen(event);
            world.is_sound();
        }
        world.rig.machine().fail(None);
        for slot in 0..SLOTS {
            world.ask(slot, Verb::Destroy);
            world.is_sound();
            prop_assert!(world.slots[slot].is_none());
        }
        prop_assert_eq!(counters(&world), before);
        for device in DEVICES {
            (0..PAGES).for_each(|bus| world.dma(device, bus, true));
        }
        world.is_sound();
    }
}
