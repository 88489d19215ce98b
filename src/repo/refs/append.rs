//! Appending to a log. A record is created under the next number, once, by whoever comes first (see `create`).
//!
//! Before the request is sent the attempt (log, number, nonce, commit) is noted durably on this machine, and the
//! note goes only when the outcome is final. So whatever happens to the process, [`settle_attempts`] at the next
//! command can say what became of it, from that very key.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::format::{CheckResult, JsonValue, Operation, Record, RecordKind, StoredCommit};
use crate::repo::{RepoError, Repository, layout};
use crate::types::{CommitId, Nonce};

use super::create::{CreateError, Creator, create};
use super::{Attempt, Link, Log};

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
    pub settings: BTreeMap<String, JsonValue>,
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
    /// Nothing has that number yet: it may still land. The next record of that log settles it at the latest.
    Unknown,
}

impl Log {
    /// Appends a record behind `after` (none: the first of the log).
    ///
    /// # Errors
    /// [`RepoError::OutcomeUnknown`]; a refusal by the store (then nothing was appended); [`RepoError::Local`] when the
    /// attempt cannot be noted and [`RepoError::Unstorable`] (then nothing was sent).
    pub async fn append(&self, after: Option<&Link>, draft: Draft) -> Result<Appended, RepoError> {
        let record = self.record_behind(after.map(|link| (&link.record, link.hash)), draft);
        record.check().map_err(RepoError::Unstorable)?;
        let bytes = Bytes::from(record.encode());
        let attempt = Attempt {
            repository: record.repository,
            log: self.prefix().to_owned(),
            label: self.label().to_owned(),
            seq: record.seq,
            nonce: record.nonce,
            commit: record.head.as_ref().map(|(id, _)| *id),
            when: record.when,
            given_up: false,
        };
        let link = Arc::new(Link { record, hash: Record::hash_of(&bytes) });

        let repository = self.repository();
        let notebook = repository.notebook();
        notebook.note(&attempt).await.map_err(|source| notes_failed("noting an attempt in", source))?;
        let store = repository.store();
        let random = &*repository.services().random;
        let is_mine = |bytes: &[u8]| Ok(Record::decode(bytes)?.nonce == attempt.nonce);
        match create(&**store, random, &self.key(attempt.seq), bytes, is_mine).await {
            Ok(Creator::Me) => {
                notebook.forget(&attempt).await;
                self.remember(&link).await;
                Ok(Appended::Won(link))
            }
            Ok(Creator::Another) => {
                notebook.forget(&attempt).await;
                Ok(Appended::Lost)
            }
            Err(CreateError::Refused(source)) => {
                notebook.forget(&attempt).await;
                Err(source.into())
            }
            Err(CreateError::Unknown(source)) => {
                let attempt = Attempt { given_up: true, ..attempt };
                // The note is there already; it only takes the next command longer to speak of it.
                if let Err(error) = notebook.note(&attempt).await {
                    tracing::debug!(%error, "the attempt's note does not say that it was given up");
                }
                Err(RepoError::OutcomeUnknown { attempt: Box::new(attempt), source })
            }
        }
    }

    fn record_behind(&self, before: Option<(&Record, crate::types::RecordHash)>, draft: Draft) -> Record {
        let services = self.repository().services();
        let (before, previous_record) = before.unzip();
        let old_head = before.and_then(|record| record.head.clone());
        let previous_commit = old_head.as_ref().map(|(id, _)| *id);
        let head = match draft.kind {
            RecordKind::Move => draft.head,
            RecordKind::Fence | RecordKind::Settings => old_head,
            RecordKind::Birth | RecordKind::Delete => None,
        };
        let now = services.clock.now();
        Record {
            repository: self.repository().format().uuid,
            name: self.name().clone(),
            kind: draft.kind,
            seq: before.map_or(1, |record| record.seq + 1),
            head,
            previous_commit,
            previous_record,
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
        }
    }
}

/// Settles the attempts noted on this machine: one GET of each one's very key. Nothing is forgotten yet: a process
/// that is killed now would take the answers with it, so the caller tells the user first, then calls [`forget_settled`].
/// An attempt of a process that is still at work may be among them; to settle it twice is harmless.
///
/// # Errors
/// [`RepoError::Local`] when the notes cannot be read; any failure of the store.
pub async fn settle_attempts(repository: &Repository) -> Result<Vec<(Attempt, Outcome)>, RepoError> {
    let notebook = repository.notebook();
    let attempts = notebook
        .attempts(repository.format().uuid)
        .await
        .map_err(|source| notes_failed("reading the attempts noted in", source))?;
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
        settled.push((attempt, outcome));
    }
    Ok(settled)
}

/// Forgets the attempts whose outcome is final, now that it has been told.
pub async fn forget_settled(repository: &Repository, settled: &[(Attempt, Outcome)]) {
    for (attempt, outcome) in settled {
        if *outcome != Outcome::Unknown {
            repository.notebook().forget(attempt).await;
        }
    }
}

fn notes_failed(action: &'static str, source: std::io::Error) -> RepoError {
    RepoError::Local { action, path: "the index".into(), source }
}
