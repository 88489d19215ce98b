//! Before a store is written to, it has shown that it keeps its conditions.
//!
//! Conditions can stop working later (versioning switched on in the bucket, another server behind the endpoint), so
//! the probe is made again by each machine for each store and day.

use crate::store::{ProbeFailure, Store, probe};
use crate::types::Timestamp;

use super::refs::Notebook;
use super::{RepoError, Repository, Services};

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

impl Repository {
    /// Probes the store unless it passed within the last day. Called before anything is written.
    ///
    /// # Errors
    /// [`RepoError::UnsafeStore`]; any failure of the store.
    pub async fn ensure_probed(&self) -> Result<(), RepoError> {
        let now = self.services().clock.now();
        match self.notebook().probed(&self.store().describe()).await {
            Some(at) if is_fresh(at, now) => Ok(()),
            _ => probe_now(&**self.store(), self.services(), &**self.notebook()).await,
        }
    }
}

/// A time in the future comes from a clock that was set back: it proves nothing.
fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    (0..DAY).contains(&(now.as_micros() - at.as_micros()))
}

/// Probes the store and notes that it passed.
pub(super) async fn probe_now(
    store: &dyn Store,
    services: &Services,
    notebook: &dyn Notebook,
) -> Result<(), RepoError> {
    match probe(store, &*services.random).await {
        Ok(report) => {
            tracing::debug!(store = %store.describe(), ?report, "the store keeps its conditions");
            notebook.set_probed(&store.describe(), services.clock.now()).await;
            Ok(())
        }
        // Nothing was learnt about its conditions: it failed as any request can.
        Err(ProbeFailure::Store(source)) => Err(source.into()),
        Err(failure) => Err(RepoError::UnsafeStore(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_holds_for_a_day_and_not_into_the_past() {
        let now = Timestamp::from_micros(1_000 * DAY);
        let at = |micros: i64| Timestamp::from_micros(1_000 * DAY + micros);
        assert!(is_fresh(now, now));
        assert!(is_fresh(at(1 - DAY), now));
        assert!(!is_fresh(at(-DAY), now));
        assert!(!is_fresh(at(1), now));
    }
}
