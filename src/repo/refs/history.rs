//! A log read backwards: what an audit walks, what `@{n}` and `@{time}` seek in.
//!
//! Numbers are contiguous, `moves` and `when` never fall from a record to the next, so both are found by bisection
//! without walking the log. Bisection believes each record by itself; only a walk ([`History`], [`Log::verify`])
//! checks every link of the chain.

use std::sync::Arc;

use crate::format::RecordKind;
use crate::repo::RepoError;
use crate::types::Timestamp;

use super::{Link, Log};

/// The records of a log from the newest to the first; each is checked against the one that follows it.
#[derive(Debug)]
pub struct History {
    log: Log,
    later: Option<Arc<Link>>,
    started: bool,
}

/// What a whole chain holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Records.
    pub records: u64,
    /// `Move` records among them.
    pub moves: u64,
}

impl Log {
    /// The records from the newest on.
    ///
    /// # Errors
    /// As [`Log::newest`].
    pub async fn history(&self) -> Result<History, RepoError> {
        let newest = self.newest().await?.link;
        Ok(History { log: self.clone(), later: newest, started: false })
    }

    /// The `Move` that was the newest one `back` moves before `newest`; `None` when there were not so many.
    ///
    /// # Errors
    /// As [`Log::record`].
    pub async fn moves_ago(&self, newest: &Arc<Link>, back: u32) -> Result<Option<Arc<Link>>, RepoError> {
        let Some(wanted) = newest.record.moves.checked_sub(u64::from(back)).filter(|moves| *moves > 0) else {
            return Ok(None);
        };
        self.first_where(newest, |link| link.record.moves >= wanted).await
    }

    /// The newest record that is not later than `at`; `None` when the log began later.
    ///
    /// # Errors
    /// As [`Log::record`].
    pub async fn at(&self, newest: &Arc<Link>, at: Timestamp) -> Result<Option<Arc<Link>>, RepoError> {
        if newest.record.when <= at {
            return Ok(Some(Arc::clone(newest)));
        }
        let Some(after) = self.first_where(newest, |link| link.record.when > at).await? else {
            return Ok(None);
        };
        match after.record.seq {
            1 => Ok(None),
            seq => Ok(Some(Arc::new(self.record(seq - 1).await?))),
        }
    }

    /// The first record with a property that, once it holds, holds for all later ones, `newest` included.
    async fn first_where(
        &self,
        newest: &Arc<Link>,
        holds: impl Fn(&Link) -> bool,
    ) -> Result<Option<Arc<Link>>, RepoError> {
        if !holds(newest) {
            return Ok(None);
        }
        // Holds for `found`, not for any number below `low`. Steps double from the newest end: people ask for
        // what was recently.
        let (mut low, mut found, mut step) = (1, Arc::clone(newest), 1);
        while low < found.record.seq {
            let high = found.record.seq;
            let probe = high.saturating_sub(step).max(low + (high - low) / 2);
            let link = Arc::new(self.record(probe).await?);
            if holds(&link) {
                found = link;
                step *= 2;
            } else {
                low = probe + 1;
            }
        }
        Ok(Some(found))
    }

    /// Walks the whole log and checks every link and every rule between neighbours.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] or [`RepoError::Missing`] naming the first record (from the newest) that breaks a rule.
    pub async fn verify(&self) -> Result<Verified, RepoError> {
        let mut history = self.history().await?;
        let mut verified = Verified::default();
        let mut later: Option<Arc<Link>> = None;
        while let Some(link) = history.next().await? {
            verified.records += 1;
            verified.moves += u64::from(link.record.kind == RecordKind::Move);
            if let Some(later) = &later {
                self.check_neighbours(Some(&link), later)?;
            }
            later = Some(link);
        }
        if let Some(first) = &later {
            self.check_neighbours(None, first)?;
        }
        Ok(verified)
    }

    fn check_neighbours(&self, before: Option<&Link>, later: &Link) -> Result<(), RepoError> {
        let earlier = before.map(|link| &link.record);
        let record = &later.record;
        let head = |record: &crate::format::Record| record.head.as_ref().map(|(id, _)| *id);
        let old_head = earlier.and_then(head);
        let moved = u64::from(record.kind == RecordKind::Move);
        let broken = if record.previous_commit != old_head {
            Some("it names another previous commit than the record before it")
        } else if earlier.is_some_and(|earlier| earlier.when > record.when) {
            Some("it is older than the record before it")
        } else if record.moves != earlier.map_or(0, |earlier| earlier.moves) + moved {
            Some("it counts the moves wrongly")
        } else if matches!(record.kind, RecordKind::Fence | RecordKind::Settings) && head(record) != old_head
        {
            Some("it does not repeat the head of the record before it")
        } else if record.kind == RecordKind::Birth && old_head.is_some() {
            Some("it begins a ref that exists")
        } else if record.kind == RecordKind::Move && earlier.is_none() {
            Some("the log does not begin with a birth")
        } else {
            None
        };
        match broken {
            None => Ok(()),
            Some(rule) => Err(self.altered(&self.key(record.seq), rule.to_owned())),
        }
    }
}

impl History {
    /// The next older record; `None` behind the first.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] when it is not the one that the later record continues; as [`Log::record`].
    pub async fn next(&mut self) -> Result<Option<Arc<Link>>, RepoError> {
        let Some(later) = self.later.take() else { return Ok(None) };
        if !std::mem::replace(&mut self.started, true) {
            self.later = Some(Arc::clone(&later));
            return Ok(Some(later));
        }
        let Some(seq) = later.record.seq.checked_sub(1).filter(|seq| *seq > 0) else { return Ok(None) };
        let link = Arc::new(self.log.record(seq).await?);
        if later.record.previous_record != Some(link.hash) {
            let rule = format!("record {} does not continue it: one of the two was altered", seq + 1);
            return Err(self.log.altered(&self.log.key(seq), rule));
        }
        self.later = Some(Arc::clone(&link));
        Ok(Some(link))
    }
}
