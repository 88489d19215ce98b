//! Decoded blobs in memory, bounded in bytes.
//!
//! Two generations: what is put or used goes to the young one; when that holds half the budget, the old one is dropped
//! whole and the young one becomes old. That is least-recently-used to within half the budget, without a list to
//! keep in order. Each blob is counted with what it takes on the heap, so the bound holds for the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Blob;

/// What an entry takes besides its blob: the key, the pointer, the size, the table's slack.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// Blobs by hash.
#[derive(Debug)]
pub(super) struct Memory<B> {
    half: usize,
    generations: Mutex<Generations<B>>,
}

#[derive(Debug)]
struct Generations<B> {
    young: Generation<B>,
    old: Generation<B>,
    young_bytes: usize,
}

type Generation<B> = HashMap<[u8; 32], (Arc<B>, usize)>;

impl<B> Memory<B> {
    /// At most `bytes`; a blob that takes more than half of it is not kept.
    pub(super) fn new(bytes: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), young_bytes: 0 };
        Self { half: bytes / 2, generations: Mutex::new(generations) }
    }

    /// The blob, which counts as used.
    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<Arc<B>> {
        let mut generations = self.lock();
        if let Some((blob, _)) = generations.young.get(hash) {
            return Some(blob.clone());
        }
        let (blob, bytes) = generations.old.remove(hash)?;
        let dropped = generations.add(*hash, blob.clone(), bytes, self.half);
        drop(generations);
        drop(dropped);
        Some(blob)
    }

    fn lock(&self) -> MutexGuard<'_, Generations<B>> {
        // Nothing panics while it is held, and the maps are whole at every step.
        self.generations.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl<B: Blob> Memory<B> {
    /// Keeps the blob. Of two put at once the first stays, so that equal blobs are one.
    pub(super) fn put(&self, hash: [u8; 32], blob: B) -> Arc<B> {
        let bytes = blob.memory_bytes() + ENTRY_OVERHEAD_BYTES;
        let mut generations = self.lock();
        if let Some((first, _)) = generations.young.get(&hash) {
            return first.clone();
        }
        let blob = match generations.old.remove(&hash) {
            Some((first, _)) => first,
            None => Arc::new(blob),
        };
        let dropped = generations.add(hash, blob.clone(), bytes, self.half);
        drop(generations);
        drop(dropped);
        blob
    }
}

impl<B> Generations<B> {
    /// Returns the generation that fell out, so that it is freed without the lock.
    fn add(&mut self, hash: [u8; 32], blob: Arc<B>, bytes: usize, half: usize) -> Option<Generation<B>> {
        if bytes > half {
            return None;
        }
        let mut dropped = None;
        if self.young_bytes + bytes > half {
            let young = std::mem::take(&mut self.young);
            dropped = Some(std::mem::replace(&mut self.old, young));
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(hash, (blob, bytes));
        dropped
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::RawChunk;
    use super::*;

    fn chunk(bytes: usize) -> RawChunk {
        RawChunk(Bytes::from(vec![0; bytes]))
    }

    fn bytes(memory: &Memory<RawChunk>) -> usize {
        let generations = memory.lock();
        generations.young.values().chain(generations.old.values()).map(|(_, bytes)| bytes).sum()
    }

    #[test]
    fn the_bound_holds_and_what_is_used_stays() {
        let memory = Memory::new(100_000);
        memory.put([255; 32], chunk(1000));
        for i in 0..200u8 {
            memory.put([i; 32], chunk(5000));
            assert!(bytes(&memory) <= 100_000);
            assert!(memory.get(&[255; 32]).is_some(), "used all the time");
        }
        assert!(memory.get(&[199; 32]).is_some(), "the newest");
        assert!(memory.get(&[0; 32]).is_none(), "the oldest");
        memory.put([1; 32], chunk(60_000));
        assert!(memory.get(&[1; 32]).is_none(), "more than half the budget");
    }

    #[test]
    fn equal_blobs_are_one() {
        let memory = Memory::new(100_000);
        let first = memory.put([1; 32], chunk(10));
        assert!(Arc::ptr_eq(&first, &memory.put([1; 32], chunk(10))));
        assert!(Arc::ptr_eq(&first, &memory.get(&[1; 32]).expect("kept")));
    }
}
