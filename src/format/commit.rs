//! Commits: canonical JSON whose hash is the commit's id.

use std::collections::BTreeMap;

use crate::types::{CommitId, Location, NodeId, Nonce, Span, Timestamp};

use super::FormatError;

/// What a commit holds in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Entries of every kind.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// A commit's hashed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Root node of its tree.
    pub tree: NodeId,
    /// Parents, first parent first; none for the first commit.
    pub parents: Vec<CommitId>,
    /// Who: `Name <mail>`, at most 1,024 bytes.
    pub author: String,
    /// When it was made.
    pub time: Timestamp,
    /// Why, at most 1 MiB.
    pub message: String,
    /// Free pairs, such as a job id.
    pub metadata: BTreeMap<String, String>,
    /// What it holds; equal to the counts of its root node.
    pub totals: Totals,
    /// Random, so that a commit made again after a fence has an id of its own.
    pub nonce: Nonce,
}

/// Where a commit's nodes lie: beside the body, not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CommitPlace {
    /// The root node.
    pub root: Location,
    /// The run that holds the interior nodes this commit wrote (the root among them), last in its pack.
    pub interior: Span,
}

/// A commit as stored under `commits/`: body and place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommit {
    /// The hashed body.
    pub commit: Commit,
    /// Where its nodes lie.
    pub place: CommitPlace,
}

impl Commit {
    /// The canonical JSON: what is hashed.
    pub fn canonical_json(&self) -> String {
        unimplemented!()
    }

    /// BLAKE3 of the canonical JSON.
    pub fn id(&self) -> CommitId {
        CommitId::of(self.canonical_json().as_bytes())
    }
}

impl StoredCommit {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Decodes the object stored for `id` and checks hash and rules.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(_id: CommitId, _bytes: &[u8]) -> Result<Self, FormatError> {
        unimplemented!()
    }
}
