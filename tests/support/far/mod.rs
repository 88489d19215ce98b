//! A proxy that stands before a real S3 server and makes it as far away and as unreliable as S3 is.
//!
//! Loopback hides what S3 costs: here every answer comes [`Settings::latency`] later, every body flows at
//! [`Settings::rate`] at most, every request is counted, and faults are injected on purpose. What passes is not changed by
//! one byte: clients sign the `Host` header, which names this proxy, and the server behind checks that very header.
//!
//! A connection from a client has one connection to the server and two threads: one carries requests, one carries answers,
//! so an answer that comes before its request has ended (an error, `100 Continue`) is not held back. Clients wait for an
//! answer before they send the next request; those that do not are not served.
//!
//! Only the standard library is used: the same files make a program in seconds, without the crates of the tests
//! (`benches/proxy`, for `scripts/bench`).
#![allow(dead_code, unreachable_pub, unused_imports)]

mod control;
mod fault;
mod http;
mod pace;
mod relay;
mod stats;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use control::{MARK, unknown_setting};
pub use fault::{Fault, Off};
pub use http::{Body, Head, copy_body, read_head};
pub use pace::Pace;
pub use stats::{Counts, Kind, Stats};

/// How far away and how unreliable the store is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How much later each answer begins than the server gave it.
    pub latency: Duration,
    /// Bytes per second of one body, in either direction; `None` for as fast as it goes.
    pub rate: Option<u64>,
    /// The share of requests, 0 to 1, that are answered with `503 SlowDown` and never reach the server.
    pub refuse: f64,
    /// The share of answers with a body, 0 to 1, that break off in the middle of it.
    pub cut: f64,
    /// Whether the store is off.
    pub off: Off,
}

impl Default for Settings {
    /// As near and as good as the server itself.
    fn default() -> Self {
        Self { latency: Duration::ZERO, rate: None, refuse: 0.0, cut: 0.0, off: Off::No }
    }
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where clients reach it.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// What the threads of a proxy share.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    settings: Mutex<Settings>,
    changed: Condvar,
    stats: Stats,
    requests: AtomicU64,
    stopping: AtomicBool,
    /// The clients' connections that are open, so that the end of the proxy is the end of them.
    open: Mutex<Vec<(u64, TcpStream)>>,
}

impl Proxy {
    /// Listens on `listen` (port 0: any) and passes on to `upstream`.
    ///
    /// # Errors
    /// Those of listening.
    pub fn start(listen: SocketAddr, upstream: SocketAddr, settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            settings: Mutex::new(settings),
            changed: Condvar::new(),
            stats: Stats::default(),
            requests: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { address, shared })
    }

    /// `http://address:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What is in force.
    pub fn settings(&self) -> Settings {
        *self.shared.settings()
    }

    /// Changes what is in force, from the next request on; requests that hang because the store was off end now.
    pub fn set(&self, settings: Settings) {
        self.shared.set(settings);
    }

    /// What has passed so far.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        for (_, stream) in lock(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts, which then finds that it is to stop.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    fn set(&self, settings: Settings) {
        *self.settings() = settings;
        self.changed.notify_all();
    }

    /// Waits until the store is no longer off by hanging, or the proxy stops.
    fn wait_while_hanging(&self) {
        let mut settings = self.settings();
        while settings.off == Off::Hang && !self.stopping.load(Ordering::SeqCst) {
            settings = self.changed.wait(settings).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        // A client that went away between its connecting and now.
        let Ok(client) = stream else { continue };
        let Ok(remembered) = client.try_clone() else { continue };
        lock(&shared.open).push((number, remembered));
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A connection that breaks is the client's business: it sees it.
            let _ = relay::serve(client, &shared);
            lock(&shared.open).retain(|(other, _)| *other != number);
        });
    }
}

/// What a thread that panicked left behind is still whole: every critical section here is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
