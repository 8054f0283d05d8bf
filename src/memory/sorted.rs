//! A map in a sorted list: for few entries, or for many that are made once and
//! searched often. A `BTreeMap` would cost the image some 6 KiB of code a kind.

use alloc::vec::Vec;
use core::ops::RangeFrom;

/// Keys and values, sorted. [`Sorted::insert`] allocates. Under a lock nothing
/// may: there, [`Sorted::set`] does not, and room for more is made before by
/// [`Sorted::room`] and [`Sorted::exchange`], so that the memory is taken, and
/// given back, when no lock is held.
#[derive(Clone, Debug)]
pub struct Sorted<K, V> {
    entries: Vec<(K, V)>,
}

/// Memory for the entries of a list.
#[must_use = "it is of use only in `exchange`"]
#[derive(Debug)]
pub struct Room<K, V>(Vec<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Sorted<K, V> {
    /// An empty one.
    pub const fn new() -> Self {
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

    /// Sets the value of `key`, and returns what it had; allocates where it must.
    /// Fast behind the last key.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let last = self.entries.last();
        let index = match last.is_none_or(|(last, _)| *last < key) {
            true => Err(self.entries.len()),
            false => self.index_of(&key),
        };
        match index {
            Ok(index) => {
                let entry = self.entries.get_mut(index)?;
                Some(core::mem::replace(&mut entry.1, value))
            }
            Err(index) => {
                self.entries.insert(index, (key, value));
                None
            }
        }
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let index = self.index_of(key).ok()?;
        self.entries.get_mut(index).map(|(_, value)| value)
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Keeps those that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.entries.retain(|(key, value)| keep(key, value));
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Those from a key on, in order.
    pub fn range(&self, from: RangeFrom<K>) -> impl Iterator<Item = (&K, &V)> {
        let index = self.index_of(&from.start).unwrap_or_else(|index| index);
        let rest = self.entries.get(index..).unwrap_or(&[]);
        rest.iter().map(|(key, value)| (key, value))
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

impl<K: Ord + Copy, V> Extend<(K, V)> for Sorted<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, all: I) {
        for (key, value) in all {
            self.insert(key, value);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

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
        assert!(list.set(4, 'c') && list.wants() == Some(22));
        assert_eq!(list.entries, [(3, 'b'), (4, 'c'), (5, 'd')]);
        let at = |key| (list.up_to(&key).copied(), list.after(&key).copied());
        assert_eq!(at(2), (None, Some((3, 'b'))));
        assert_eq!(at(4), (Some((4, 'c')), Some((5, 'd'))));
        assert_eq!(at(9), (Some((5, 'd')), None));
        assert_eq!((list.remove(&4), list.remove(&4)), (Some('c'), None));
        assert!(list.get(&4).is_none() && list.wants().is_none());
    }

    proptest::proptest! {
        #[test]
        fn it_does_what_a_tree_does(steps: Vec<(u8, u8, u8)>) {
            let (mut tree, mut sorted) = (BTreeMap::new(), Sorted::new());
            for (what, key, value) in steps {
                match what % 4 {
                    0 => {
                        assert_eq!(tree.remove(&key), sorted.remove(&key));
                    }
                    1 => {
                        tree.retain(|other, _| *other > key);
                        sorted.retain(|other, _| *other > key);
                    }
                    2 => {
                        tree.extend((key..key.saturating_add(4)).map(|key| (key, value)));
                        sorted.extend((key..key.saturating_add(4)).map(|key| (key, value)));
                    }
                    _ => {
                        assert_eq!(tree.insert(key, value), sorted.insert(key, value));
                    }
                }
                assert_eq!(tree.len(), sorted.len());
                assert_eq!(tree.is_empty(), sorted.is_empty());
                assert!(tree.iter().eq(sorted.iter()));
                assert!(tree.values().eq(sorted.values()));
                assert!(tree.range(key..).eq(sorted.range(key..)));
                assert_eq!(tree.get(&key), sorted.get(&key));
                assert_eq!(tree.get_mut(&value), sorted.get_mut(&value));
            }
            sorted.clear();
            assert_eq!(sorted.iter().count(), 0);
        }
    }
}
