//! Appending to a log, and how an ambiguous append is settled.
//!
//! A record is created under the next number with a conditional PUT. The answer to such a request can be lost, and
//! a repeated request can meet its own first try, so the answer alone decides nothing but success. The argument:
//!
//! 1. Before the first PUT the attempt (log, number, nonce, commit) is noted durably on this machine.
//! 2. After a conflict, a time-out or a failure of the store, *the same bytes* are sent again until the key exists.
//!    Sending them twice is safe: a key is created once, and both carry the same nonce.
//! 3. "It exists" is settled by reading that very key: my nonce means that one of my requests made it, another nonce
//!    that another writer did. A key never changes, so both answers are final, however many of my requests still travel.
//! 4. "It does not exist" on that reading proves nothing (a request may still be travelling), so it never counts as
//!    failure: the PUT is sent again.
//! 5. If the key cannot be made to exist and read in time, the outcome is unknown and is reported as that. The note
//!    stays; [`settle_attempts`] reads the key at the next command.
//!
//! A definite refusal (no rights, say) of the only request sent is a plain failure: nothing can be travelling.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::format::{CheckResult, Operation, Record, RecordKind, StoredCommit};
use crate::repo::{RepoError, Repository, layout};
use crate::store::{Key, StoreError, StoreErrorKind};
use crate::types::{CommitId, Nonce};

use super::pause::Backoff;
use super::{Attempt, Link, Log};

/// How long an append is tried before its outcome is called unknown: as long as reads wait for a network.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// What a new record says; the log adds the rest.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it does.
    pub kind: RecordKind,
    /// The new head for `Move`; ignored for all other kinds.
    pub head: Option<(CommitId, StoredCommit)>,
    /// Which operation, and why.
    pub operation: Operation,
    /// Results of required checks.
    pub checks: Vec<CheckResult>,
    /// For the settings log.
    pub settings: BTreeMap<String, crate::format::JsonValue>,
    /// Newest settings record that the writer obeyed.
    pub settings_seq: u64,
    /// Collector's epoch that the writer saw.
    pub gc_epoch: u64,
}

/// How an append ended.
#[derive(Debug, Clone)]
pub enum Appended {
    /// The record is in the log.
    Won(Arc<Link>),
    /// Another writer's record has that number; ours is not in the log and never will be.
    Lost,
}

/// How an attempt of an earlier command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its record is in the log.
    Landed,
    /// Another record has its number: it never happened.
    Failed,
    /// Nothing has that number yet: it may still land. It is settled by the next record of that log at the latest.
    Unknown,
}

/// What one reading of the contested key shows.
enum Owner {
    Mine,
    Another,
    Nobody,
}

impl Log {
    /// Appends a record behind `after` (none: the first of the log).
    ///
    /// # Errors
    /// [`RepoError::OutcomeUnknown`]; any definite failure of the store (then nothing was appended); [`RepoError::Local`]
    /// when the attempt cannot be noted.
    pub async fn append(&self, after: Option<&Link>, draft: Draft) -> Result<Appended, RepoError> {
        let link = self.link(after, draft);
        let attempt = Attempt {
            repository: link.record.repository,
            log: self.prefix().to_owned(),
            label: self.label().to_owned(),
            seq: link.record.seq,
            nonce: link.record.nonce,
            commit: link.record.head.as_ref().map(|(id, _)| *id),
            when: link.record.when,
        };
        let notebook = self.repository().notebook();
        notebook.note(&attempt).await.map_err(|source| RepoError::Local {
            action: "noting an attempt in",
            path: "the index".into(),
            source,
        })?;
        let bytes = Bytes::from(link.record.encode());
        let result = self.settle_put(&attempt, bytes).await;
        if !matches!(result, Err(RepoError::OutcomeUnknown { .. })) {
            notebook.forget(&attempt).await;
        }
        if !result? {
            return Ok(Appended::Lost);
        }
        let link = Arc::new(link);
        self.remember(&link).await;
        Ok(Appended::Won(link))
    }

    /// The record that follows `after`.
    fn link(&self, after: Option<&Link>, draft: Draft) -> Link {
        let services = self.repository().services();
        let before = after.map(|link| &link.record);
        let old_head = before.and_then(|record| record.head.clone());
        let previous_commit = old_head.as_ref().map(|(id, _)| *id);
        let head = match draft.kind {
            RecordKind::Move => draft.head,
            RecordKind::Fence | RecordKind::Settings => old_head,
            RecordKind::Birth | RecordKind::Delete => None,
        };
        let now = services.clock.now();
        let record = Record {
            repository: self.repository().format().uuid,
            name: self.name().clone(),
            kind: draft.kind,
            seq: before.map_or(1, |record| record.seq + 1),
            head,
            previous_commit,
            previous_record: after.map(|link| link.hash),
            who: services.who.clone(),
            // A clock set back must not make the log say that a later record is older.
            when: before.map_or(now, |record| record.when.max(now)),
            operation: draft.operation,
            checks: draft.checks,
            settings_seq: draft.settings_seq,
            gc_epoch: draft.gc_epoch,
            settings: draft.settings,
            moves: before.map_or(0, |record| record.moves) + u64::from(draft.kind == RecordKind::Move),
            nonce: Nonce::from_bytes(services.random.bytes16()),
        };
        let hash = Record::hash_of(&record.encode());
        Link { record, hash }
    }

    /// Sends the bytes until the key exists, then says whether they are what is there.
    async fn settle_put(&self, attempt: &Attempt, bytes: Bytes) -> Result<bool, RepoError> {
        let key = self.key(attempt.seq);
        let store = self.repository().store();
        let deadline = Instant::now() + SETTLE_LIMIT;
        let unknown = |source| RepoError::OutcomeUnknown { attempt: Box::new(attempt.clone()), source };
        let mut may_travel = false;
        let mut backoff = Backoff::new();
        loop {
            let answer = timeout_at(deadline, store.put_new(&key, bytes.clone())).await;
            let error = match answer {
                Ok(Ok(())) => return Ok(true),
                Ok(Err(error)) => error,
                Err(_) => return Err(unknown(self.no_answer("put", &key))),
            };
            let error = if error.is_already_exists() {
                match timeout_at(deadline, self.owner(&key, attempt)).await {
                    Ok(Ok(Owner::Mine)) => return Ok(true),
                    Ok(Ok(Owner::Another)) => return Ok(false),
                    Ok(Ok(Owner::Nobody)) => error,
                    Ok(Err(failed)) if failed.is_ambiguous() => failed,
                    Ok(Err(failed)) => return Err(unknown(failed)),
                    Err(_) => return Err(unknown(self.no_answer("get", &key))),
                }
            } else if error.is_ambiguous() || error.is_transient() {
                error
            } else if may_travel {
                return Err(unknown(error));
            } else {
                return Err(error.into());
            };
            may_travel = true;
            if Instant::now() >= deadline {
                return Err(unknown(error));
            }
            tracing::debug!(object = %key, %error, "appending again until the key exists");
            backoff.wait(self.repository()).await;
        }
    }

    /// Whose record is under `key`? Bytes that cannot be read as a record decide nothing: they are read again.
    async fn owner(&self, key: &Key, attempt: &Attempt) -> Result<Owner, StoreError> {
        let store = self.repository().store();
        let bytes = match store.get(key).await {
            Err(error) if error.is_not_found() => return Ok(Owner::Nobody),
            other => other?,
        };
        match Record::decode(&bytes) {
            Ok(record) if record.nonce == attempt.nonce => Ok(Owner::Mine),
            Ok(_) => Ok(Owner::Another),
            Err(error) => {
                Err(StoreError::new(StoreErrorKind::BadAnswer, "get", key, store.describe(), error))
            }
        }
    }

    fn no_answer(&self, operation: &'static str, key: &Key) -> StoreError {
        let seconds = SETTLE_LIMIT.as_secs();
        let detail = format!("no answer within {seconds} s");
        let store = self.repository().store().describe();
        StoreError::new(StoreErrorKind::Timeout, operation, key, store, detail)
    }
}

/// Settles the attempts of earlier commands on this machine: one GET of each one's very key.
///
/// # Errors
/// [`RepoError::Local`] when the notes cannot be read; any failure of the store (the rest stays noted).
pub async fn settle_attempts(repository: &Repository) -> Result<Vec<(Attempt, Outcome)>, RepoError> {
    let notebook = repository.notebook();
    let attempts = notebook.attempts(repository.format().uuid).await.map_err(|source| RepoError::Local {
        action: "reading the attempts noted in",
        path: "the index".into(),
        source,
    })?;
    let mut settled = Vec::new();
    for attempt in attempts {
        let key = layout::record(&attempt.log, attempt.seq);
        let outcome = match repository.store().get(&key).await {
            Err(error) if error.is_not_found() => Outcome::Unknown,
            Err(error) => return Err(error.into()),
            Ok(bytes) => match Record::decode(&bytes) {
                Ok(record) if record.nonce == attempt.nonce => Outcome::Landed,
                Ok(_) => Outcome::Failed,
                Err(source) => return Err(repository.damaged(&key, source)),
            },
        };
        if outcome != Outcome::Unknown {
            notebook.forget(&attempt).await;
        }
        settled.push((attempt, outcome));
    }
    Ok(settled)
}
