//! How many requests run at once: half as many when the store says that it is busy, one more after a window of
//! successes, as TCP does with its packets.
//!
//! Each request remembers the *round* in which it was sent. A store that is asked for too much refuses many requests at
//! once, and all of them say the same thing: only a refusal of a request that was sent after the last halving says
//! something new, so a round trip halves at most once. Successes count likewise, and only while every slot is taken: a
//! limit that is not reached has not been tried.
//!
//! Slots are given in the order of asking. A halving takes them from whoever ends next, never from a running request.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The slots of one store.
#[derive(Debug)]
pub struct Pace {
    most: usize,
    slots: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// So many requests at once, 1 to `most`.
    allowed: usize,
    /// Slots taken that vanish when they are given back: a halving met more requests than it allows.
    surplus: usize,
    round: u64,
    /// Successes since `allowed` changed.
    successes: usize,
    slow_downs: u64,
}

/// The round in which a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round(u64);

/// The right to run one request, given back on drop.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        if state.surplus > 0 {
            state.surplus -= 1;
            self.permit.take().into_iter().for_each(SemaphorePermit::forget);
        }
    }
}

impl Pace {
    /// Begins with `most` (at least 1) requests at once, and never allows more.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let state = State { allowed: most, surplus: 0, round: 0, successes: 0, slow_downs: 0 };
        Self { most, slots: Semaphore::new(most), state: Mutex::new(state) }
    }

    /// So many requests may run at once now.
    pub fn allowed(&self) -> usize {
        self.state().allowed
    }

    /// So many may run when the store never complains.
    pub fn most(&self) -> usize {
        self.most
    }

    /// How many requests the store has refused because it was busy.
    pub fn slow_downs(&self) -> u64 {
        self.state().slow_downs
    }

    /// Waits for a slot; `None` never happens, since the semaphore is never closed.
    pub(super) async fn slot(&self) -> Option<Slot<'_>> {
        let permit = self.slots.acquire().await.ok()?;
        Some(Slot { pace: self, permit: Some(permit) })
    }

    /// A request is sent.
    pub(super) fn round(&self) -> Round {
        Round(self.state().round)
    }

    /// A request of `round` was answered as it should be.
    pub(super) fn succeeded(&self, round: Round) {
        let mut state = self.state();
        if state.allowed == self.most
            || round.0 != state.round
            || state.surplus > 0
            || self.slots.available_permits() > 0
        {
            return;
        }
        state.successes += 1;
        if state.successes >= state.allowed {
            state.successes = 0;
            state.allowed += 1;
            drop(state);
            self.slots.add_permits(1);
        }
    }

    /// A request of `round` was refused because the store is busy.
    pub(super) fn refused(&self, round: Round) {
        let mut state = self.state();
        state.slow_downs += 1;
        if round.0 != state.round {
            return;
        }
        state.round += 1;
        state.successes = 0;
        let allowed = (state.allowed / 2).max(1);
        let excess = state.allowed - allowed;
        state.allowed = allowed;
        state.surplus += excess - self.slots.forget_permits(excess);
        tracing::debug!(allowed, most = self.most, "the store is busy: fewer requests at once");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn slots(pace: &Pace, count: usize) -> Vec<Slot<'_>> {
        let mut slots = Vec::new();
        for _ in 0..count {
            slots.push(pace.slot().await.expect("open"));
        }
        slots
    }

    #[tokio::test]
    async fn a_round_trip_halves_once() {
        let pace = Pace::new(64);
        let before = pace.round();
        (0..50).for_each(|_| pace.refused(before));
        assert_eq!((pace.allowed(), pace.slow_downs()), (32, 50));
        let after = pace.round();
        pace.refused(before);
        assert_eq!(pace.allowed(), 32);
        pace.refused(after);
        assert_eq!(pace.allowed(), 16);
        (0..20).for_each(|_| pace.refused(pace.round()));
        assert_eq!(pace.allowed(), 1, "never none");
        assert_eq!(pace.slots.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_window_of_successes_gives_one_slot_up_to_the_most() {
        let pace = Pace::new(8);
        let old = pace.round();
        pace.refused(old);
        let held = slots(&pace, 4).await;
        (0..100).for_each(|_| pace.succeeded(old));
        assert_eq!(pace.allowed(), 4, "what was sent before says nothing about now");
        let now = pace.round();
        (0..3).for_each(|_| pace.succeeded(now));
        assert_eq!(pace.allowed(), 4);
        pace.succeeded(now);
        assert_eq!(pace.allowed(), 5);
        (0..100).for_each(|_| pace.succeeded(now));
        assert_eq!(pace.allowed(), 5, "the fifth slot has not been tried");
        let mut more = Vec::new();
        while pace.allowed() < 8 {
            more.extend(slots(&pace, 1).await);
            (0..pace.allowed()).for_each(|_| pace.succeeded(now));
        }
        more.extend(slots(&pace, 1).await);
        (0..100).for_each(|_| pace.succeeded(now));
        assert_eq!((pace.allowed(), pace.slots.available_permits()), (8, 0));
        drop((held, more));
        assert_eq!(pace.slots.available_permits(), 8);
    }

    #[tokio::test]
    async fn running_requests_keep_their_slots_and_the_next_to_end_lose_them() {
        let pace = Pace::new(8);
        let mut held = slots(&pace, 8).await;
        pace.refused(pace.round());
        pace.refused(pace.round());
        assert_eq!(pace.allowed(), 2);
        for _ in 0..6 {
            held.pop();
            assert_eq!(pace.slots.available_permits(), 0);
        }
        held.pop();
        assert_eq!(pace.slots.available_permits(), 1);
        held.pop();
        assert_eq!(pace.slots.available_permits(), 2);
    }
}
