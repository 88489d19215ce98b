//! Writes that wait for the background thread, and reads that see them at once.
//!
//! What is put lies in `next` until the thread takes it all as one batch, then in `committing` until that
//! commit is visible; a read looks in both before it asks redb, so a put is never missed in between. Values
//! are copied in: a node is often a slice of a whole pack's body, which it would keep alive.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::engine::{Commit, Engine};
use super::twin::{Budget, Change, Generation, Twin};

/// What may wait; more is dropped (removals never are). With the batch being committed: 32 MiB at most.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// A batch that large is committed without waiting for more.
const BATCH_BYTES: usize = 4 << 20;

/// How long a batch waits for more: commits cost milliseconds whatever their size.
const GATHER: Duration = Duration::from_millis(200);

/// A commit at least that often is flushed to disk; what a crash can take is younger.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// What a waiting entry takes in memory besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// One change to one entry.
pub(super) struct Write {
    twin: Twin,
    key: Vec<u8>,
    value: Option<Bytes>,
}

impl Write {
    /// Sets an entry.
    pub(super) fn put(twin: Twin, key: &[u8], value: &[u8]) -> Self {
        Self { twin, key: key.to_vec(), value: Some(Bytes::copy_from_slice(value)) }
    }

    /// Removes an entry.
    pub(super) fn remove(twin: Twin, key: &[u8]) -> Self {
        Self { twin, key: key.to_vec(), value: None }
    }

    fn memory_bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + ENTRY_OVERHEAD_BYTES
    }
}

/// Changes by table and key; the last one of a key counts.
#[derive(Default)]
struct Batch {
    nodes: HashMap<Vec<u8>, Option<Bytes>>,
    locations: HashMap<Vec<u8>, Option<Bytes>>,
}

impl Batch {
    fn of(&self, twin: Twin) -> &HashMap<Vec<u8>, Option<Bytes>> {
        match twin {
            Twin::Nodes => &self.nodes,
            Twin::Locations => &self.locations,
        }
    }

    fn add(&mut self, write: Write) {
        let map = match write.twin {
            Twin::Nodes => &mut self.nodes,
            Twin::Locations => &mut self.locations,
        };
        map.insert(write.key, write.value);
    }

    fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.locations.is_empty()
    }
}

#[derive(Default)]
struct State {
    next: Batch,
    /// What `next` takes in memory.
    waiting_bytes: usize,
    committing: Arc<Batch>,
    /// Flushes asked for and done, counted.
    flush_asked: u64,
    flush_done: u64,
    closing: bool,
}

struct Shared {
    engine: Engine,
    budget: Budget,
    state: Mutex<State>,
    /// For the thread: there is something to do.
    work: Condvar,
    /// For those who wait for a flush.
    flushed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue and its thread. Dropping it commits what waits.
pub(super) struct Queue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// Starts the thread. Where none can be started, nothing is ever committed, which is what a full queue
    /// is.
    pub(super) fn start(engine: Engine, budget: Budget) -> Self {
        let shared = Arc::new(Shared {
            engine,
            budget,
            state: Mutex::default(),
            work: Condvar::new(),
            flushed: Condvar::new(),
        });
        let thread = thread::Builder::new().name("atfs-index".into()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared)
        });
        if let Err(error) = &thread {
            tracing::warn!("the index cannot be written: no thread: {error}");
            shared.lock().closing = true;
        }
        Self { shared, thread: thread.ok() }
    }

    /// The engine below.
    pub(super) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// The newest value of `key`.
    pub(super) fn get(&self, twin: Twin, key: &[u8]) -> Option<Bytes> {
        {
            let state = self.shared.lock();
            let waiting = state.next.of(twin).get(key).or_else(|| state.committing.of(twin).get(key));
            if let Some(value) = waiting {
                return value.clone();
            }
        }
        let (value, generation) = self.engine().read(|transaction| twin.get(transaction, key))??;
        if generation == Generation::Old {
            self.put_again(twin, key, &value);
        }
        Some(value)
    }

    /// Takes `writes`; those that find no room are dropped.
    pub(super) fn put(&self, writes: impl IntoIterator<Item = Write>) {
        let mut state = self.shared.lock();
        for write in writes {
            if write.value.is_some() && state.waiting_bytes >= MAX_WAITING_BYTES {
                continue;
            }
            state.waiting_bytes += write.memory_bytes();
            state.next.add(write);
        }
        drop(state);
        self.shared.work.notify_one();
    }

    /// Moves an entry that was read from the old generation into the young one, unless it was changed
    /// meanwhile.
    fn put_again(&self, twin: Twin, key: &[u8], value: &Bytes) {
        let mut state = self.shared.lock();
        let changed = state.next.of(twin).contains_key(key) || state.committing.of(twin).contains_key(key);
        // Half the room, so that reading the old never crowds out what is new.
        if !changed && state.waiting_bytes < MAX_WAITING_BYTES / 2 {
            let write = Write { twin, key: key.to_vec(), value: Some(value.clone()) };
            state.waiting_bytes += write.memory_bytes();
            state.next.add(write);
            drop(state);
            self.shared.work.notify_one();
        }
    }

    /// Waits until everything put before is committed and on disk (or could not be).
    pub(super) fn flush(&self) {
        let mut state = self.shared.lock();
        state.flush_asked += 1;
        let mine = state.flush_asked;
        self.shared.work.notify_one();
        while state.flush_done < mine && !state.closing {
            state = self.shared.flushed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It cannot panic: the engine catches what redb does.
            let _ = thread.join();
        }
    }
}

/// The thread: gather, commit, again; a last flushed commit at the end.
fn run(shared: &Shared) {
    let mut last_flush = Instant::now();
    let mut unflushed = false;
    loop {
        let (batch, flush_asked, closing) = next_batch(shared, unflushed.then_some(last_flush + FLUSH_EVERY));
        let must = closing || flush_asked.is_some() || last_flush.elapsed() >= FLUSH_EVERY;
        let commit = if must { Commit::Flushed } else { Commit::Unflushed };
        if !batch.is_empty() || (unflushed && must) {
            shared.engine.write(commit, |transaction| {
                for twin in Twin::ALL {
                    // In key order, so that neighbours share the pages that a commit rewrites.
                    let entries = batch.of(twin).iter();
                    let mut changes: Vec<_> =
                        entries.map(|(key, value)| Change { key, value: value.as_ref() }).collect();
                    changes.sort_unstable_by_key(|change| change.key);
                    if !changes.is_empty() {
                        twin.apply(transaction, &shared.budget, &changes)?;
                    }
                }
                Ok(())
            });
            unflushed = !must;
        }
        if must {
            last_flush = Instant::now();
        }
        let mut state = shared.lock();
        state.committing = Arc::default();
        state.flush_done = flush_asked.unwrap_or(state.flush_done);
        shared.flushed.notify_all();
        if closing && state.next.is_empty() {
            return;
        }
    }
}

/// Waits for something to do: a batch, a flush, the end, or `flush_due`. Returns the batch (now also
/// `committing`), up to which flush request it reaches if one is open, and whether this is the end.
fn next_batch(shared: &Shared, flush_due: Option<Instant>) -> (Arc<Batch>, Option<u64>, bool) {
    let mut state = shared.lock();
    let mut gather_until = None;
    loop {
        if state.closing || state.flush_asked > state.flush_done || state.waiting_bytes >= BATCH_BYTES {
            break;
        }
        let now = Instant::now();
        if !state.next.is_empty() {
            gather_until.get_or_insert(now + GATHER);
        }
        let wake_at = match (gather_until, flush_due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        state = match wake_at {
            Some(at) if at <= now => break,
            Some(at) => {
                let waited = shared.work.wait_timeout(state, at - now);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
    }
    state.waiting_bytes = 0;
    state.committing = Arc::new(std::mem::take(&mut state.next));
    let flush = (state.flush_asked > state.flush_done).then_some(state.flush_asked);
    (Arc::clone(&state.committing), flush, state.closing)
}
