//! What the writers of a simulated world were told, for the judge at the end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use atfs::repo::RepoError;
use atfs::repo::refs::Outcome;

/// What a writer was told about one thing that it tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The process was killed while it tried.
    Nothing,
    Done,
    NotDone,
    Unknown,
}

/// By the number of the writer and the thing.
#[derive(Debug)]
pub struct Ledger<K>(Mutex<BTreeMap<(u64, K), Told>>);

impl From<Outcome> for Told {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Landed => Self::Done,
            Outcome::Failed => Self::NotDone,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

impl From<&RepoError> for Told {
    fn from(error: &RepoError) -> Self {
        match error {
            RepoError::OutcomeUnknown { .. } => Self::Unknown,
            _ => Self::NotDone,
        }
    }
}

impl<K: Ord> Ledger<K> {
    pub fn new() -> Self {
        Self(Mutex::default())
    }

    pub fn set(&self, writer: u64, thing: K, told: impl Into<Told>) {
        self.entries().insert((writer, thing), told.into());
    }

    /// The notes of the machine were read: what is not in them was never sent.
    pub fn settle(&self, writer: u64) {
        for ((of, _), told) in self.entries().iter_mut() {
            if *of == writer && *told == Told::Nothing {
                *told = Told::NotDone;
            }
        }
    }

    pub fn entries(&self) -> MutexGuard<'_, BTreeMap<(u64, K), Told>> {
        self.0.lock().unwrap()
    }
}
