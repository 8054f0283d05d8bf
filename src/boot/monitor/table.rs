//! All commands, by area, with what `help` says of them.

use super::choices::{self, Choices};
use super::{dma, help, machine, partitions, pci};
use crate::console::arguments::{Arguments, Outcome};

/// What a command is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    Machine,
    Pci,
    Dma,
    Partitions,
}

impl Area {
    /// In the order of the list.
    pub(super) const ALL: [Self; 4] = [Self::Machine, Self::Pci, Self::Dma, Self::Partitions];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Machine => "The machine",
            Self::Pci => "PCI",
            Self::Dma => "DMA",
            Self::Partitions => "Partitions",
        }
    }
}

/// A command.
pub(super) struct Command {
    pub(super) area: Area,
    pub(super) name: &'static str,
    /// What follows the name.
    pub(super) arguments: &'static str,
    /// What it does, in a line of at most 70 characters.
    pub(super) what: &'static str,
    /// What completes each of its words.
    pub(super) takes: &'static [Choices],
    pub(super) run: for<'l> fn(Arguments<'l>) -> Outcome<'l>,
}

/// A command without arguments.
macro_rules! plain {
    ($show:expr) => {
        |words| {
            words.end()?;
            $show();
            Ok(())
        }
    };
}

macro_rules! commands {
    ($($area:ident $name:literal $arguments:literal $what:literal [$($takes:expr),*] $run:expr;)*) => {
        &[$(Command {
            area: Area::$area,
            name: $name,
            arguments: $arguments,
            what: $what,
            takes: &[$($takes),*],
            run: $run,
        }),*]
    };
}

pub(super) const COMMANDS: &[Command] = commands! {
    Machine "help" "[COMMAND]" "this list, or how to call a command" [choices::commands] help::help;
    Machine "machine" "" "what this machine is" [] plain!(machine::machine);
    Machine "memory" "" "memory and heap, free and taken" [] plain!(machine::memory);
    Machine "threads" "[reset THREAD]" "hardware threads and what they do; reset: of one that hangs"
        [choices::reset] machine::threads;
    Machine "interrupts" "[unmask SOURCE]" "interrupt sources, and how often they fired"
        [choices::unmask] machine::interrupts;
    Machine "log" "[LEVEL]" "what goes to the console: error, warning, info or debug"
        [choices::levels] machine::log;
    Machine "selftest" "[PART]" "run the built-in self-test, or a part of it"
        [choices::parts] machine::selftest;
    Machine "bench" "[ROWS]" "instructions of operations, on an emulator that counts them"
        [] machine::bench;
    Machine "poweroff" "" "power the machine off" [] plain!(machine::poweroff);
    Machine "reboot" "[full|image]" "reboot; full: all of firmware; image: only this image, in place"
        [choices::reboots] machine::reboot;
    Pci "phbs" "" "PCI host bridges, and why one is left alone" [] plain!(pci::bridges);
    Pci "pci" "" "PCI functions as they are connected" [] plain!(pci::functions);
    Pci "groups" "" "groups that can be assigned, and why they are not smaller"
        [] plain!(pci::groups);
    Pci "faults" "" "PEs that errors froze, and why" [] plain!(pci::faults);
    Pci "recover" "PHB:PE" "reset a PE that an error froze, and open its windows again"
        [choices::frozen] pci::recover;
    Pci "audit" "[all]" "whether PHBs let devices reach only what they may; all: each entry"
        [choices::all] pci::audit;
    Dma "windows" "" "DMA windows and what is mapped in them" [] plain!(dma::windows);
    Dma "tce" "LIOBN IOBA" "where a bus address leads: the walk, level by level, and whose it is"
        [choices::windows] dma::tce;
    Dma "map" "LIOBN" "a picture of what is mapped in a window" [choices::windows] dma::map;
    Dma "pins" "" "regions of memory, and how many mappings hold each" [] plain!(dma::pins);
    Dma "trace" "[PARTITION]" "the last DMA operations, of all threads"
        [choices::partitions] dma::trace;
    Dma "stats" "[OPERATION]" "how many DMA operations there were, and what they cost"
        [choices::operations] dma::stats;
    Partitions "partitions" "" "partitions, what they have and what they do"
        [] plain!(partitions::list);
    Partitions "start" "[NAME | MIB [VCPUS]]" "start a partition, or the kernel in the initrd as one"
        [choices::partitions] partitions::start;
    Partitions "pause" "NAME" "let its vCPUs wait; its devices finish what they were told"
        [choices::partitions] partitions::pause;
    Partitions "resume" "NAME" "let a paused partition go on"
        [choices::partitions] partitions::resume;
    Partitions "stop" "NAME" "end its run: devices quiet, memory zeroed"
        [choices::partitions] partitions::stop;
    Partitions "restart" "NAME" "stop it and start it again"
        [choices::partitions] partitions::restart;
    Partitions "destroy" "NAME" "stop it and take back all that it has"
        [choices::partitions] partitions::destroy;
    Partitions "attach" "DEVICE NAME" "give a device to a partition; with commas: a whole group"
        [choices::devices, choices::partitions] partitions::attach;
    Partitions "detach" "DEVICE" "take the device's group from the partition that has it"
        [choices::devices] partitions::detach;
    Partitions "console" "NAME" "type at a partition; Ctrl-] comes back"
        [choices::partitions] partitions::console;
};
