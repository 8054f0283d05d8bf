//! The prompt: what a person at the console can ask for.

use super::{audit, banner, bench, events, interrupts, partitions, pci, power, selftest};
use super::{heap, runtime};
use crate::console::line::{Completion, LineEditor, Typed};
use crate::console::log::{self, Level};
use crate::opal::Reboot;
use crate::{cpu, print, println};
use alloc::string::String;

const PROMPT: &str = "pinion> ";

/// A command: its name, what follows it, what it does.
struct Command {
    name: &'static str,
    arguments: &'static str,
    what: &'static str,
    run: fn(&str),
}

const COMMANDS: &[Command] = &[
    Command {
        name: "help",
        arguments: "",
        what: "this list",
        run: help,
    },
    Command {
        name: "machine",
        arguments: "",
        what: "what this machine is",
        run: machine,
    },
    Command {
        name: "memory",
        arguments: "",
        what: "memory, free and taken",
        run: memory,
    },
    Command {
        name: "threads",
        arguments: "",
        what: "hardware threads and what they do",
        run: threads,
    },
    Command {
        name: "interrupts",
        arguments: "[unmask SOURCE]",
        what: "interrupt sources and how often they fired",
        run: interrupts,
    },
    Command {
        name: "phbs",
        arguments: "",
        what: "PCI host bridges, and why one is left alone",
        run: |_| pci::print_bridges(),
    },
    Command {
        name: "pci",
        arguments: "",
        what: "PCI functions as they are connected",
        run: |_| pci::print_functions(),
    },
    Command {
        name: "groups",
        arguments: "",
        what: "groups of functions that can be assigned, and why they are not smaller",
        run: |_| pci::print_groups(),
    },
    Command {
        name: "windows",
        arguments: "",
        what: "DMA windows and what is mapped in them",
        run: |_| pci::windows::print(),
    },
    Command {
        name: "partitions",
        arguments: "",
        what: "partitions that run",
        run: |_| partitions::list(),
    },
    Command {
        name: "start",
        arguments: "[NAME | MIB [VCPUS]]",
        what: "start a partition, or the kernel in the initrd as one",
        run: partitions::start,
    },
    Command {
        name: "stop",
        arguments: "NAME",
        what: "stop a partition",
        run: partitions::stop,
    },
    Command {
        name: "console",
        arguments: "NAME",
        what: "type at a partition; Ctrl-] comes back",
        run: partitions::console,
    },
    Command {
        name: "audit",
        arguments: "[all]",
        what: "whether PHBs let devices reach only what they may; all: each entry",
        run: audit::print,
    },
    Command {
        name: "recover",
        arguments: "PHB:PE",
        what: "reset a PE that an error froze, and open its windows again",
        run: pci::errors::recover_named,
    },
    Command {
        name: "log",
        arguments: "[LEVEL]",
        what: "what goes to the console: error, warning, info, debug",
        run: log,
    },
    Command {
        name: "selftest",
        arguments: "[PART]",
        what: "run the built-in self-test",
        run: selftest,
    },
    Command {
        name: "bench",
        arguments: "[ROWS]",
        what: "instructions of operations, on an emulator that counts them",
        run: |part| bench::run(part),
    },
    Command {
        name: "poweroff",
        arguments: "",
        what: "power the machine off",
        run: |_| power::off("asked for at the console"),
    },
    Command {
        name: "reboot",
        arguments: "[full|image]",
        what: "reboot; full: through all of firmware; image: only this image, in place",
        run: reboot,
    },
];

/// Runs the commands of `first`, then those that are typed, for ever.
pub fn run(first: &[String]) -> ! {
    println!("Type help for what can be asked.");
    for command in first {
        println!("{PROMPT}{command}");
        execute(command);
    }
    let mut editor = LineEditor::default();
    print!("{PROMPT}");
    loop {
        let mut buffer = [0; 64];
        // Input that came while nobody was looking is read, event or not.
        let found = partitions::turn(cpu::area(), 1);
        if found.sleep == 0 {
            events::serve();
        } else {
            events::wait_at_most(found.sleep);
        }
        partitions::tend();
        assert!(cpu::stack_is_sound(), "the boot thread's stack was used up");
        let count = log::sink().map_or(0, |sink| sink.read(&mut buffer));
        for &byte in buffer.get(..count).unwrap_or(&[]) {
            if !partitions::take_typed(byte) {
                typed(&mut editor, byte);
            }
        }
    }
}

/// What a typed byte does.
fn typed(editor: &mut LineEditor, byte: u8) {
    match editor.take(byte) {
        Typed::Nothing => {}
        Typed::Echo(character) => print!("{character}"),
        Typed::Bell => print!("\x07"),
        Typed::Redraw => redraw(editor),
        Typed::Clear => {
            print!("\x1b[H\x1b[2J");
            redraw(editor);
        }
        Typed::Complete => complete(editor),
        Typed::Abandoned => print!("^C\n{PROMPT}"),
        Typed::Line(line) => {
            println!();
            execute(&line);
            print!("{PROMPT}");
        }
    }
}

fn redraw(editor: &LineEditor) {
    print!("\r{PROMPT}{}\x1b[K", editor.so_far());
    match editor.cursor_from_end() {
        0 => {}
        left => print!("\x1b[{left}D"),
    }
}

fn complete(editor: &mut LineEditor) {
    match editor.complete(COMMANDS.iter().map(|command| command.name)) {
        Completion::None => print!("\x07"),
        Completion::Longer => redraw(editor),
        Completion::Several(words) => {
            println!();
            for word in words {
                print!("{word}  ");
            }
            println!();
            redraw(editor);
        }
    }
}

fn execute(line: &str) {
    let line = line.trim();
    if line.is_empty() {
        return;
    }
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(rest.trim()),
        None => hint(name),
    }
}

/// What was perhaps meant.
fn hint(name: &str) {
    let alike = COMMANDS.iter().find(|command| {
        let common = name
            .bytes()
            .zip(command.name.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        common >= 3 || common == name.len()
    });
    match alike {
        Some(command) => println!("{name}: not known. Did you mean {}?", command.name),
        None => println!("{name}: not known. Type help for what there is."),
    }
}

fn help(_: &str) {
    for command in COMMANDS {
        let call = alloc::format!("{} {}", command.name, command.arguments);
        println!("  {call:<27} {}", command.what);
    }
}

fn machine(_: &str) {
    if let Some(machine) = runtime::machine() {
        banner::print(machine);
        banner::print_summary(machine);
    }
}

fn memory(_: &str) {
    banner::print_memory();
    let (used, free) = heap::usage();
    println!("Heap: {used} bytes used, {free} free");
}

fn threads(_: &str) {
    println!("  index  PIR     state     wake-ups");
    let boot = cpu::area();
    for area in core::iter::once(boot).chain(super::secondaries::all().iter().copied()) {
        let state = alloc::format!("{:?}", area.state()).to_lowercase();
        println!(
            "  {:>5}  {:#06x}  {state:<8}  {:>8}",
            area.index(),
            area.pir(),
            area.wakes()
        );
    }
}

fn interrupts(what: &str) {
    match what.split_once(' ') {
        None if what.is_empty() => interrupts::print(),
        Some(("unmask", source)) => interrupts::unmask(source.trim()),
        _ => println!("interrupts {what}: there is only interrupts, and interrupts unmask SOURCE."),
    }
}

fn log(level: &str) {
    if level.is_empty() {
        println!(
            "The console shows {} and what is more important.",
            log::level().name()
        );
        println!(
            "{} warnings and errors so far; {} bytes lost.",
            log::complaints(),
            log::lost()
        );
        return;
    }
    match Level::from_name(level) {
        Some(level) => log::set_level(level),
        None => println!("log {level}: there are error, warning, info, debug."),
    }
}

fn selftest(part: &str) {
    selftest::run(if part.is_empty() { "all" } else { part });
}

fn reboot(how: &str) {
    match how {
        "" => power::reboot(Reboot::Normal, "asked for at the console"),
        "full" => power::reboot(Reboot::Full, "asked for at the console"),
        "image" => power::restart("asked for at the console"),
        _ => println!("reboot {how}: there are reboot, reboot full and reboot image."),
    }
}
