//! Records of ref logs (and of the settings log): the only things in a repository that are appended to.

use std::collections::BTreeMap;

use crate::types::{CommitId, Nonce, RecordHash, RefKind, RefName, RepoUuid, Timestamp};

use super::{FormatError, StoredCommit};

/// Which log a record belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RecordName {
    /// A branch's or a tag's log.
    Ref(RefKind, RefName),
    /// The settings log of the repository.
    Settings,
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// The log begins; there is no commit yet.
    Birth,
    /// The ref points to another commit.
    Move,
    /// A collector raised the epoch.
    Fence,
    /// Settings changed.
    Settings,
    /// The ref is gone; a later `Birth` may begin it again.
    Delete,
}

/// The outcome of one required check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckResult {
    /// The check's name.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// Where its output is, free text.
    pub detail: String,
}

/// Which operation wrote the record, for the audit: `commit`, `add`, `merge`, `branch create`, ... and its reason.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// The command.
    pub name: String,
    /// Why, free text; may be empty.
    pub reason: String,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The repository.
    pub repository: RepoUuid,
    /// The log.
    pub name: RecordName,
    /// What it does.
    pub kind: RecordKind,
    /// Number in the log, from 1.
    pub seq: u64,
    /// The head after this record: for `Move` the new one, for `Fence` and `Settings` a repetition; none for
    /// `Birth`, `Delete`, and before the first move.
    pub head: Option<(CommitId, StoredCommit)>,
    /// The head before this record.
    pub previous_commit: Option<CommitId>,
    /// Hash of record `seq - 1`; none for seq 1.
    pub previous_record: Option<RecordHash>,
    /// Who.
    pub who: String,
    /// When; never before the previous record.
    pub when: Timestamp,
    /// Which operation, and why.
    pub operation: Operation,
    /// Results of required checks.
    pub checks: Vec<CheckResult>,
    /// Newest settings record that the writer obeyed; 0 for none.
    pub settings_seq: u64,
    /// Collector's epoch that the writer saw.
    pub gc_epoch: u64,
    /// `Settings` records of the settings log: the settings themselves, free pairs of canonical JSON texts.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// How many `Move` records the log holds, this one included: lets `ref@{n}` seek.
    pub moves: u64,
    /// Tells this attempt from every other.
    pub nonce: Nonce,
}

impl Record {
    /// The stored bytes (canonical JSON, one line, closing newline). Their hash is the record's hash.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Decodes stored bytes and checks every rule that one record can show by itself, the commit's id included.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(_bytes: &[u8]) -> Result<Self, FormatError> {
        unimplemented!()
    }

    /// The hash of stored bytes.
    pub fn hash_of(bytes: &[u8]) -> RecordHash {
        RecordHash::of(bytes)
    }
}
