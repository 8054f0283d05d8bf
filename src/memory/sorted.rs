//! A sorted list that allocates only when it is told to: under a lock it does
//! not.

use alloc::vec::Vec;

/// Keys and values, sorted. Room for more is made by [`Sorted::room`] and
/// [`Sorted::exchange`], so that the memory can be taken, and given back, when no
/// lock is held.
#[derive(Debug)]
pub struct Sorted<K, V> {
    entries: Vec<(K, V)>,
}

/// Memory for the entries of a list.
#[must_use = "it is of use only in `exchange`"]
#[derive(Debug)]
pub struct Room<K, V>(Vec<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<K: Ord + Copy, V> Sorted<K, V> {
    /// How many entries the room should be for, if there is none for another one.
    pub fn wants(&self) -> Option<usize> {
        let full = self.entries.len() == self.entries.capacity();
        full.then(|| self.entries.len() * 2 + 16)
    }

    /// Memory for `entries` entries. `None` if there is none.
    pub fn room(entries: usize) -> Option<Room<K, V>> {
        let mut room = Vec::new();
        room.try_reserve_exact(entries).ok()?;
        Some(Room(room))
    }

    /// Moves the entries to `room`, if that is larger. What comes back is to be
    /// dropped without the lock.
    pub fn exchange(&mut self, mut room: Room<K, V>) -> Room<K, V> {
        if room.0.capacity() > self.entries.capacity() {
            room.0.append(&mut self.entries);
            core::mem::swap(&mut self.entries, &mut room.0);
        }
        room
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let index = self.index_of(key).ok()?;
        self.entries.get(index).map(|(_, value)| value)
    }

    /// The entry with the highest key that is at most `key`.
    pub fn up_to(&self, key: &K) -> Option<&(K, V)> {
        let above = self.entries.partition_point(|(other, _)| other <= key);
        self.entries.get(above.checked_sub(1)?)
    }

    /// The entry with the lowest key that is above `key`.
    pub fn after(&self, key: &K) -> Option<&(K, V)> {
        let above = self.entries.partition_point(|(other, _)| other <= key);
        self.entries.get(above)
    }

    /// Sets the value of `key`. False, and nothing changes, if the key is new and
    /// there is no room.
    #[must_use = "without room nothing changes"]
    pub fn set(&mut self, key: K, value: V) -> bool {
        match self.index_of(&key) {
            Ok(index) => {
                if let Some(entry) = self.entries.get_mut(index) {
                    entry.1 = value;
                }
            }
            Err(_) if self.wants().is_some() => return false,
            Err(index) => self.entries.insert(index, (key, value)),
        }
        true
    }

    /// Takes the entry of `key` out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let index = self.index_of(key).ok()?;
        Some(self.entries.remove(index).1)
    }

    fn index_of(&self, key: &K) -> Result<usize, usize> {
        self.entries.binary_search_by_key(key, |&(key, _)| key)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_no_entry_without_room_and_keeps_its_order() {
        let mut list = Sorted::default();
        assert_eq!(list.wants(), Some(16));
        assert!(!list.set(5, 'a') && list.get(&5).is_none());
        let _old = list.exchange(Sorted::room(2).unwrap());
        assert!(list.wants().is_none() && list.set(5, 'a') && list.set(3, 'b'));
        assert!(!list.set(4, 'c'));
        // A value can change without room; smaller room is of no use.
        assert!(list.set(5, 'd'));
        let same = list.exchange(Sorted::room(1).unwrap());
        assert!(same.0.is_empty() && list.wants() == Some(20));
        let old = list.exchange(Sorted::room(3).unwrap());
        assert!(old.0.is_empty() && old.0.capacity() == 2);
        assert!(list.set(4, 'c'));
        assert_eq!(list.entries, [(3, 'b'), (4, 'c'), (5, 'd')]);
        let at = |key| (list.up_to(&key).copied(), list.after(&key).copied());
        assert_eq!(at(2), (None, Some((3, 'b'))));
        assert_eq!(at(4), (Some((4, 'c')), Some((5, 'd'))));
        assert_eq!(at(9), (Some((5, 'd')), None));
        assert_eq!((list.remove(&4), list.remove(&4)), (Some('c'), None));
        assert!(list.get(&4).is_none() && list.wants().is_none());
    }
}
