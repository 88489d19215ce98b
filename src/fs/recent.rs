//! What was used lately, for several threads: see [`Generations`].

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard};

use crate::types::Generations;

/// Keeps between `limit` and `2 * limit` of the values used last.
#[derive(Debug)]
pub(super) struct Recent<K, V>(Mutex<Generations<K, V>>);

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// An empty memory.
    pub(super) fn new(limit: usize) -> Self {
        Self(Mutex::new(Generations::new(limit)))
    }

    /// The value of `key`, if it is still known.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key)
    }

    /// Remembers a value.
    pub(super) fn put(&self, key: K, value: V) {
        self.lock().put(key, value);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K, V>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
