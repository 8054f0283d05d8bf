//! `help`, and how to call a command that was called wrongly.

use super::table::{Area, COMMANDS, Command};
use super::{find, unknown};
use crate::console::arguments::{Arguments, Outcome};
use crate::println;

/// `help [COMMAND]`.
pub(super) fn help(mut words: Arguments<'_>) -> Outcome<'_> {
    let name = words.word();
    words.end()?;
    match name.map(|name| (name, find(name))) {
        None => list(),
        Some((_, Some(command))) => {
            usage(command);
            println!("  {}", command.what);
        }
        Some((name, None)) => unknown(name),
    }
    Ok(())
}

/// How a command is called.
pub(super) fn usage(command: &Command) {
    match command.arguments {
        "" => println!("usage: {}", command.name),
        arguments => println!("usage: {} {arguments}", command.name),
    }
}

fn list() {
    for area in Area::ALL {
        println!("{}", area.title());
        for command in COMMANDS.iter().filter(|command| command.area == area) {
            let call = alloc::format!("{} {}", command.name, command.arguments);
            println!("  {call:<27} {}", command.what);
        }
    }
    println!("Tab completes, arrows recall and edit, Ctrl-C gives a line up.");
}
