//! The prompt: what a person at the console can ask for.
//!
//! `table` has the commands, the other files what they do, an area each.

pub mod check;
mod choices;
mod dma;
mod help;
mod machine;
mod names;
mod partitions;
mod pci;
mod table;

pub use names::owner as owner_name;

use super::events;
use super::partitions as guests;
use crate::console::arguments::Arguments;
use crate::console::line::{Completion, LineEditor, Typed};
use crate::console::log;
use crate::console::nearest::nearest;
use crate::{cpu, print, println};
use alloc::string::String;
use alloc::vec::Vec;
use table::{COMMANDS, Command};

const PROMPT: &str = "pinion> ";

/// Runs the commands of `first`, then those that are typed, for ever.
pub fn run(first: &[String]) -> ! {
    println!("Type help for what can be asked.");
    for command in first {
        println!("{PROMPT}{command}");
        execute(command);
    }
    let mut editor = LineEditor::default();
    print!("{PROMPT}");
    let mut was_attached = false;
    loop {
        let mut buffer = [0; 64];
        // What is said now goes above the line that is being typed.
        let attached = guests::is_attached();
        if was_attached && !attached {
            redraw(&editor);
        }
        was_attached = attached;
        log::set_prompt(!attached);
        // Input that came while nobody was looking is read, event or not.
        let found = guests::turn(cpu::area());
        if found.sleep == 0 {
            events::serve();
        } else {
            events::wait_at_most(found.sleep);
        }
        guests::tend();
        if !log::set_prompt(false) && !attached {
            redraw(&editor);
        }
        assert!(cpu::stack_is_sound(), "the boot thread's stack was used up");
        let count = log::sink().map_or(0, |sink| sink.read(&mut buffer));
        for &byte in buffer.get(..count).unwrap_or(&[]) {
            if !guests::take_typed(byte) {
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
            // A partition's console has no prompt of ours.
            if !guests::is_attached() {
                print!("{PROMPT}");
            }
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

/// The names of all commands.
fn command_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name)
}

/// The command of this name.
fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// Tab: the first word is a command, the others are what the command takes.
fn complete(editor: &mut LineEditor) {
    let (before, _) = editor.being_typed();
    let mut words = before.split_ascii_whitespace();
    let possible: Vec<String> = match words.next() {
        None => command_names().map(String::from).collect(),
        Some(name) => {
            let takes = find(name).and_then(|command| command.takes.get(words.count()));
            takes.map_or_else(Vec::new, |takes| takes())
        }
    };
    match editor.complete(possible.iter().map(String::as_str)) {
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
    let mut words = Arguments::new(line);
    let Some(name) = words.word() else { return };
    let Some(command) = find(name) else {
        unknown(name);
        return;
    };
    if let Err(refusal) = (command.run)(words) {
        println!("{name}: {refusal}");
        help::usage(command);
    }
}

/// A name that is not known, and what was perhaps meant.
fn unknown(name: &str) {
    match nearest(name, command_names()) {
        Some(meant) => println!("{name}: not known. Did you mean {meant}?"),
        None => println!("{name}: not known. Type help for what there is."),
    }
}
