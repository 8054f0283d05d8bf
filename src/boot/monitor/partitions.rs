//! Commands about partitions.

use crate::boot::partitions as guests;
use crate::console::arguments::{Arguments, Outcome};

const NAME: &str = "the name of a partition";

pub(super) fn list() {
    guests::list();
}

/// `start [MIB [VCPUS]]`.
pub(super) fn start(words: Arguments<'_>) -> Outcome<'_> {
    guests::start(words.rest());
    Ok(())
}

/// `stop NAME`.
pub(super) fn stop(mut words: Arguments<'_>) -> Outcome<'_> {
    let name = words.name(NAME)?;
    words.end()?;
    guests::stop(name);
    Ok(())
}

/// `console NAME`.
pub(super) fn console(mut words: Arguments<'_>) -> Outcome<'_> {
    let name = words.name(NAME)?;
    words.end()?;
    guests::console(name);
    Ok(())
}
