//! The threads of a cache, which end with it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::room::Room;

/// The floor is looked after that often: what others write in the meantime is a few GB at most.
const TEND: Duration = Duration::from_secs(5);

/// After so many looks what became complete is marked: at most that much work (45 s) has to be looked at after a power cut.
/// The first look does it as well: processes before us may have left something.
const TENDS_PER_MARK: u32 = 9;

/// Tells threads to end.
#[derive(Debug, Default)]
pub(super) struct Stop {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Whether they are to end.
    pub(super) fn is_told(&self) -> bool {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long, or until they are to end. `true`: they are.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(told, time, |told| !*told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// Threads that are told to end, and waited for, when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Threads {
    stop: Arc<Stop>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    /// One more thread.
    ///
    /// # Errors
    /// The system has none.
    pub(super) fn start(&mut self, name: &str, run: impl FnOnce(&Stop) + Send + 'static) -> io::Result<()> {
        let stop = Arc::clone(&self.stop);
        self.running.push(thread::Builder::new().name(name.into()).spawn(move || run(&stop))?);
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.tell();
        for thread in self.running.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Looks after the floor, and marks what is durable.
pub(super) fn keep(room: &Room, stop: &Stop) {
    let mut tends = 0;
    while !stop.wait(TEND) {
        room.tend_floor();
        if tends % TENDS_PER_MARK == 0 {
            room.mark_durable();
        }
        tends += 1;
    }
}
