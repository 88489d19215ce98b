//! Whether a store keeps its conditions: asked before anything is written to it.
//!
//! A ref moves by creating an object that did not exist, and nothing else protects it. Stores are known that ignore the
//! condition (everybody wins) and that check it without a lock (everybody wins who comes at the same moment). A single
//! second try shows the first kind only; so sixteen creations of one key end at the same moment (see `s3/gate.rs`), with
//! small bodies and with larger ones, which take longer to write. Each round must have exactly one winner, and what is
//! read afterwards must be the winner's body.
//!
//! Servers that keep their conditions may still answer losers with 500, 409 or nothing: that proves nothing either way,
//! and the object that is read settles who won.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Key, ListRequest, Store, StoreError, StoreErrorKind, list_all};
use crate::types::Random;

/// Creations of one key at once.
const CONTENDERS: usize = 16;

/// Bodies of the rounds, in bytes, in this order; together they send 4 MiB. The racy store known to us (s3s-fs) was caught
/// by the first round in 60 of 60 probes, with sixteen winners each; the further rounds are for stores whose window is
/// narrower. (Without the gate it passed all eight rounds now and then.)
const ROUNDS: [usize; 8] = [64, 64 << 10, 64, 64 << 10, 64, 64 << 10, 64, 64 << 10];

/// How often a round in which nothing could be decided is held again.
const UNDECIDED: usize = 5;

/// The wait before such a repetition, and after its first failure to read.
const PAUSE: Duration = Duration::from_millis(300);

/// What the probe did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Rounds of sixteen creations, each with one winner.
    pub rounds: usize,
    /// Losers that were answered with an error instead of "exists"; settled by reading.
    pub unclear_answers: usize,
    /// Scratch objects that could not be removed (the credentials may not delete); they are small and harmless.
    pub left_over: usize,
    /// How long it took.
    pub took: Duration,
}

/// Why a repository must not be written to a store. Every text names the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeFailure {
    /// The second creation of a key succeeded.
    #[error(
        "{store} ignores the condition that an object must not exist yet (If-None-Match: *): one object could be created \
         twice, so two writers would overwrite each other's commits"
    )]
    IgnoresCondition {
        /// The store.
        store: String,
    },
    /// Creations at the same moment had several winners, or a winner whose body was lost.
    #[error(
        "{store} checks the condition that an object must not exist yet, but not atomically: of {CONTENDERS} creations of \
         one object at the same moment {winners} were told that they succeeded{lost}, so two writers would overwrite \
         each other's commits",
        lost = if *.overwritten { ", and another's body was read afterwards" } else { "" }
    )]
    Racy {
        /// The store.
        store: String,
        /// How many were told that they succeeded.
        winners: usize,
        /// Whether the object read afterwards was none of theirs.
        overwritten: bool,
    },
    /// The store refuses conditional writes.
    #[error("no conditional writes (If-None-Match: *), by which branches move: {0}")]
    Unsupported(#[source] StoreError),
    /// A read or a listing did not show what had been written before.
    #[error("{store} is not consistent: {what}")]
    Inconsistent {
        /// The store.
        store: String,
        /// What was seen.
        what: String,
    },
    /// The store failed, so nothing is known.
    #[error("whether conditions are kept could not be found out: {0}")]
    Store(#[source] StoreError),
}

/// Probes `store` in scratch objects under `probe/`, which are removed again.
///
/// Needs the rights to create, read and list; takes some 300 small requests, most of them sixteen at a time.
///
/// # Errors
/// [`ProbeFailure`], which says why.
pub async fn probe(store: &dyn Store, random: &dyn Random) -> Result<ProbeReport, ProbeFailure> {
    let began = Instant::now();
    let probe = Probe { store, random, folder: format!("probe/{}/", nonce(random)) };
    let result = probe.all().await;
    let left_over = probe.remove().await;
    let (rounds, unclear_answers) = result?;
    Ok(ProbeReport { rounds, unclear_answers, left_over, took: began.elapsed() })
}

struct Probe<'a> {
    store: &'a dyn Store,
    random: &'a dyn Random,
    /// Ends in `/`.
    folder: String,
}

/// What one round showed.
enum Round {
    /// One winner, and so many answers that said nothing.
    Fair(usize),
    /// Nobody won so far: every answer was an error.
    Undecided(StoreError),
}

impl Probe<'_> {
    async fn all(&self) -> Result<(usize, usize), ProbeFailure> {
        self.one_after_the_other().await?;
        let mut unclear_answers = 0;
        for (index, size) in ROUNDS.into_iter().enumerate() {
            unclear_answers += self.at_once(index, size).await?;
        }
        Ok((ROUNDS.len(), unclear_answers))
    }

    async fn one_after_the_other(&self) -> Result<(), ProbeFailure> {
        let key = self.key("twice");
        let (first, second) = (self.body(64), self.body(64));
        match self.store.put_new(&key, first.clone()).await {
            Ok(()) => {}
            Err(e) if e.kind() == StoreErrorKind::Unsupported => {
                return Err(ProbeFailure::Unsupported(e));
            }
            // The nonce is fresh, so "exists" can only mean that the answer to a first try got lost on the way.
            Err(e) if e.is_ambiguous() || e.is_already_exists() => self.settle(&key, &first, e).await?,
            Err(e) => return Err(ProbeFailure::Store(e)),
        }
        self.expect(&key, &first).await?;
        let answer = self.store.put_new(&key, second.clone()).await;
        let found = self.store.get(&key).await.map_err(ProbeFailure::Store)?;
        if answer.is_ok() || found == second {
            return Err(ProbeFailure::IgnoresCondition { store: self.store.describe() });
        }
        if found != first {
            return Err(self.inconsistent("an object read back had other bytes than were written"));
        }
        match answer {
            Err(e) if e.is_already_exists() || e.is_ambiguous() => {}
            Err(e) => return Err(ProbeFailure::Store(e)),
            Ok(()) => {}
        }
        let listed =
            list_all(self.store, ListRequest::all(&self.folder)).await.map_err(ProbeFailure::Store)?;
        let names: Vec<_> = listed.objects.iter().map(|object| object.key.as_str()).collect();
        if names != [key.as_str()] {
            return Err(self.inconsistent(format!("one object was written, but {names:?} were listed")));
        }
        Ok(())
    }

    /// Sixteen at once; returns how many answers said nothing.
    async fn at_once(&self, index: usize, size: usize) -> Result<usize, ProbeFailure> {
        let mut attempt = 0;
        loop {
            match self.round(&self.key(&format!("round-{index}-{attempt}")), size).await? {
                Round::Fair(unclear) => return Ok(unclear),
                Round::Undecided(e) if attempt + 1 == UNDECIDED => return Err(ProbeFailure::Store(e)),
                Round::Undecided(_) => {
                    attempt += 1;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn round(&self, key: &Key, size: usize) -> Result<Round, ProbeFailure> {
        let bodies: Vec<Bytes> = (0..CONTENDERS).map(|_| self.body(size)).collect();
        // Connections are opened by these reads, so that the creations meet in the store and not in its listen queue.
        join_all(bodies.iter().map(|_| self.store.get(key))).await;
        let answers = self.store.put_new_at_once(key, bodies.clone()).await;

        let winners: Vec<usize> = (0..CONTENDERS).filter(|i| answers[*i].is_ok()).collect();
        let mut unclear = Vec::new();
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(()) => {}
                Err(e) if e.is_already_exists() => {}
                Err(e) if e.is_ambiguous() => unclear.push((index, e)),
                Err(e) => return Err(ProbeFailure::Store(e)),
            }
        }
        let racy = |overwritten| ProbeFailure::Racy {
            store: self.store.describe(),
            winners: winners.len(),
            overwritten,
        };
        if winners.len() > 1 {
            return Err(racy(false));
        }
        let found = match self.store.get(key).await {
            Ok(found) => found,
            // Nobody was told that it won: those whose answers were errors may all have failed.
            Err(e) if e.is_not_found() && winners.is_empty() => {
                return match unclear.pop() {
                    Some((_, e)) => Ok(Round::Undecided(e)),
                    None => Err(self.inconsistent("an object was said to exist, but could not be read")),
                };
            }
            Err(e) if e.is_not_found() => {
                return Err(self.inconsistent("an object was created, but could not be read"));
            }
            Err(e) => return Err(ProbeFailure::Store(e)),
        };
        // The winner is the one that was told so, else one that was told nothing clear.
        let by_winner = winners.iter().any(|i| bodies[*i] == found);
        let by_unclear = winners.is_empty() && unclear.iter().any(|(i, _)| bodies[*i] == found);
        if by_winner || by_unclear { Ok(Round::Fair(unclear.len())) } else { Err(racy(true)) }
    }

    /// A creation whose answer said nothing: makes sure of it.
    async fn settle(&self, key: &Key, body: &Bytes, mut last: StoreError) -> Result<(), ProbeFailure> {
        for _ in 0..UNDECIDED {
            match self.store.get(key).await {
                Ok(found) if found == *body => return Ok(()),
                Ok(_) => return Err(self.inconsistent("an object had other bytes than were written")),
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(ProbeFailure::Store(e)),
            }
            sleep(PAUSE).await;
            match self.store.put_new(key, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(e) if e.is_ambiguous() || e.is_already_exists() => last = e,
                Err(e) => return Err(ProbeFailure::Store(e)),
            }
        }
        Err(ProbeFailure::Store(last))
    }

    /// Reads the object back, whole and in part.
    async fn expect(&self, key: &Key, body: &Bytes) -> Result<(), ProbeFailure> {
        let read = |result: Result<Bytes, StoreError>| match result {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(ProbeFailure::Store(e)),
        };
        let whole = read(self.store.get(key).await)?;
        let part = read(self.store.get_range(key, 8..24).await)?;
        if whole.as_ref() != Some(body) || part.as_deref() != Some(&body[8..24]) {
            return Err(self.inconsistent("an object read back had other bytes than were written"));
        }
        Ok(())
    }

    /// Removes the scratch objects; returns how many are left.
    async fn remove(&self) -> usize {
        let Ok(listed) = list_all(self.store, ListRequest::all(&self.folder)).await else { return 0 };
        let removals = join_all(listed.objects.iter().map(|object| self.store.delete(&object.key))).await;
        let kept: Vec<_> = removals.into_iter().filter_map(Result::err).collect();
        if let Some(error) = kept.first() {
            tracing::debug!(count = kept.len(), %error, "scratch objects of the probe are left");
        }
        kept.len()
    }

    fn inconsistent(&self, what: impl Into<String>) -> ProbeFailure {
        ProbeFailure::Inconsistent { store: self.store.describe(), what: what.into() }
    }

    fn key(&self, name: &str) -> Key {
        Key::new(format!("{}{name}", self.folder))
    }

    /// `size` (at least 32) bytes that nobody else sends.
    fn body(&self, size: usize) -> Bytes {
        let mut text = nonce(self.random);
        text.extend(std::iter::repeat_n('.', size.saturating_sub(text.len())));
        text.into()
    }
}

fn nonce(random: &dyn Random) -> String {
    format!("{:032x}", u128::from_le_bytes(random.bytes16()))
}

#[cfg(test)]
mod tests;
