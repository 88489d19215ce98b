//! Reading a log: which record is the newest, and may it be believed?
//!
//! A listing shows the highest numbers first (keys hold the complement). What is found there is judged:
//!
//! - **Out of sequence**: below the newest numbers, at most [`LISTED`] back, one is missing. No honest writer makes n without having
//!   read n-1, and records are not removed while their log lives. So either a broken writer made what is above the gap
//!   (a *wild number*), or record n-1 was lost. It is a wild number when the object above the gap is no record of this log, or
//!   when it continues the record below the gap: then its writer did not read n-1. It and what hangs on it is ignored and
//!   reported, and the next lower number is looked at; at most [`MAX_IGNORED`] objects, since beyond that nobody should guess.
//!   **Otherwise it is an error**: the record says that n-1 existed, and to show what is below the gap would be to show
//!   old data as new.
//! - **In sequence but unreadable, of another log, or not continuing n-1's bytes**: damage. It is an error, not
//!   ignored: the object may be the true head, and showing the one before it would be showing old data as new.
//! - **Lower than a record that this machine has seen**, or other bytes than it has seen: an error too.
//!
//! Repair of the first two: look at the object named; restore it (or the one missing before it) from the bucket's own versions
//! if it was a good record, delete it if it was not.
//!
//! One GET of n and one of n-1 run side by side; n-1 is skipped when its hash is known to this process or machine. A machine
//! that has seen a record above a gap does not mind the gap: only the past was lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::future::join;

use crate::format::{FormatError, Record, RecordName};
use crate::repo::{RepoError, Repository, layout};
use crate::store::{Grouping, Key, ListRequest};
use crate::types::{RecordHash, RefKind, RefName, RepoUuid};

use super::Anchor;

/// How many strange objects in front of the newest record are looked past.
const MAX_IGNORED: usize = 32;

/// How many keys a listing asks for. It costs what a listing of one does, and shows a gap below as many wild numbers in a row, less
/// one; beyond that only [`Log::verify`] finds them.
const LISTED: usize = 64;

/// A record that was read or written, and the hash of its bytes, which the next record repeats.
#[derive(Debug, Clone)]
pub struct Link {
    /// The record.
    pub record: Record,
    /// The hash of its stored bytes.
    pub hash: RecordHash,
}

/// An object in a log's folder that is not part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Its key.
    pub key: Key,
    /// Why it is not believed.
    pub reason: String,
}

/// The newest record of a log, and what had to be ignored to find it.
#[derive(Debug, Clone)]
pub struct Newest {
    /// The record; none when the log is empty.
    pub link: Option<Arc<Link>>,
    /// Strange objects in front of it; also in the program's log.
    pub ignored: Vec<Ignored>,
}

/// Numbers of records that follow each other.
#[derive(Debug, Clone, Copy)]
struct Strand {
    /// The highest.
    top: u64,
    /// The lowest that the listing showed.
    bottom: u64,
    /// The next number that it showed.
    below: Option<u64>,
    /// Whether it showed that the number before `bottom` is missing.
    ends: bool,
}

/// The newest record of each log that this process has seen.
#[derive(Debug, Default)]
pub struct LogMemory(Mutex<HashMap<String, Arc<Link>>>);

/// One log of a repository.
#[derive(Debug, Clone)]
pub struct Log {
    repository: Repository,
    name: RecordName,
    prefix: String,
    label: String,
}

impl Log {
    /// The log of a branch or tag.
    pub fn of_ref(repository: &Repository, kind: RefKind, name: &RefName) -> Self {
        Self {
            repository: repository.clone(),
            name: RecordName::Ref(kind, name.clone()),
            prefix: layout::log_prefix(kind, name),
            label: format!("{} {name}", kind.noun()),
        }
    }

    /// The log of the repository's settings.
    pub fn of_settings(repository: &Repository) -> Self {
        Self {
            repository: repository.clone(),
            name: RecordName::Settings,
            prefix: layout::SETTINGS_PREFIX.to_owned(),
            label: "the settings log".to_owned(),
        }
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Which log.
    pub fn name(&self) -> &RecordName {
        &self.name
    }

    /// What its keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// For people: `branch main`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The key of record `seq`.
    pub fn key(&self, seq: u64) -> Key {
        layout::record(&self.prefix, seq)
    }

    /// Finds and judges the newest record: one LIST and at most two GETs, two in sequence, unless strange objects
    /// are in the way.
    ///
    /// # Errors
    /// [`RepoError::Damaged`], [`RepoError::Missing`], [`RepoError::WentBack`], any failure of the store.
    pub async fn newest(&self) -> Result<Newest, RepoError> {
        // Read before the listing: another process may raise it afterwards.
        let known = self.repository.log_memory().get(&self.prefix);
        let anchor = match &known {
            Some(link) => Some(Anchor { seq: link.record.seq, hash: link.hash }),
            None => self.repository.notebook().anchor(self.uuid(), &self.prefix).await,
        };
        let mut ignored = Vec::new();
        let mut behind = None;
        loop {
            let Some(strand) = self.strand(behind.take(), &mut ignored).await? else {
                self.must_not_go_back(anchor, None)?;
                return Ok(Newest { link: None, ignored });
            };
            let seq = strand.top;
            if let Some(link) = known.as_ref().filter(|link| link.record.seq == seq) {
                return Ok(Newest { link: Some(Arc::clone(link)), ignored });
            }
            if self.is_wild(&strand, anchor).await? {
                for seq in (strand.bottom..=strand.top).rev() {
                    let reason = format!("there is no record {} before it", strand.bottom - 1);
                    self.ignore(&mut ignored, &self.key(seq), reason)?;
                }
                behind = Some(self.key(strand.bottom));
                continue;
            }
            let link = self.judge(seq, anchor).await?;
            self.must_not_go_back(anchor, Some(seq))?;
            let link = Arc::new(link);
            self.remember(&link).await;
            return Ok(Newest { link: Some(link), ignored });
        }
    }

    /// Record `seq`, decoded and checked by itself; its place in the chain is not checked.
    ///
    /// # Errors
    /// [`RepoError::Missing`], [`RepoError::Damaged`], any failure of the store.
    pub async fn record(&self, seq: u64) -> Result<Link, RepoError> {
        let key = self.key(seq);
        let bytes = self.repository.get(&key).await?;
        self.decode(seq, &key, &bytes)
    }

    /// Decodes a record's bytes and checks that they belong under this key.
    pub(super) fn decode(&self, seq: u64, key: &Key, bytes: &[u8]) -> Result<Link, RepoError> {
        let record = Record::decode(bytes).map_err(|source| self.repository.damaged(key, source))?;
        let foreign = if record.repository != self.repository.format().uuid {
            Some(format!("it belongs to repository {}", record.repository))
        } else if record.name != self.name {
            Some("it belongs to another log".to_owned())
        } else if record.seq != seq {
            Some(format!("it is record {}", record.seq))
        } else {
            None
        };
        match foreign {
            None => Ok(Link { record, hash: Record::hash_of(bytes) }),
            Some(rule) => Err(self.repository.damaged(key, FormatError::malformed("record", rule))),
        }
    }

    /// Keeps the newest record in mind, here and on the machine.
    pub(super) async fn remember(&self, link: &Arc<Link>) {
        if self.repository.log_memory().raise(&self.prefix, link) {
            let seen = Anchor { seq: link.record.seq, hash: link.hash };
            self.repository.notebook().raise_anchor(self.uuid(), &self.prefix, seen).await;
        }
    }

    /// Notes go by uuid, not by place: a repository that moved keeps its anchors, one that was replaced has none.
    fn uuid(&self) -> RepoUuid {
        self.repository.format().uuid
    }

    /// The highest numbers behind `behind`, as far as they follow each other in one listing.
    async fn strand(
        &self,
        behind: Option<Key>,
        ignored: &mut Vec<Ignored>,
    ) -> Result<Option<Strand>, RepoError> {
        let mut start_after = behind.map(|key| key.as_str().to_owned());
        loop {
            let request = ListRequest {
                prefix: self.prefix.clone(),
                start_after: start_after.take(),
                grouping: Grouping::Flat,
                max_keys: LISTED,
            };
            let page = self.repository.store().list(&request).await?;
            let mut strand: Option<Strand> = None;
            for object in &page.objects {
                match (layout::record_seq(&self.prefix, &object.key), &mut strand) {
                    (Some(seq), None) => {
                        strand = Some(Strand { top: seq, bottom: seq, below: None, ends: false });
                    }
                    (Some(seq), Some(strand)) if seq + 1 == strand.bottom => strand.bottom = seq,
                    (Some(seq), Some(strand)) => {
                        (strand.below, strand.ends) = (Some(seq), true);
                        break;
                    }
                    (None, None) => {
                        self.ignore(ignored, &object.key, "its key is not spelt as a record's".into())?;
                    }
                    // Not in front of the newest record, so in nobody's way.
                    (None, Some(_)) => {}
                }
            }
            match (strand, page.next) {
                (Some(strand), next) => {
                    let ends = strand.ends || next.is_none();
                    return Ok(Some(Strand { ends, ..strand }));
                }
                (None, Some(next)) => start_after = Some(next),
                (None, None) => return Ok(None),
            }
        }
    }

    /// Whether the records of `strand` hang in the air because a broken writer made them.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] when they may as well be the newest records of a log that has lost the one before them.
    async fn is_wild(&self, strand: &Strand, anchor: Option<Anchor>) -> Result<bool, RepoError> {
        let Strand { top, bottom, below, ends } = *strand;
        // A page may be shorter than what was asked for: of a lone number nothing is known yet.
        let complete = bottom == 1 || !(ends || top == bottom);
        if complete || anchor.is_some_and(|anchor| anchor.seq >= bottom) {
            return Ok(false);
        }
        let missing = bottom - 1;
        if let Some(anchor) = anchor.filter(|anchor| anchor.seq == missing) {
            self.must_follow(self.record(bottom).await?, Some(anchor.hash))?;
            return Ok(false);
        }
        // Some stores list late.
        match self.repository.store().get(&self.key(missing)).await {
            Err(error) if error.is_not_found() => {}
            other => return other.map(|_| false).map_err(RepoError::from),
        }
        let link = match self.record(bottom).await {
            Err(RepoError::Damaged { .. }) if top == bottom => return Ok(true),
            other => other?,
        };
        if let Some(below) = below {
            let bytes = self.repository.get(&self.key(below)).await?;
            if link.record.previous_record == Some(Record::hash_of(&bytes)) {
                return Ok(true);
            }
        }
        let newest = if top == bottom { link } else { self.record(top).await? };
        let head = newest.record.head.map_or_else(String::new, |(id, _)| {
            format!(" (record {top} names commit {}, which can be read by its id)", id.to_hex())
        });
        let rule = format!(
            "it continues record {missing}, which does not exist: if that one was lost, restore it from the bucket's versions; \
             if record {bottom} is not of this log, delete it and what is above it{head}"
        );
        Err(self.altered(&self.key(bottom), rule))
    }

    /// Record `seq`, which continues the one before it.
    async fn judge(&self, seq: u64, anchor: Option<Anchor>) -> Result<Link, RepoError> {
        let key = self.key(seq);
        if let Some(anchor) = anchor.filter(|anchor| anchor.seq == seq) {
            let link = self.record(seq).await?;
            return if link.hash == anchor.hash {
                Ok(link)
            } else {
                Err(self.altered(&key, format!("this machine has seen record {seq} with other bytes")))
            };
        }
        let known = anchor.filter(|anchor| anchor.seq + 1 == seq).map(|anchor| anchor.hash);
        if seq == 1 || known.is_some() {
            let link = self.record(seq).await?;
            return self.must_follow(link, known);
        }
        let previous_key = self.key(seq - 1);
        let (bytes, previous) = join(self.repository.get(&key), self.repository.get(&previous_key)).await;
        let link = self.decode(seq, &key, &bytes?)?;
        self.must_follow(link, Some(Record::hash_of(&previous?)))
    }

    /// Checks that a record continues the one whose hash is given (none for the first).
    pub(super) fn must_follow(&self, link: Link, previous: Option<RecordHash>) -> Result<Link, RepoError> {
        if link.record.previous_record == previous {
            return Ok(link);
        }
        let seq = link.record.seq;
        let rule = format!(
            "it does not continue record {}: one of the two was altered, or another writer's log was copied here",
            seq.saturating_sub(1)
        );
        Err(self.altered(&self.key(seq), rule))
    }

    pub(super) fn altered(&self, key: &Key, rule: String) -> RepoError {
        self.repository.damaged(key, FormatError::malformed("record", rule))
    }

    fn ignore(&self, ignored: &mut Vec<Ignored>, key: &Key, reason: String) -> Result<(), RepoError> {
        tracing::warn!(log = %self.label, object = %key, %reason, "ignored: not a record of this log; see the repair in docs/format.md");
        ignored.push(Ignored { key: key.clone(), reason });
        if ignored.len() <= MAX_IGNORED {
            return Ok(());
        }
        let rule = format!("more than {MAX_IGNORED} objects that are no records hide the newest record");
        Err(self.repository.damaged(&self.prefix, FormatError::malformed("log", rule)))
    }

    fn must_not_go_back(&self, anchor: Option<Anchor>, found: Option<u64>) -> Result<(), RepoError> {
        match anchor {
            Some(anchor) if found.is_none_or(|found| found < anchor.seq) => Err(RepoError::WentBack {
                log: self.label.clone(),
                repository: self.repository.store().describe(),
                seen: anchor.seq,
                found,
            }),
            _ => Ok(()),
        }
    }
}

impl LogMemory {
    fn get(&self, prefix: &str) -> Option<Arc<Link>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).get(prefix).cloned()
    }

    /// Whether `link` is newer than what was known.
    fn raise(&self, prefix: &str, link: &Arc<Link>) -> bool {
        let mut logs = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let newer = logs.get(prefix).is_none_or(|known| known.record.seq < link.record.seq);
        if newer {
            logs.insert(prefix.to_owned(), Arc::clone(link));
        }
        newer
    }
}
