//! Records of ref logs (and of the settings log): the only things in a repository that are appended to.
//!
//! One line of canonical JSON; the hash of the stored bytes, newline included, is what the next record names. The
//! head's commit stands in the record as a whole, so the newest record alone is enough to mount; its id is
//! computed anew at decode.

use std::collections::BTreeMap;

use crate::types::{CommitId, Nonce, RecordHash, RefKind, RefName, RepoUuid, Timestamp};

use super::fields::{Fields, newer_or};
use super::{Commit, CommitPlace, FORMAT_VERSION, FormatError, JsonValue, StoredCommit};

const WHAT: &str = "record";

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
    /// Number in the log, 1 to 999,999,999,999.
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
    /// Records of the settings log: the settings themselves, free pairs. Empty in a ref's log.
    pub settings: BTreeMap<String, JsonValue>,
    /// How many `Move` records the log holds, this one included: lets `ref@{n}` seek.
    pub moves: u64,
    /// Tells this attempt from every other.
    pub nonce: Nonce,
}

impl RecordName {
    /// `refs/heads/main`, `refs/tags/v1`, `settings`: how records and people name a log.
    fn to_text(&self) -> String {
        match self {
            Self::Ref(RefKind::Branch, name) => format!("refs/heads/{name}"),
            Self::Ref(RefKind::Tag, name) => format!("refs/tags/{name}"),
            Self::Settings => "settings".into(),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "settings" {
            return Some(Self::Settings);
        }
        let rest = text.strip_prefix("refs/")?;
        let (kind, name) = match rest.split_once('/')? {
            ("heads", name) => (RefKind::Branch, name),
            ("tags", name) => (RefKind::Tag, name),
            _ => return None,
        };
        Some(Self::Ref(kind, RefName::new(name).ok()?))
    }
}

impl RecordKind {
    const ALL: [Self; 5] = [Self::Birth, Self::Move, Self::Fence, Self::Settings, Self::Delete];

    fn to_text(self) -> &'static str {
        match self {
            Self::Birth => "birth",
            Self::Move => "move",
            Self::Fence => "fence",
            Self::Settings => "settings",
            Self::Delete => "delete",
        }
    }
}

impl Record {
    /// The stored bytes (canonical JSON, one line, closing newline). Their hash is the record's hash. The record must
    /// obey the rules ([`Record::check`]).
    pub fn encode(&self) -> Vec<u8> {
        let head = self.head.as_ref().map(|(id, stored)| {
            JsonValue::object([
                ("commit", stored.commit.to_json()),
                ("id", id.to_hex().into()),
                ("place", stored.place.to_json()),
            ])
        });
        let checks = self.checks.iter().map(|check| {
            JsonValue::object([
                ("detail", check.detail.as_str().into()),
                ("name", check.name.as_str().into()),
                ("passed", JsonValue::Bool(check.passed)),
            ])
        });
        let operation = JsonValue::object([
            ("name", self.operation.name.as_str().into()),
            ("reason", self.operation.reason.as_str().into()),
        ]);
        let value = JsonValue::object([
            ("checks", JsonValue::List(checks.collect())),
            ("gc_epoch", self.gc_epoch.into()),
            ("head", JsonValue::optional(head)),
            ("kind", self.kind.to_text().into()),
            ("log", self.name.to_text().into()),
            ("moves", self.moves.into()),
            ("nonce", self.nonce.to_hex().into()),
            ("operation", operation),
            ("previous_commit", JsonValue::optional(self.previous_commit.map(|id| id.to_hex()))),
            ("previous_record", JsonValue::optional(self.previous_record.map(|hash| hash.to_hex()))),
            ("repository", self.repository.to_string().into()),
            ("seq", self.seq.into()),
            ("settings", JsonValue::Object(self.settings.clone())),
            ("settings_seq", self.settings_seq.into()),
            ("version", u64::from(FORMAT_VERSION).into()),
            ("when", self.when.to_string().into()),
            ("who", self.who.as_str().into()),
        ]);
        (value.to_text() + "\n").into_bytes()
    }

    /// Decodes stored bytes and checks every rule that one record can show by itself, the commit's id included.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let record = Self::decode_strictly(bytes).map_err(|error| newer_or(WHAT, bytes, error))?;
        // Values have one canonical text, but some types read more than one value.
        if record.encode() != bytes {
            return Err(FormatError::malformed(WHAT, "a field is not in its canonical spelling"));
        }
        Ok(record)
    }

    fn decode_strictly(bytes: &[u8]) -> Result<Self, FormatError> {
        let text = bytes.strip_suffix(b"\n").ok_or(FormatError::Truncated { what: WHAT })?;
        let mut fields = Fields::of(WHAT, JsonValue::parse(WHAT, text)?)?;
        if fields.integer::<u64>("version")? != u64::from(FORMAT_VERSION) {
            return Err(fields.bad("version", "is not 1"));
        }
        let kind = fields.text("kind")?;
        let log = fields.text("log")?;
        let mut operation = fields.object("operation")?;
        let record = Self {
            repository: fields.parsed("repository")?,
            name: RecordName::from_text(&log).ok_or_else(|| fields.bad("log", "names no log"))?,
            kind: RecordKind::ALL
                .into_iter()
                .find(|k| k.to_text() == kind)
                .ok_or_else(|| fields.bad("kind", "is not known"))?,
            seq: fields.integer("seq")?,
            head: fields.optional("head")?.map(read_head).transpose()?,
            previous_commit: fields.optional_parsed("previous_commit")?,
            previous_record: fields.optional_parsed("previous_record")?,
            who: fields.text("who")?,
            when: fields.parsed("when")?,
            operation: Operation { name: operation.text("name")?, reason: operation.text("reason")? },
            checks: fields.list("checks")?.into_iter().map(read_check).collect::<Result<_, _>>()?,
            settings_seq: fields.integer("settings_seq")?,
            gc_epoch: fields.integer("gc_epoch")?,
            settings: fields.map("settings")?,
            moves: fields.integer("moves")?,
            nonce: fields.parsed("nonce")?,
        };
        operation.finish()?;
        fields.finish()?;
        record.check()?;
        Ok(record)
    }

    /// The hash of stored bytes.
    pub fn hash_of(bytes: &[u8]) -> RecordHash {
        RecordHash::of(bytes)
    }
}

fn read_head(value: JsonValue) -> Result<(CommitId, StoredCommit), FormatError> {
    let mut fields = Fields::of(WHAT, value)?;
    let id = fields.parsed("id")?;
    let commit = Commit::from_json(fields.value("commit")?)?;
    let place = CommitPlace::from_json(fields.value("place")?)?;
    fields.finish()?;
    Ok((id, StoredCommit { commit, place }))
}

fn read_check(value: JsonValue) -> Result<CheckResult, FormatError> {
    let mut fields = Fields::of(WHAT, value)?;
    let check = CheckResult {
        name: fields.text("name")?,
        passed: fields.bool("passed")?,
        detail: fields.text("detail")?,
    };
    fields.finish()?;
    Ok(check)
}
