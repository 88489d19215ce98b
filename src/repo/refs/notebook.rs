//! What a machine notes about a repository's logs: attempts in flight, and small facts.
//!
//! The two differ in what losing them costs. An attempt is noted durably *before* the request that it describes is
//! sent, so that a process killed at any instant leaves word of what may have happened; it is forgotten only when the
//! outcome is final. Facts (the newest record seen of a log, the last probe) are conveniences and anchors: losing
//! them costs requests, and the power to notice that a log was cut back, never correctness.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::types::{CommitId, Nonce, RepoUuid, Timestamp};

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
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.commit {
            Some(commit) => write!(f, "{} moved to {}", self.label, commit.short()),
            None => write!(f, "record {} of {} was written", self.seq, self.label),
        }
    }
}

/// Where a machine keeps its notes. Shared by every process of the user.
#[async_trait]
pub trait Notebook: Send + Sync + fmt::Debug {
    /// Notes an attempt; durable when this returns.
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

    /// A fact, if it is known.
    async fn fact(&self, name: &str) -> Option<String>;

    /// Notes a fact. Failing to is harmless.
    async fn set_fact(&self, name: &str, value: String);
}

/// Notes that live as long as the process.
#[derive(Debug, Default)]
pub struct MemoryNotebook {
    attempts: Mutex<Vec<Attempt>>,
    facts: Mutex<BTreeMap<String, String>>,
}

#[async_trait]
impl Notebook for MemoryNotebook {
    async fn note(&self, attempt: &Attempt) -> std::io::Result<()> {
        lock(&self.attempts).push(attempt.clone());
        Ok(())
    }

    async fn forget(&self, attempt: &Attempt) {
        lock(&self.attempts).retain(|noted| noted.nonce != attempt.nonce);
    }

    async fn attempts(&self, repository: RepoUuid) -> std::io::Result<Vec<Attempt>> {
        Ok(lock(&self.attempts).iter().filter(|a| a.repository == repository).cloned().collect())
    }

    async fn fact(&self, name: &str) -> Option<String> {
        lock(&self.facts).get(name).cloned()
    }

    async fn set_fact(&self, name: &str, value: String) {
        lock(&self.facts).insert(name.to_owned(), value);
    }
}

/// A poisoned lock only means that another thread panicked; the notes themselves are whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
