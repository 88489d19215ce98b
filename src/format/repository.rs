//! `format.json`: what a repository is, written once by `init`.

use crate::types::{RepoUuid, Timestamp};

use super::FormatError;

/// FastCDC's parameters, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkerParameters {
    /// Shortest chunk (but the last).
    pub min: u32,
    /// Average.
    pub average: u32,
    /// Longest chunk.
    pub max: u32,
}

/// The repository's own description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryFormat {
    /// Which repository.
    pub uuid: RepoUuid,
    /// When it was made.
    pub created: Timestamp,
    /// The default branch.
    pub default_branch: crate::types::RefName,
    /// The chunker.
    pub chunker: ChunkerParameters,
    /// Seed of the node cuts.
    pub cut_seed: [u8; 32],
}

impl RepositoryFormat {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Decodes `format.json`.
    ///
    /// # Errors
    /// [`FormatError::Newer`] for a newer version, else [`FormatError::Malformed`].
    pub fn decode(_bytes: &[u8]) -> Result<Self, FormatError> {
        unimplemented!()
    }
}
