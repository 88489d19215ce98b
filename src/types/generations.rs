//! A small bounded memory: what was put in lately is there, what was not used lately is gone.
//!
//! Two generations. New and used values live in the young one; when it is full it becomes the old one, and what was
//! old and not used since is dropped. So it never holds more than twice its limit, and each call is O(1).

use std::collections::HashMap;
use std::hash::Hash;

/// Keeps between `limit` and `2 * limit` of the values used last.
#[derive(Debug)]
pub struct Generations<K, V> {
    limit: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V: Clone> Generations<K, V> {
    /// An empty memory.
    pub fn new(limit: usize) -> Self {
        Self { limit, young: HashMap::new(), old: HashMap::new() }
    }

    /// The value of `key`, if it is still known.
    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone());
        Some(value)
    }

    /// Remembers a value.
    pub fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.limit {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Forgets what was not used since the last call, and returns it.
    pub fn age(&mut self) -> impl Iterator<Item = V> + use<K, V> {
        let young = std::mem::take(&mut self.young);
        std::mem::replace(&mut self.old, young).into_values()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// Forgets a value.
    pub fn remove(&mut self, key: &K) {
        self.old.remove(key);
        self.young.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_values_stay_and_the_size_is_bounded() {
        let mut recent = Generations::new(8);
        recent.put(0, 0);
        for i in 1..1000 {
            recent.put(i, i);
            assert_eq!(recent.get(&0), Some(0), "used every time");
            assert!(recent.young.len() + recent.old.len() <= 16);
        }
        assert_eq!(recent.get(&1), None);
        assert_eq!(recent.get(&999), Some(999));
        recent.remove(&999);
        recent.remove(&0);
        assert_eq!((recent.get(&999), recent.get(&0)), (None, None));
    }

    #[test]
    fn what_is_not_used_between_two_calls_of_age_is_forgotten() {
        let mut recent = Generations::new(8);
        recent.put("used", 1);
        recent.put("left", 2);
        assert_eq!(recent.age().count(), 0);
        assert_eq!(recent.get(&"used"), Some(1));
        assert_eq!(recent.age().collect::<Vec<_>>(), [2]);
        assert!(!recent.is_empty());
        assert_eq!((recent.age().collect::<Vec<_>>(), recent.is_empty()), (vec![1], true));
    }
}
