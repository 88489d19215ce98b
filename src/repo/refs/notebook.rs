//! What a machine notes about a repository: attempts in flight, anchors of logs, stores that passed the probe.
//!
//! The two differ in what losing them costs. An attempt is noted durably *before* the request that it describes is
//! sent, so that a process killed at any instant leaves word of what may have happened; it is forgotten only when the
//! outcome is final. The rest is convenience and evidence: losing it costs requests, and the power to notice that a log
//! was cut back, never correctness.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::types::{CommitId, Nonce, RecordHash, RepoUuid, Timestamp};

/// One conditional write that may be in flight.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attempt {
    /// The repository.
    pub repository: RepoUuid,
    /// What the keys of the log begin with.
    pub log: String,
    /// The log for people, such as `branch main`.
    pub label: String,
    /// Number of the record.
    pub seq: u64,
    /// Tells the record from any other with that number.
    pub nonce: Nonce,
    /// The head that the record sets; none when it deletes or begins a log.
    pub commit: Option<CommitId>,
    /// When it was tried.
    pub when: Timestamp,
    /// Whether the command that tried has ended without learning the outcome. Until then it may be at work beside us.
    #[serde(default)]
    pub given_up: bool,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.commit {
            Some(commit) => write!(f, "{} moved to {}", self.label, commit.short()),
            None => write!(f, "record {} of {} was written", self.seq, self.label),
        }
    }
}

/// The newest record of a log that this machine has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Its number.
    pub seq: u64,
    /// The hash of its bytes.
    pub hash: RecordHash,
}

/// Where a machine keeps its notes. Shared by every process of the user.
#[async_trait]
pub trait Notebook: Send + Sync + fmt::Debug {
    /// Notes an attempt, in the place of an earlier note of the same one; durable when this returns.
    ///
    /// # Errors
    /// When it cannot be made durable: then the request must not be sent.
    async fn note(&self, attempt: &Attempt) -> std::io::Result<()>;

    /// Forgets an attempt whose outcome is final. Failing to is harmless: it is settled once more.
    async fn forget(&self, attempt: &Attempt);

    /// The attempts of a repository, in no particular order.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn attempts(&self, repository: RepoUuid) -> std::io::Result<Vec<Attempt>>;

    /// The newest record of a log that this machine has seen, if that is known.
    async fn anchor(&self, repository: RepoUuid, log: &str) -> Option<Anchor>;

    /// Notes that a record was seen; an older one changes nothing. Failing to is harmless.
    async fn raise_anchor(&self, repository: RepoUuid, log: &str, seen: Anchor);

    /// When a store (by its description) last passed the probe, if that is known.
    async fn probed(&self, store: &str) -> Option<Timestamp>;

    /// Notes that a store passed the probe. Failing to is harmless.
    async fn set_probed(&self, store: &str, at: Timestamp);
}

/// Notes that live as long as the process.
#[derive(Debug, Default)]
pub struct MemoryNotebook {
    attempts: Mutex<Vec<Attempt>>,
    anchors: Mutex<BTreeMap<(RepoUuid, String), Anchor>>,
    probes: Mutex<BTreeMap<String, Timestamp>>,
}

#[async_trait]
impl Notebook for MemoryNotebook {
    async fn note(&self, attempt: &Attempt) -> std::io::Result<()> {
        let mut attempts = lock(&self.attempts);
        attempts.retain(|noted| noted.nonce != attempt.nonce);
        attempts.push(attempt.clone());
        Ok(())
    }

    async fn forget(&self, attempt: &Attempt) {
        lock(&self.attempts).retain(|noted| noted.nonce != attempt.nonce);
    }

    async fn attempts(&self, repository: RepoUuid) -> std::io::Result<Vec<Attempt>> {
        Ok(lock(&self.attempts).iter().filter(|a| a.repository == repository).cloned().collect())
    }

    async fn anchor(&self, repository: RepoUuid, log: &str) -> Option<Anchor> {
        lock(&self.anchors).get(&(repository, log.to_owned())).copied()
    }

    async fn raise_anchor(&self, repository: RepoUuid, log: &str, seen: Anchor) {
        let mut anchors = lock(&self.anchors);
        let known = anchors.entry((repository, log.to_owned())).or_insert(seen);
        if known.seq < seen.seq {
            *known = seen;
        }
    }

    async fn probed(&self, store: &str) -> Option<Timestamp> {
        lock(&self.probes).get(store).copied()
    }

    async fn set_probed(&self, store: &str, at: Timestamp) {
        lock(&self.probes).insert(store.to_owned(), at);
    }
}

/// A poisoned lock only means that another thread panicked; the notes themselves are whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
