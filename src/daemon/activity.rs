//! Whether the daemon has anything to do: mounts to serve or clients to answer.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts what keeps the daemon alive.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<watch::Sender<Load>>);

/// One thing that keeps the daemon alive while it exists.
#[derive(Debug)]
pub(super) struct Busy(Arc<watch::Sender<Load>>);

/// What there is to do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    /// Things that keep the daemon alive now.
    pub(super) now: usize,
    /// Whether there ever was one: a daemon that has just started still waits for whoever started it.
    pub(super) ever: bool,
}

impl Activity {
    /// Nothing to do.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Load::default())))
    }

    /// Begins something.
    pub(super) fn begin(&self) -> Busy {
        self.0.send_modify(|load| *load = Load { now: load.now + 1, ever: true });
        Busy(self.0.clone())
    }

    /// Follows it.
    pub(super) fn watch(&self) -> watch::Receiver<Load> {
        self.0.subscribe()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|load| load.now -= 1);
    }
}
