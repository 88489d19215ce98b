//! Which fields a record of which kind may have: everything that one record shows by itself. What only two records
//! show (the hash chain, rising times and counters) the reader of a log checks.

use super::commit::MAX_AUTHOR_BYTES;
use super::{FormatError, MAX_JSON_BYTES, Record, RecordKind, RecordName};

/// Highest number of a record: keys have twelve digits.
const MAX_SEQ: u64 = 999_999_999_999;

/// Names of operations, checks and settings.
const MAX_NAME_BYTES: usize = 256;

/// Reasons and details: free text that is shown on a screen, not a store of output.
const MAX_TEXT_BYTES: usize = 64 << 10;

const MAX_CHECKS: usize = 256;
const MAX_SETTINGS: usize = 1024;

impl Record {
    /// Checks every rule that one record can break: what [`Record::decode`] refuses, this names beforehand.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] with the rule.
    pub fn check(&self) -> Result<(), FormatError> {
        self.check_numbers()
            .and_then(|()| self.check_head())
            .and_then(|()| self.check_settings())
            .and_then(|()| self.check_texts())
            .map_err(|rule| FormatError::malformed("record", format!("{rule} (seq {})", self.seq)))?;
        if let Some((id, stored)) = &self.head {
            stored.commit.check()?;
            let actual = stored.commit.id();
            if actual != *id {
                return Err(FormatError::wrong_hash("commit in a record", id, actual));
            }
        }
        if self.encode().len() > MAX_JSON_BYTES {
            return Err(FormatError::malformed("record", "it is longer than 8 MiB"));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), &'static str> {
        let first = self.seq == 1;
        let birth_expected = matches!(self.name, RecordName::Ref(..)) && first;
        if !(1..=MAX_SEQ).contains(&self.seq) {
            return Err("seq is outside 1 to 999999999999");
        }
        if self.previous_record.is_none() != first {
            return Err(
                "the hash of the previous record stands in every record but the first, and only there",
            );
        }
        if birth_expected && self.kind != RecordKind::Birth {
            return Err("a ref's log does not begin with a birth");
        }
        // The first record of a log is no move.
        if self.moves >= self.seq {
            return Err("there are more moves than records");
        }
        Ok(())
    }

    fn check_head(&self) -> Result<(), &'static str> {
        let head = self.head.as_ref().map(|(id, _)| *id);
        match self.kind {
            RecordKind::Birth if head.is_some() || self.previous_commit.is_some() => {
                Err("a birth has no commit and no previous commit")
            }
            RecordKind::Move if head.is_none() || self.moves == 0 => {
                Err("a move has a commit and counts itself")
            }
            RecordKind::Delete if head.is_some() => Err("a delete has no commit"),
            RecordKind::Fence | RecordKind::Settings if head != self.previous_commit => {
                Err("a fence or settings record repeats the commit before it")
            }
            _ => Ok(()),
        }
    }

    fn check_settings(&self) -> Result<(), &'static str> {
        match self.name {
            RecordName::Ref(..) if !self.settings.is_empty() => {
                Err("settings stand in the settings log only")
            }
            RecordName::Settings if !matches!(self.kind, RecordKind::Settings | RecordKind::Fence) => {
                Err("the settings log holds settings and fences only")
            }
            RecordName::Settings if self.head.is_some() || self.moves > 0 => {
                Err("the settings log has no commits")
            }
            _ => Ok(()),
        }
    }

    fn check_texts(&self) -> Result<(), &'static str> {
        let name = |text: &str| (1..=MAX_NAME_BYTES).contains(&text.len());
        if self.who.is_empty() || self.who.len() > MAX_AUTHOR_BYTES {
            return Err("who has 1 to 1,024 bytes");
        }
        if !name(&self.operation.name) || self.operation.reason.len() > MAX_TEXT_BYTES {
            return Err("an operation has a name of 1 to 256 bytes and a reason of at most 64 KiB");
        }
        if self.checks.len() > MAX_CHECKS {
            return Err("there are more than 256 checks");
        }
        if !self.checks.iter().all(|c| name(&c.name) && c.detail.len() <= MAX_TEXT_BYTES) {
            return Err("a check has a name of 1 to 256 bytes and a detail of at most 64 KiB");
        }
        if self.settings.len() > MAX_SETTINGS || !self.settings.keys().all(|key| name(key)) {
            return Err("there are at most 1,024 settings, with names of 1 to 256 bytes");
        }
        Ok(())
    }
}
