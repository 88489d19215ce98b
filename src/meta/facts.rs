//! Small facts that every process of this machine should know at once: the highest record seen of a ref,
//! the last probe of an endpoint.
//!
//! They are files beside the redb index, because some of them are evidence (a ref log whose tail was cut
//! off is noticed by comparing with the highest seq seen), and evidence must neither vanish with a damaged
//! cache nor be hidden in another process's slot. A fact proves itself by a checksum over key and value;
//! one that does not is no fact.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::MetaError;
use super::small_files::{Durability, SmallFiles, check, make_private_dir};

/// What kind of fact: a directory name, given once as a constant by the module that owns the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace(&'static str);

impl Namespace {
    /// The namespace `name`: lower-case letters and `-`.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            assert!(bytes[i].is_ascii_lowercase() || bytes[i] == b'-', "letters and dashes only");
            i += 1;
        }
        assert!(i > 0, "a namespace has a name");
        Self(name)
    }
}

/// The facts of one state directory, shared by any number of processes.
#[derive(Debug, Clone)]
pub struct Facts {
    dir: PathBuf,
}

/// Length of the checksum that a fact begins with.
const CHECK_BYTES: usize = 16;

impl Facts {
    pub(super) fn open(state_dir: &Path) -> Result<Self, MetaError> {
        let dir = state_dir.join("facts");
        make_private_dir(&dir)?;
        Ok(Self { dir })
    }

    /// The fact of `key`; `None` when there is none, or it cannot be read, or does not prove itself.
    pub fn get(&self, namespace: Namespace, key: &[u8]) -> Option<Vec<u8>> {
        let body = SmallFiles::at(self.dir.join(namespace.0)).get(&file_name(key)).ok()??;
        let (stored, value) = body.split_at_checked(CHECK_BYTES)?;
        (stored == check(key, value)).then(|| value.to_vec())
    }

    /// Sets the fact of `key`; the last writer wins.
    ///
    /// # Errors
    /// [`MetaError`] when it cannot be written.
    pub fn put(&self, namespace: Namespace, key: &[u8], value: &[u8]) -> Result<(), MetaError> {
        self.update(namespace, key, |_| Some(value.to_vec()))
    }

    /// Changes the fact of `key` to what `change` makes of it, with no other process in between (a maximum
    /// stays a maximum); `None` leaves it as it is. `change` must be quick: others wait.
    ///
    /// # Errors
    /// [`MetaError`] when it cannot be written.
    pub fn update(
        &self,
        namespace: Namespace,
        key: &[u8],
        change: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>>,
    ) -> Result<(), MetaError> {
        let _lock = self.lock(namespace)?;
        let Some(value) = change(self.get(namespace, key)) else { return Ok(()) };
        let body = [&check(key, &value)[..], &value].concat();
        let files = SmallFiles::open(self.dir.join(namespace.0))?;
        files.put(&file_name(key), &body, Durability::Cached)
    }

    /// Held until the file is dropped. Where locks do not work, or the holder has been stopped (a change
    /// takes microseconds), it goes on without: then the last writer wins.
    fn lock(&self, namespace: Namespace) -> Result<File, MetaError> {
        let path = self.dir.join(format!("{}.lock", namespace.0));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| MetaError::new("open", &path, source))?;
        let give_up = Instant::now() + Duration::from_secs(2);
        while let Err(TryLockError::WouldBlock) = file.try_lock()
            && Instant::now() < give_up
        {
            thread::sleep(Duration::from_micros(200));
        }
        Ok(file)
    }
}

/// Keys are of any length and content (a URL, a ref name), so files are named by their hash.
fn file_name(key: &[u8]) -> String {
    blake3::hash(key).to_hex()[..32].to_owned()
}
