//! Steps of a detach, told to a self-test that tries DMA behind each. Control
//! paths only: a load and a branch unless one listens.

use crate::seam::PeId;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

/// A step that a PE has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Its functions do not master the bus.
    BusMasterOff,
    /// A TVE of it is off.
    TveOff,
    /// Its functions were reset.
    Reset,
    /// It is not frozen.
    Thawed,
    /// What its functions had posted is in memory.
    Landed,
}

type Listener = Box<dyn FnMut(PeId, Passed) + Send>;

static LISTENS: AtomicBool = AtomicBool::new(false);
// Boxed twice, so that none is all zero.
static LISTENER: Mutex<Option<Box<Listener>>> = Mutex::new(None);

/// From now on `listener` is called behind each step, without any lock but its
/// own.
pub fn listen(listener: impl FnMut(PeId, Passed) + Send + 'static) {
    *LISTENER.lock() = Some(Box::new(Box::new(listener)));
    LISTENS.store(true, Ordering::Release);
}

/// Nobody listens any more: the listener is dropped.
pub fn end() {
    LISTENS.store(false, Ordering::Release);
    *LISTENER.lock() = None;
}

/// A step was passed, unless it failed.
#[inline]
pub(super) fn tell<E>(pe: PeId, what: Passed, done: Result<(), E>) -> Result<(), E> {
    if done.is_ok()
        && LISTENS.load(Ordering::Relaxed)
        && let Some(listener) = LISTENER.lock().as_mut()
    {
        listener(pe, what);
    }
    done
}
