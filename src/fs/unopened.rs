//! Files that are read where opens and closes are not seen.
//!
//! Between two reads a file is remembered, for its stream and its hold on the cache. Nobody says when the last one was, and
//! what is held is not evicted; so it is forgotten [`KEPT_FOR`] after it at the latest, and the next read opens it anew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::types::Generations;

use super::files::OpenFile;
use super::inode::Ino;

/// Files that are remembered, at least; twice that at most. Few, because each keeps its content in the cache.
const FILES: usize = 8;

/// The time after its last read at which a file is forgotten; half of it at least. Longer than a program computes
/// between two reads of a stream; as long as the cache takes to see that others need the disk.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// The files that were read last.
#[derive(Debug)]
pub(super) struct Unopened {
    /// Where the forgetting goes on.
    runtime: Handle,
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    files: Generations<Ino, Arc<OpenFile>>,
    /// Whether a task makes them older: there is one as long as there are files.
    ageing: bool,
}

impl Unopened {
    /// None yet.
    pub(super) fn new(runtime: Handle) -> Self {
        let state = State { files: Generations::new(FILES), ageing: false };
        Self { runtime, shared: Arc::new(Mutex::new(state)) }
    }

    /// The file, if it was read lately.
    pub(super) fn get(&self, ino: Ino) -> Option<Arc<OpenFile>> {
        lock(&self.shared).files.get(&ino)
    }

    /// Remembers a file that is being read.
    pub(super) fn put(&self, ino: Ino, file: Arc<OpenFile>) {
        let mut state = lock(&self.shared);
        state.files.put(ino, file);
        if std::mem::replace(&mut state.ageing, true) {
            return;
        }
        drop(state);
        // A mount that is gone takes its files with it, whatever this waits for.
        let shared = Arc::downgrade(&self.shared);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(KEPT_FOR / 2).await;
                let Some(shared) = shared.upgrade() else { return };
                let mut state = lock(&shared);
                let forgotten = state.files.age();
                state.ageing = !state.files.is_empty();
                let over = !state.ageing;
                drop(state);
                // Closing may delete files: not under the lock.
                drop(forgotten);
                if over {
                    return;
                }
            }
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &'static str) -> Arc<OpenFile> {
        Arc::new(OpenFile::Text(text.into()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_stays_and_what_is_not_goes_each_time() {
        let unopened = Unopened::new(Handle::current());
        let (read, left) = (Ino::from_raw(7), Ino::from_raw(8));
        for _ in 0..2 {
            unopened.put(read, file("read"));
            let held = file("left");
            unopened.put(left, held.clone());
            for _ in 0..20 {
                tokio::time::sleep(KEPT_FOR / 4).await;
                assert!(unopened.get(read).is_some());
            }
            assert_eq!(Arc::strong_count(&held), 1, "nobody has read it since");
            assert!(unopened.get(left).is_none());
            tokio::time::sleep(KEPT_FOR * 2).await;
            assert!(unopened.get(read).is_none());
            assert!(!lock(&unopened.shared).ageing, "nothing is left to wait for");
        }
    }
}
