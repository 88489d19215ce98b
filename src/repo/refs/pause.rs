//! Waiting between tries: exponential, jittered, bounded.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::repo::RepoError;
use crate::types::Random;

use super::Log;

/// First pause between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause after failures of the store.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Longest pause after a lost race: somebody always wins, so waiting longer than a few appends take helps nobody.
const LONGEST_RACE_PAUSE: Duration = Duration::from_secs(1);

/// How long lost races are tried again: room for some hundreds of writers at a tenth of a second each.
const RACE_LIMIT: Duration = Duration::from_secs(300);

/// Pauses after failures of the store.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { pause: FIRST_PAUSE }
    }

    /// Waits for half the pause to one and a half.
    pub(super) async fn wait(&mut self, random: &dyn Random) {
        sleep(self.pause.mul_f64(0.5 + random.unit())).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Counts the races that a change to one log has lost, and spreads out those who race.
#[derive(Debug)]
pub(in crate::repo) struct Races<'a> {
    log: &'a Log,
    began: Instant,
    lost: u32,
}

impl<'a> Races<'a> {
    pub(in crate::repo) fn new(log: &'a Log) -> Self {
        Self { log, began: Instant::now(), lost: 0 }
    }

    /// How many races were lost so far.
    pub(in crate::repo) fn count(&self) -> u32 {
        self.lost
    }

    /// Takes note of a lost race and waits a while.
    ///
    /// # Errors
    /// [`RepoError::Busy`] after [`RACE_LIMIT`].
    pub(in crate::repo) async fn lost(&mut self) -> Result<(), RepoError> {
        self.lost += 1;
        let repository = self.log.repository();
        if self.began.elapsed() >= RACE_LIMIT {
            return Err(RepoError::Busy {
                log: self.log.label().to_owned(),
                repository: repository.store().describe(),
                races: self.lost,
                seconds: RACE_LIMIT.as_secs(),
            });
        }
        let longest = LONGEST_RACE_PAUSE.min(FIRST_PAUSE * 2u32.pow(self.lost.min(8)));
        sleep(longest.mul_f64(repository.services().random.unit())).await;
        Ok(())
    }
}
