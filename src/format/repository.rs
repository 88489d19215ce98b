//! `format.json`: what a repository is, written once by `init`.

use crate::types::{RefName, RepoUuid, Timestamp};

use super::fields::{Fields, newer_or};
use super::{FORMAT_VERSION, FormatError, JsonValue, MAX_CHUNK_BYTES};

const WHAT: &str = "format.json";

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
    pub default_branch: RefName,
    /// The chunker.
    pub chunker: ChunkerParameters,
    /// Seed of the node cuts.
    pub cut_seed: [u8; 32],
}

impl ChunkerParameters {
    /// What `init` writes: 256 KiB, 512 KiB, 4 MiB (`docs/design/0009-how-long-chunks-are.md`).
    pub const DEFAULT: Self = Self { min: 256 << 10, average: 512 << 10, max: MAX_CHUNK_BYTES };

    /// Checks the order and the ranges in which FastCDC is defined.
    ///
    /// # Errors
    /// [`FormatError::Malformed`].
    pub fn check(&self) -> Result<(), FormatError> {
        let Self { min, average, max } = *self;
        // Below 1 KiB a file of 1 TiB would have more than a billion chunks. FastCDC tests bytes in pairs: an odd
        // limit would mean another one.
        let odd = [min, average, max].iter().any(|n| n % 2 == 1);
        if odd || min < 1024 || min >= average || average >= max || max > MAX_CHUNK_BYTES || min > 1 << 20 {
            return Err(FormatError::malformed(WHAT, format!("chunker {min}, {average}, {max} bytes")));
        }
        Ok(())
    }
}

impl RepositoryFormat {
    /// The object's bytes: canonical JSON and a newline.
    pub fn encode(&self) -> Vec<u8> {
        let ChunkerParameters { min, average, max } = self.chunker;
        let chunker = JsonValue::object([
            ("average", u64::from(average).into()),
            ("max", u64::from(max).into()),
            ("min", u64::from(min).into()),
        ]);
        let value = JsonValue::object([
            ("chunker", chunker),
            ("created", self.created.to_string().into()),
            ("cut_seed", blake3::Hash::from_bytes(self.cut_seed).to_hex().as_str().into()),
            ("default_branch", self.default_branch.as_str().into()),
            ("hash", "blake3".into()),
            ("uuid", self.uuid.to_string().into()),
            ("version", u64::from(FORMAT_VERSION).into()),
        ]);
        (value.to_text() + "\n").into_bytes()
    }

    /// Decodes `format.json`.
    ///
    /// # Errors
    /// [`FormatError::Newer`] for a newer version, else [`FormatError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::decode_strictly(bytes).map_err(|error| newer_or(WHAT, bytes, error))
    }

    fn decode_strictly(bytes: &[u8]) -> Result<Self, FormatError> {
        let text = bytes.strip_suffix(b"\n").ok_or(FormatError::Truncated { what: WHAT })?;
        let mut fields = Fields::of(WHAT, JsonValue::parse(WHAT, text)?)?;
        if fields.integer::<u64>("version")? != u64::from(FORMAT_VERSION) {
            return Err(fields.bad("version", "is not 1"));
        }
        if fields.text("hash")? != "blake3" {
            return Err(fields.bad("hash", "is not blake3"));
        }
        let mut chunker = fields.object("chunker")?;
        let seed = blake3::Hash::from_hex(fields.text("cut_seed")?);
        let format = Self {
            uuid: fields.parsed("uuid")?,
            created: fields.parsed("created")?,
            default_branch: fields.parsed("default_branch")?,
            chunker: ChunkerParameters {
                min: chunker.integer("min")?,
                average: chunker.integer("average")?,
                max: chunker.integer("max")?,
            },
            cut_seed: *seed.map_err(|_| fields.bad("cut_seed", "is not 64 hex digits"))?.as_bytes(),
        };
        chunker.finish()?;
        fields.finish()?;
        format.chunker.check()?;
        // Values have one canonical text, but some types read more than one value.
        if format.encode() != bytes {
            return Err(FormatError::malformed(WHAT, "a field is not in its canonical spelling"));
        }
        Ok(format)
    }
}
