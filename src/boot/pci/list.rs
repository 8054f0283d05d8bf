//! A list in a static. An empty `Vec` is not all zero, and what is not zero
//! would lie in `.data`, which stays empty: made when it is first asked for.

use alloc::vec::Vec;
use spin::{Mutex, Once};

/// A list behind a lock. For control paths: it allocates.
pub struct List<T>(Once<Mutex<Vec<T>>>);

impl<T: Clone> List<T> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Once::new())
    }

    fn list(&self) -> &Mutex<Vec<T>> {
        self.0.call_once(|| Mutex::new(Vec::new()))
    }

    /// Adds one at the end.
    pub fn push(&self, one: T) {
        self.list().lock().push(one);
    }

    /// Keeps those that `keep` wants.
    pub fn retain(&self, keep: impl FnMut(&T) -> bool) {
        self.list().lock().retain(keep);
    }

    /// A copy.
    pub fn all(&self) -> Vec<T> {
        self.list().lock().clone()
    }
}
