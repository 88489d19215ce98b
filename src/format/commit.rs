//! Commits: canonical JSON whose hash is the commit's id.
//!
//! The object under `commits/` has two lines: the body, which is hashed, and the place of its nodes, which is a hint.
//! Both are canonical JSON and re-encoded at decode, so a commit has one body and one id.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{CommitId, Location, NodeId, Nonce, Span, Timestamp};

use super::fields::{Fields, newer_or};
use super::{FORMAT_VERSION, FormatError, JsonValue, MAX_ENTRIES, hints};

const WHAT: &str = "commit";

/// Longest author (and `who` of a record): names and addresses are far shorter.
pub(super) const MAX_AUTHOR_BYTES: usize = 1 << 10;
const MAX_MESSAGE_BYTES: usize = 1 << 20;
const MAX_METADATA_PAIRS: usize = 256;
const MAX_METADATA_BYTES: usize = 64 << 10;
/// Merges have two; an octopus of sixteen is more than anyone reads.
const MAX_PARENTS: usize = 16;

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
    /// Parents, first parent first; none for the first commit. At most 16, each once.
    pub parents: Vec<CommitId>,
    /// Who: `Name <mail>`, at most 1,024 bytes.
    pub author: String,
    /// When it was made.
    pub time: Timestamp,
    /// Why, at most 1 MiB.
    pub message: String,
    /// Free pairs, such as a job id: at most 256, and 64 KiB in all.
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
        self.to_json().to_text()
    }

    /// BLAKE3 of the canonical JSON.
    pub fn id(&self) -> CommitId {
        CommitId::of(self.canonical_json().as_bytes())
    }

    /// Checks every rule that a body can break: what decoders refuse, this names beforehand.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] with the rule.
    pub fn check(&self) -> Result<(), FormatError> {
        let bad = |rule: String| Err(FormatError::malformed(WHAT, rule));
        let Totals { entries, files, bytes } = self.totals;
        let metadata: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if self.author.is_empty() || self.author.len() > MAX_AUTHOR_BYTES {
            return bad(format!(
                "author of {} bytes; 1 to {MAX_AUTHOR_BYTES} are possible",
                self.author.len()
            ));
        }
        if self.message.len() > MAX_MESSAGE_BYTES {
            return bad(format!("message of {} bytes, at most 1 MiB is possible", self.message.len()));
        }
        if self.metadata.len() > MAX_METADATA_PAIRS || metadata > MAX_METADATA_BYTES {
            return bad(format!(
                "{} metadata pairs of {metadata} bytes; {MAX_METADATA_PAIRS} of 64 KiB are possible",
                self.metadata.len()
            ));
        }
        if self.parents.len() > MAX_PARENTS {
            return bad(format!("{} parents, at most {MAX_PARENTS} are possible", self.parents.len()));
        }
        if self.parents.iter().collect::<BTreeSet<_>>().len() < self.parents.len() {
            return bad("a parent is named twice".into());
        }
        if files > entries || entries > MAX_ENTRIES || (files == 0 && bytes > 0) {
            return bad(format!("totals {:?} are not possible", self.totals));
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> JsonValue {
        let Totals { entries, files, bytes } = self.totals;
        let totals = [("entries", entries.into()), ("files", files.into()), ("bytes", bytes.into())];
        let metadata =
            self.metadata.iter().map(|(key, value)| (key.clone(), JsonValue::from(value.as_str()))).collect();
        JsonValue::object([
            ("author", self.author.as_str().into()),
            ("message", self.message.as_str().into()),
            ("metadata", JsonValue::Object(metadata)),
            ("nonce", self.nonce.to_hex().into()),
            ("parents", JsonValue::List(self.parents.iter().map(|id| id.to_hex().into()).collect())),
            ("time", self.time.to_string().into()),
            ("totals", JsonValue::object(totals)),
            ("tree", self.tree.to_hex().into()),
            ("version", u64::from(FORMAT_VERSION).into()),
        ])
    }

    pub(super) fn from_json(value: JsonValue) -> Result<Self, FormatError> {
        let mut fields = Fields::of(WHAT, value)?;
        if fields.integer::<u64>("version")? != u64::from(FORMAT_VERSION) {
            return Err(fields.bad("version", "is not 1"));
        }
        let mut parents = Vec::new();
        for parent in fields.list("parents")? {
            let JsonValue::Text(text) = parent else {
                return Err(fields.bad("parents", "holds something else than ids"));
            };
            parents.push(text.parse().map_err(|e| FormatError::malformed(WHAT, format!("parent: {e}")))?);
        }
        let mut metadata = BTreeMap::new();
        for (key, value) in fields.map("metadata")? {
            let JsonValue::Text(text) = value else {
                return Err(fields.bad("metadata", "holds something else than strings"));
            };
            metadata.insert(key, text);
        }
        let mut totals = fields.object("totals")?;
        let commit = Self {
            tree: fields.parsed("tree")?,
            parents,
            author: fields.text("author")?,
            time: fields.parsed("time")?,
            message: fields.text("message")?,
            metadata,
            totals: Totals {
                entries: totals.integer("entries")?,
                files: totals.integer("files")?,
                bytes: totals.integer("bytes")?,
            },
            nonce: fields.parsed("nonce")?,
        };
        totals.finish()?;
        fields.finish()?;
        commit.check()?;
        Ok(commit)
    }
}

impl CommitPlace {
    pub(super) fn to_json(self) -> JsonValue {
        let place = |pack: String, offset: u64, len: u64| {
            JsonValue::object([("pack", pack.into()), ("offset", offset.into()), ("len", len.into())])
        };
        let Self { root, interior } = self;
        JsonValue::object([
            ("root", place(root.pack.to_hex(), root.offset, root.len.into())),
            ("interior", place(interior.pack.to_hex(), interior.offset, interior.len)),
        ])
    }

    pub(super) fn from_json(value: JsonValue) -> Result<Self, FormatError> {
        let mut fields = Fields::of("commit place", value)?;
        let mut root = fields.object("root")?;
        let mut interior = fields.object("interior")?;
        let place = Self {
            root: Location {
                pack: root.parsed("pack")?,
                offset: root.integer("offset")?,
                len: root.integer("len")?,
            },
            interior: Span {
                pack: interior.parsed("pack")?,
                offset: interior.integer("offset")?,
                len: interior.integer("len")?,
            },
        };
        root.finish()?;
        interior.finish()?;
        fields.finish()?;
        hints::check(&place.root)?;
        let Span { offset, len, .. } = place.interior;
        if len == 0 || offset.checked_add(len).is_none() {
            return Err(FormatError::malformed("commit place", format!("interior: {len} bytes at {offset}")));
        }
        Ok(place)
    }
}

impl StoredCommit {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        format!("{}\n{}\n", self.commit.canonical_json(), self.place.to_json().to_text()).into_bytes()
    }

    /// Decodes the object stored for `id` and checks hash and rules.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(id: CommitId, bytes: &[u8]) -> Result<Self, FormatError> {
        let body_end = bytes.iter().position(|b| *b == b'\n').ok_or(FormatError::Truncated { what: WHAT })?;
        let (body, place) = (&bytes[..body_end], &bytes[body_end + 1..]);
        let actual = CommitId::of(body);
        if actual != id {
            return Err(FormatError::wrong_hash(WHAT, id, actual));
        }
        let commit = JsonValue::parse(WHAT, body)
            .and_then(Commit::from_json)
            .map_err(|error| newer_or(WHAT, body, error))?;
        // Values have one canonical text, but some types read more than one value.
        if commit.id() != id {
            return Err(FormatError::malformed(WHAT, "a field is not in its canonical spelling"));
        }
        let place = place.strip_suffix(b"\n").ok_or(FormatError::Truncated { what: "commit place" })?;
        let place = CommitPlace::from_json(JsonValue::parse("commit place", place)?)?;
        Ok(Self { commit, place })
    }
}
