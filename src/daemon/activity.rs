//! Whether the daemon has anything to do: mounts to serve or clients to answer.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts what keeps the daemon alive.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<watch::Sender<usize>>);

/// One thing that keeps the daemon alive while it exists.
#[derive(Debug)]
pub(super) struct Busy(Arc<watch::Sender<usize>>);

impl Activity {
    /// Nothing to do.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Begins something.
    pub(super) fn begin(&self) -> Busy {
        self.0.send_modify(|count| *count += 1);
        Busy(self.0.clone())
    }

    /// Follows the count.
    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
