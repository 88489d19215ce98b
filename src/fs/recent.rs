//! A small bounded memory: what was put in lately is there, what was not used lately is gone.
//!
//! Two generations. New and used values live in the young one; when it is full it becomes the old one, and what was
//! old and not used since is dropped. So it never holds more than twice its limit, and each call is O(1).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

/// Keeps between `limit` and `2 * limit` of the values used last.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    limit: usize,
    generations: Mutex<Generations<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Recent<K, V> {
    /// An empty memory.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }) }
    }

    /// The value of `key`, if it is still known.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut generations = self.generations.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(value) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = generations.old.remove_entry(key)?;
        self.add(&mut generations, key, value.clone());
        Some(value)
    }

    /// Remembers a value.
    pub(super) fn put(&self, key: K, value: V) {
        let mut generations = self.generations.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.add(&mut generations, key, value);
    }

    fn add(&self, generations: &mut Generations<K, V>, key: K, value: V) {
        if generations.young.len() >= self.limit {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_values_stay_and_the_size_is_bounded() {
        let recent = Recent::new(8);
        recent.put(0, 0);
        for i in 1..1000 {
            recent.put(i, i);
            assert_eq!(recent.get(&0), Some(0), "used every time");
            let generations = recent.generations.lock().expect("not poisoned");
            assert!(generations.young.len() + generations.old.len() <= 16);
        }
        assert_eq!(recent.get(&1), None);
        assert_eq!(recent.get(&999), Some(999));
    }
}
