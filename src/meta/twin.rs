//! A table bounded in bytes: two generations, of which the older is dropped whole.
//!
//! Entries are put into the young generation. When that holds half the budget, the old generation's table
//! is deleted (a tenth of a second for 256 MiB, in the background) and the young one takes its place. An
//! entry read from the old one is put again, so what is used survives. One entry stands in one generation
//! only, so the byte counts are exact. The counts and the roles are one row in the same file, changed in
//! the same transaction.

use bytes::Bytes;
use redb::{
    Error, ReadTransaction, ReadableTable, StorageError, TableDefinition, TableError, WriteTransaction,
};

/// Bytes that the two kinds of entry may take on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// For nodes.
    pub(super) nodes: u64,
    /// For chunk locations.
    pub(super) locations: u64,
}

/// A kind of entry, in its two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twin {
    /// Decoded nodes by id.
    Nodes,
    /// Chunk locations by repository and chunk.
    Locations,
}

/// Which of the two an entry was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    Young,
    Old,
}

/// A change to one entry: a new value, or none.
pub(super) struct Change<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a Bytes>,
}

const STATE: TableDefinition<'_, &str, (u8, u64, u64)> = TableDefinition::new("generations");

impl Twin {
    /// Both kinds.
    pub(super) const ALL: [Self; 2] = [Self::Nodes, Self::Locations];

    fn tables(self) -> [TableDefinition<'static, &'static [u8], &'static [u8]>; 2] {
        match self {
            Self::Nodes => [TableDefinition::new("nodes.0"), TableDefinition::new("nodes.1")],
            Self::Locations => [TableDefinition::new("locations.0"), TableDefinition::new("locations.1")],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Locations => "locations",
        }
    }

    fn budget(self, budget: &Budget) -> u64 {
        match self {
            Self::Nodes => budget.nodes,
            Self::Locations => budget.locations,
        }
    }

    /// The entry of `key` in the last commit.
    pub(super) fn get(
        self,
        transaction: &ReadTransaction,
        key: &[u8],
    ) -> Result<Option<(Bytes, Generation)>, Error> {
        for (number, definition) in self.tables().into_iter().enumerate() {
            let table = match transaction.open_table(definition) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(value) = table.get(key)? else { continue };
            let value = Bytes::copy_from_slice(value.value());
            let young = match transaction.open_table(STATE) {
                Ok(state) => state.get(self.name())?.map_or(0, |row| row.value().0),
                Err(TableError::TableDoesNotExist(_)) => 0,
                Err(error) => return Err(error.into()),
            };
            let generation = if number == usize::from(young) { Generation::Young } else { Generation::Old };
            return Ok(Some((value, generation)));
        }
        Ok(None)
    }

    /// Carries out `changes`, turning the generations over whenever the young one is full.
    pub(super) fn apply(
        self,
        transaction: &WriteTransaction,
        budget: &Budget,
        changes: &[Change<'_>],
    ) -> Result<(), Error> {
        let half = self.budget(budget) / 2;
        let (mut young, mut bytes) = {
            let state = transaction.open_table(STATE)?;
            let row = state.get(self.name())?.map(|row| row.value());
            match row.unwrap_or((0, 0, 0)) {
                (young @ (0 | 1), first, second) => (usize::from(young), (first, second)),
                _ => return Err(StorageError::Corrupted("no such generation".into()).into()),
            }
        };
        let mut rest = changes;
        loop {
            rest = self.fill(transaction, rest, young, &mut bytes, half)?;
            if rest.is_empty() {
                break;
            }
            young = 1 - young;
            transaction.delete_table(self.tables()[young])?;
            *(if young == 0 { &mut bytes.0 } else { &mut bytes.1 }) = 0;
        }
        transaction.open_table(STATE)?.insert(self.name(), (young as u8, bytes.0, bytes.1))?;
        Ok(())
    }

    /// Carries out changes until the young generation holds `half`; returns those left.
    fn fill<'a, 'b>(
        self,
        transaction: &WriteTransaction,
        changes: &'a [Change<'b>],
        young: usize,
        bytes: &mut (u64, u64),
        half: u64,
    ) -> Result<&'a [Change<'b>], Error> {
        let [first, second] = self.tables();
        let mut tables = [transaction.open_table(first)?, transaction.open_table(second)?];
        let [(young_table, young_bytes), (old_table, old_bytes)] = match &mut tables {
            [a, b] if young == 0 => [(a, &mut bytes.0), (b, &mut bytes.1)],
            [a, b] => [(b, &mut bytes.1), (a, &mut bytes.0)],
        };
        for (done, &Change { key, value }) in changes.iter().enumerate() {
            if *old_bytes > 0
                && let Some(gone) = old_table.remove(key)?
            {
                *old_bytes = old_bytes.saturating_sub(cost(key, gone.value()));
            }
            let fits = value.filter(|value| cost(key, value) <= half);
            let gone = match fits {
                Some(value) if young_bytes.saturating_add(cost(key, value)) > half => {
                    return Ok(&changes[done..]);
                }
                Some(value) => {
                    *young_bytes += cost(key, value);
                    young_table.insert(key, value.as_ref())?
                }
                None => young_table.remove(key)?,
            };
            if let Some(gone) = gone {
                *young_bytes = young_bytes.saturating_sub(cost(key, gone.value()));
            }
        }
        Ok(&[])
    }
}

/// What an entry takes on disk. redb gives a long value a run of pages of its own, rounded up to a power of
/// two; short ones share leaves, which random inserts leave about half full and copy-on-write keeps twice
/// for a while (measured: 270 bytes of file per location of 80 bytes).
fn cost(key: &[u8], value: &[u8]) -> u64 {
    const PAGE: u64 = 4096;
    // Page header, and the offsets of one key and one value.
    const OVERHEAD: u64 = 64;
    let len = (key.len() + value.len()) as u64;
    if len + OVERHEAD > PAGE / 2 {
        (len + OVERHEAD).next_power_of_two().max(PAGE)
    } else {
        3 * len + OVERHEAD / 2
    }
}
