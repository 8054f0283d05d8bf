//! A map in a sorted list. The audit's maps are made once and searched often;
//! a `BTreeMap` for each would cost the image some 6 KiB of code a kind.

use alloc::vec::Vec;
use core::ops::RangeFrom;

/// The map: keys in order.
#[derive(Clone, Debug)]
pub(super) struct Sorted<K, V>(Vec<(K, V)>);

impl<K: Ord + Copy, V> Sorted<K, V> {
    /// An empty one.
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    fn find(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(&key))
    }

    /// What `key` has.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(self.find(*key).ok()?).map(|(_, value)| value)
    }

    /// What `key` has, to be changed.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(*key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Gives `key` a value, in place of what it has. Fast behind the last key.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.0.last().is_none_or(|(last, _)| *last < key) {
            self.0.push((key, value));
            return;
        }
        match self.find(key) {
            Ok(at) => {
                if let Some(entry) = self.0.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Takes `key` out, if it is there.
    pub(super) fn remove(&mut self, key: &K) {
        if let Ok(at) = self.find(*key) {
            self.0.remove(at);
        }
    }

    /// Takes all out.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps those that `keep` wants.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|(key, value)| keep(key, value));
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// All values, in the order of their keys.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Those from a key on, in order.
    pub(super) fn range(&self, from: RangeFrom<K>) -> impl Iterator<Item = (&K, &V)> {
        let at = self.find(from.start).unwrap_or_else(|at| at);
        let rest = self.0.get(at..).unwrap_or(&[]);
        rest.iter().map(|(key, value)| (key, value))
    }
}

impl<K: Ord + Copy, V> Extend<(K, V)> for Sorted<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, all: I) {
        for (key, value) in all {
            self.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    proptest::proptest! {
        #[test]
        fn it_does_what_a_tree_does(steps: Vec<(u8, u8, u8)>) {
            let (mut tree, mut sorted) = (BTreeMap::new(), Sorted::new());
            for (what, key, value) in steps {
                match what % 4 {
                    0 => {
                        tree.remove(&key);
                        sorted.remove(&key);
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
                        tree.insert(key, value);
                        sorted.insert(key, value);
                    }
                }
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
