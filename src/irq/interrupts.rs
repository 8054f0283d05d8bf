//! A machine's interrupt delivery: made, opened for each thread, shown and shut
//! down. Sources are in `control`, what fires is in `deliver`.

use super::icp::{self, Port};
use super::source::{Registration, Source};
use super::table::{SlotState, Table};
use super::xive::{self, Context, Target, Tima};
use super::{Bus, Firmware, IrqError};
use crate::opal::{OpalError, XiveQueue};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Most different sources without a handler that are remembered until they are
/// reported. More stay silent all the same.
const MAX_UNKNOWN: usize = 8;

/// A source as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// Which.
    pub source: Source,
    /// Its name and kind.
    pub registration: Registration,
    /// The thread it is routed to.
    pub server: u32,
    /// Times that its handler was called.
    pub count: u64,
    /// What is with it.
    pub state: SlotState,
}

/// The side of the controller that faces the threads.
pub(super) enum Presenter {
    /// POWER8: the ICPs, in ascending order of their threads.
    Icp(Vec<Port>),
    /// POWER9 and later.
    Xive {
        tima: Tima,
        priority: u8,
        targets: Vec<Target>,
    },
}

/// Dispatches virtual processors on the running thread.
pub struct Dispatcher<'a, B> {
    tima: &'a Tima,
    bus: &'a B,
}

impl<B: Bus> Dispatcher<'_, B> {
    /// See [`Tima::push`].
    pub fn push(&self, context: &Context) {
        self.tima.push(self.bus, context);
    }

    /// See [`Tima::pull`].
    pub fn pull(&self, context: &mut Context) {
        self.tima.pull(self.bus, context);
    }
}

/// Interrupt delivery of a machine. Methods may be called on any thread with
/// interrupts off, unless they say otherwise.
pub struct Interrupts<B, F> {
    pub(super) bus: B,
    pub(super) firmware: F,
    pub(super) presenter: Presenter,
    pub(super) table: Table,
    /// Sources that wait to be served outside of their handler.
    pub(super) waiting: AtomicU32,
    /// Sources that were silenced without its having been said.
    pub(super) untold: AtomicU32,
    pub(super) unknown: [AtomicU32; MAX_UNKNOWN],
    pub(super) spurious: AtomicU64,
}

impl<B: Bus, F: Firmware> Interrupts<B, F> {
    fn new(bus: B, firmware: F, presenter: Presenter) -> Self {
        Self {
            bus,
            firmware,
            presenter,
            table: Table::default(),
            waiting: AtomicU32::new(0),
            untold: AtomicU32::new(0),
            unknown: [const { AtomicU32::new(0) }; MAX_UNKNOWN],
            spurious: AtomicU64::new(0),
        }
    }

    /// POWER8, with these ICPs. Each thread then calls
    /// [`Interrupts::open_thread`].
    pub fn with_icp(bus: B, firmware: F, mut ports: Vec<Port>) -> Self {
        ports.sort_by_key(|port| port.server);
        Self::new(bus, firmware, Presenter::Icp(ports))
    }

    /// POWER9 and later, in exploitation mode: each target gets its queue.
    /// `priority` is one that the controller has, the least favored of all.
    ///
    /// `reset`: everything is reset first, which takes firmware a while. It may
    /// be left out only if nobody has used the controller since firmware started
    /// and it is in exploitation mode, as POWER10's always is: whatever an
    /// earlier system routed would go on being written to its queues.
    ///
    /// # Errors
    /// What firmware says.
    pub fn with_xive(
        bus: B,
        firmware: F,
        tima: Tima,
        priority: u8,
        targets: Vec<Target>,
        reset: bool,
    ) -> Result<Self, OpalError> {
        if reset {
            firmware.reset_xive(true)?;
        }
        for target in &targets {
            let queue = XiveQueue {
                page: target.queue.page().get(),
                shift: super::queue::QUEUE_SHIFT,
            };
            firmware.set_queue(target.server, priority, Some(queue))?;
        }
        let presenter = Presenter::Xive {
            tima,
            priority,
            targets,
        };
        Ok(Self::new(bus, firmware, presenter))
    }

    pub(super) fn port(&self, server: u32) -> Option<&Port> {
        match &self.presenter {
            Presenter::Icp(ports) => {
                let index = ports.binary_search_by_key(&server, |port| port.server);
                index.ok().and_then(|index| ports.get(index))
            }
            Presenter::Xive { .. } => None,
        }
    }

    pub(super) fn own_port(&self) -> Option<&Port> {
        self.port(self.bus.running_thread())
    }

    /// Lets the running thread take interrupts: those of devices that are routed
    /// to it if `devices`, else only those that threads send each other.
    pub fn open_thread(&self, devices: bool) {
        match &self.presenter {
            Presenter::Icp(_) => {
                let cppr = if devices {
                    icp::ACCEPT_ALL
                } else {
                    icp::ACCEPT_IPI
                };
                if let Some(port) = self.own_port() {
                    port.open(&self.bus, cppr);
                }
            }
            Presenter::Xive { tima, .. } if devices => tima.accept(&self.bus, xive::ACCEPT_ALL),
            // Threads send each other doorbells: nothing else is to come.
            Presenter::Xive { tima, .. } => tima.accept(&self.bus, xive::ACCEPT_NONE),
        }
    }

    /// Puts the running thread's side of the controller back as firmware has it:
    /// before the thread goes back to firmware.
    pub fn close_thread(&self) {
        match &self.presenter {
            Presenter::Icp(_) => {
                if let Some(port) = self.own_port() {
                    port.close(&self.bus);
                }
            }
            Presenter::Xive { tima, .. } => tima.accept(&self.bus, xive::ACCEPT_NONE),
        }
    }

    /// The controller's registers.
    pub fn bus(&self) -> &B {
        &self.bus
    }

    /// The running thread's side, where it can dispatch virtual processors.
    pub fn dispatcher(&self) -> Option<Dispatcher<'_, B>> {
        match &self.presenter {
            Presenter::Icp(_) => None,
            Presenter::Xive { tima, .. } => Some(Dispatcher {
                tima,
                bus: &self.bus,
            }),
        }
    }

    /// Sends an IPI to a thread, which ends its sleep. `false` if the controller
    /// is not how threads wake each other here (POWER9 and later have
    /// doorbells). Stores before this are visible to the thread when it wakes.
    pub fn send_ipi(&self, server: u32) -> bool {
        let port = self.port(server);
        if let Some(port) = port {
            port.send_ipi(&self.bus);
        }
        port.is_some()
    }

    /// IPIs that a thread has taken.
    pub fn ipis(&self, server: u32) -> u64 {
        self.port(server).map_or(0, Port::ipis)
    }

    /// Interrupts behind which nothing was found.
    pub fn spurious(&self) -> u64 {
        self.spurious.load(Ordering::Relaxed)
    }

    /// All registered sources, in ascending order.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let mut all: Vec<Snapshot> = self
            .table
            .iter()
            .filter_map(|(source, slot)| {
                let contents = slot.contents()?;
                Some(Snapshot {
                    source,
                    registration: contents.registration,
                    server: contents.server,
                    count: slot.count(),
                    state: slot.state(),
                })
            })
            .collect();
        all.sort_by_key(|snapshot| snapshot.source);
        all
    }

    /// Everything off: before the machine goes back to firmware. All other threads have called
    /// [`Interrupts::close_thread`]; this does it for the running one.
    ///
    /// Nothing is routed and there are no queues, so no memory is written any
    /// more. That is all firmware needs for a reboot: a fast one resets each
    /// thread's side and the whole XIVE by itself, and goes back to the emulation
    /// of XICS (skiboot core/fast-reboot.c, cleanup_cpu_state and
    /// fast_reboot_entry; reset_cpu_icp on POWER8).
    ///
    /// # Errors
    /// The first thing that failed; everything was tried.
    pub fn shut_down(&self) -> Result<(), IrqError> {
        let mut result = Ok(());
        for (source, slot) in self.table.iter() {
            let Some(contents) = slot.contents() else {
                continue;
            };
            slot.set(SlotState::MASKED);
            result = result.and(self.turn_off(source, &contents));
            if contents.esb.is_none() && slot.state().contains(SlotState::HELD) {
                result = result.and(self.finish(source, &contents));
            }
        }
        self.close_thread();
        if let Presenter::Xive {
            priority, targets, ..
        } = &self.presenter
        {
            for target in targets {
                let gone = self.firmware.set_queue(target.server, *priority, None);
                result = result.and(gone.map_err(IrqError::from));
            }
        }
        result
    }
}
