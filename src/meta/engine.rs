//! One redb file, and the rule that nothing wrong with it ever reaches a caller.
//!
//! Every access goes through [`Engine::read`] or [`Engine::write`], which answer `None` when the file fails
//! them:
//! - damaged (a checksum, a page that makes no sense, a file cut short, a panic inside redb, which trusts a
//!   file that was closed cleanly): the file is replaced by an empty one, with one warning;
//! - unavailable (an I/O error, a full disk): left alone, opened again a minute later.
//!
//! Commits save redb's allocator state (quick repair), so that a file whose process was killed opens in
//! milliseconds. Most are not flushed: a lost commit costs a request, not data. A file that would need
//! redb's full repair is replaced instead, because walking gigabytes takes longer than fetching again what
//! is needed.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, Durability, Error, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableHandle, WriteTransaction,
};

use super::MetaError;

/// redb's own page cache. The kernel's page cache holds the file anyway; this saves system calls on inner
/// pages.
const PAGE_CACHE_BYTES: usize = 8 << 20;

/// How long an index that failed with an I/O error is left alone.
const RETRY: Duration = Duration::from_secs(60);

/// One row that says what the file is; the version is also in the file's name, so that two versions of the
/// program do not throw away each other's index in turn.
const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
const SCHEMA_KEY: &str = "schema";
const SCHEMA: &[u8] = b"atfs index 1";

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// In order, but on disk only with the next flushed one.
    Unflushed,
    /// On disk when it returns, and the point to which a crash goes back.
    Flushed,
}

/// Why an engine could not be opened.
pub(super) enum OpenFailure {
    /// Another process has the file.
    Busy,
    /// It cannot be made: no rights, no space.
    Failed(MetaError),
}

/// What went wrong inside redb.
enum Trouble {
    Busy,
    Damaged(String),
    Unavailable(Error),
}

/// An open index file, or one in memory.
pub(super) struct Engine {
    path: Option<PathBuf>,
    state: RwLock<State>,
    /// Held, not used: the slot is ours while this is open.
    _lock: Option<File>,
}

struct State {
    db: Option<Database>,
    /// Counts replacements, so that two threads that meet the same damage replace the file once.
    epoch: u64,
    /// When to try again, while `db` is `None`.
    retry_at: Instant,
}

impl Engine {
    /// Opens or makes the file at `path`; the caller holds `lock`.
    pub(super) fn open(path: PathBuf, lock: File) -> Result<Self, OpenFailure> {
        let db = match open_file(&path) {
            Ok(db) => db,
            Err(Trouble::Busy) => return Err(OpenFailure::Busy),
            Err(Trouble::Unavailable(error)) if !worth_a_new_file(&error) => {
                return Err(failed(&path, error));
            }
            Err(Trouble::Unavailable(error)) => replace_or_fail(&path, &error.to_string())?,
            Err(Trouble::Damaged(why)) => replace_or_fail(&path, &why)?,
        };
        Ok(Self::new(Some(path), Some(lock), Some(db)))
    }

    /// An index that ends with the process.
    pub(super) fn in_memory() -> Self {
        let made = guarded(|| {
            let db = builder().create_with_backend(InMemoryBackend::new())?;
            check_schema(&db)?;
            Ok(db)
        });
        Self::new(None, None, made.ok())
    }

    fn new(path: Option<PathBuf>, lock: Option<File>, db: Option<Database>) -> Self {
        let state = State { db, epoch: 0, retry_at: Instant::now() + RETRY };
        Self { path, state: RwLock::new(state), _lock: lock }
    }

    /// The file; `None` in memory.
    pub(super) fn place(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Runs `query` on the last commit; `None` when the index fails.
    pub(super) fn read<T>(&self, query: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Option<T> {
        let state = self.ready();
        let db = state.db.as_ref()?;
        let outcome = guarded(|| query(&db.begin_read()?));
        let epoch = state.epoch;
        drop(state);
        outcome.map_err(|trouble| self.recover(epoch, trouble)).ok()
    }

    /// Runs `change` and commits it; `None` when the index fails, and then nothing is changed.
    pub(super) fn write<T>(
        &self,
        commit: Commit,
        change: impl FnOnce(&WriteTransaction) -> Result<T, Error>,
    ) -> Option<T> {
        let state = self.ready();
        let db = state.db.as_ref()?;
        let outcome = guarded(|| {
            let mut transaction = db.begin_write()?;
            match commit {
                Commit::Unflushed => transaction.set_durability(Durability::None)?,
                Commit::Flushed => transaction.set_quick_repair(true),
            }
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        });
        let epoch = state.epoch;
        drop(state);
        outcome.map_err(|trouble| self.recover(epoch, trouble)).ok()
    }

    /// The state, after another try if one is due.
    fn ready(&self) -> RwLockReadGuard<'_, State> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.db.is_some() || Instant::now() < state.retry_at {
            return state;
        }
        drop(state);
        let mut changing = self.exclusive();
        if let (None, Some(path)) = (&changing.db, &self.path) {
            changing.retry_at = Instant::now() + RETRY;
            changing.db = match open_file(path) {
                Err(Trouble::Damaged(why)) => replace(path, &why).ok(),
                other => other.ok(),
            };
        }
        drop(changing);
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the file right after trouble in `epoch`.
    fn recover(&self, epoch: u64, trouble: Trouble) {
        let mut state = self.exclusive();
        if state.epoch != epoch {
            return;
        }
        state.epoch += 1;
        state.retry_at = Instant::now() + RETRY;
        // Closing a damaged database may fail as any other access may.
        let broken = state.db.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
        let Some(path) = &self.path else { return };
        match trouble {
            Trouble::Damaged(why) => state.db = replace(path, &why).ok(),
            Trouble::Unavailable(error) => {
                tracing::warn!("the index {} cannot be used for a minute: {error}", path.display());
            }
            Trouble::Busy => {}
        }
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let db = self.exclusive().db.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(PAGE_CACHE_BYTES);
    builder.set_repair_callback(|session| session.abort());
    builder
}

fn open_file(path: &Path) -> Result<Database, Trouble> {
    guarded(|| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(StorageError::Io)?;
        let db = builder().create_with_backend(redb::backends::FileBackend::new(file)?)?;
        check_schema(&db)?;
        Ok(db)
    })
}

/// Writes the schema row into a new file, and refuses a file that is somebody else's.
fn check_schema(db: &Database) -> Result<(), Error> {
    let mut transaction = db.begin_write()?;
    transaction.set_quick_repair(true);
    if transaction.list_tables()?.next().is_none() {
        transaction.open_table(ABOUT)?.insert(SCHEMA_KEY, SCHEMA)?;
        transaction.commit()?;
        return Ok(());
    }
    let known = transaction.list_tables()?.any(|table| table.name() == ABOUT.name())
        && transaction.open_table(ABOUT)?.get(SCHEMA_KEY)?.is_some_and(|row| row.value() == SCHEMA);
    transaction.abort()?;
    if known { Ok(()) } else { Err(Error::Corrupted("it is not an index of this version".into())) }
}

/// An empty file in place of the one at `path`.
fn replace(path: &Path, why: &str) -> Result<Database, Trouble> {
    tracing::warn!("the index {} is damaged ({why}); it is a cache and starts empty", path.display());
    if fs::remove_file(path).is_err() {
        // A directory, say: out of the way, not deleted, since it is not ours.
        let _ = fs::rename(path, path.with_extension("damaged"));
    }
    open_file(path)
}

fn replace_or_fail(path: &Path, why: &str) -> Result<Database, OpenFailure> {
    replace(path, why).map_err(|trouble| match trouble {
        Trouble::Busy => OpenFailure::Busy,
        Trouble::Damaged(why) => failed(path, StorageError::Corrupted(why).into()),
        Trouble::Unavailable(error) => failed(path, error),
    })
}

/// Whether the trouble may be with this file, such as a bad sector, and not with making any.
fn worth_a_new_file(error: &Error) -> bool {
    use std::io::ErrorKind as Kind;
    let Error::Io(error) = error else { return true };
    let no_use = [
        Kind::PermissionDenied,
        Kind::ReadOnlyFilesystem,
        Kind::StorageFull,
        Kind::QuotaExceeded,
        Kind::NotFound,
    ];
    !no_use.contains(&error.kind())
}

/// Runs `access`, and sorts what may go wrong in it, panics included: redb promises none only for files
/// that it has verified whole, which takes seconds per gigabyte.
fn guarded<T>(access: impl FnOnce() -> Result<T, Error>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(access)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(sort(error)),
        Err(_) => Err(Trouble::Damaged("reading it panicked".into())),
    }
}

fn sort(error: Error) -> Trouble {
    use std::io::ErrorKind as Kind;
    match error {
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => Trouble::Busy,
        // Cut short, not a database, a directory.
        Error::Io(e) if matches!(e.kind(), Kind::UnexpectedEof | Kind::InvalidData | Kind::IsADirectory) => {
            Trouble::Damaged(e.to_string())
        }
        Error::Io(_) | Error::PreviousIo | Error::DatabaseClosed => Trouble::Unavailable(error),
        other => Trouble::Damaged(other.to_string()),
    }
}

fn failed(path: &Path, error: Error) -> OpenFailure {
    let source = match error {
        Error::Io(e) => e,
        other => std::io::Error::other(other),
    };
    OpenFailure::Failed(MetaError::new("open the index", path, source))
}
