//! A store in a folder of this machine (or of a file server that keeps POSIX's promises).
//!
//! # Why it is right
//! A key is a path below the root. A body is written to a file in `.atfs-tmp`, flushed with fsync, and only then gets
//! its name: by `link(2)` for [`Store::put_new`], which fails if the name is taken and so decides every race in the
//! kernel; by `rename(2)` for [`Store::put`]. So an object is whole or absent, whatever dies when. Afterwards its
//! directory is flushed, and once per process every directory above it, because another process may have made them and
//! not flushed them yet. What was acknowledged survives a power cut.
//!
//! The root itself is never created by a write: a repository on a disk that is not mounted today is an error, not an
//! empty repository.

mod error;
mod path;
mod walk;
mod write;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use self::error::Failure;
use self::write::{Existing, Writer};
use super::{Key, ListPage, ListRequest, MAX_OBJECT, Operation, Store, StoreError, StoreErrorKind};

/// Objects as files below a folder.
#[derive(Debug, Clone)]
pub struct LocalStore {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    writer: Writer,
}

/// Creates the folder (and the folders above it) that [`LocalStore::open`] expects; one that exists is no error.
///
/// # Errors
/// `Denied`, `NoSpace`, or `Io` when it cannot be created, for example because a file has that name.
pub fn create_local_root(root: &Path) -> Result<(), StoreError> {
    let create = || {
        if root.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(root)?;
        match root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => write::flush_folder(parent),
            None => Ok(()),
        }
    };
    create().map_err(|e: std::io::Error| {
        Failure::from(e).into_error(Operation::Put.as_str(), "", &root.display().to_string())
    })
}

impl LocalStore {
    /// The store in the existing folder `root`.
    ///
    /// # Errors
    /// `NoBucket` when it does not exist or is no folder; `Denied` when it cannot be looked at.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let fail = |failure: Failure| Err(failure.into_error("open", "", &root.display().to_string()));
        match std::fs::metadata(root) {
            Ok(found) if found.is_dir() => {
                let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
                let writer = Writer::new(&root);
                Ok(Self { folder: Arc::new(Folder { root, writer }) })
            }
            Ok(_) => fail(Failure::new(StoreErrorKind::NoBucket, "it is not a folder")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                fail(Failure::new(StoreErrorKind::NoBucket, "the folder does not exist"))
            }
            Err(e) => fail(e.into()),
        }
    }

    /// Runs blocking file I/O on the runtime's pool for it. Dropping the returned future does not stop a write that
    /// has begun: as with any other store, a write given up may still take effect.
    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        key: &str,
        work: impl FnOnce(&Folder) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let folder = self.folder.clone();
        let result = match tokio::task::spawn_blocking(move || work(&folder)).await {
            Ok(result) => result,
            Err(e) => Err(Failure::new(StoreErrorKind::Io, "the worker thread ended early").caused_by(e)),
        };
        result.map_err(|failure| failure.into_error(operation.as_str(), key, &self.describe()))
    }
}

impl Folder {
    /// The file of `key`, open for reading, and its size.
    fn open(&self, key: &Key) -> Result<(File, u64), Failure> {
        let path = path::of_key(&self.root, key.as_str())?;
        let missing = || {
            // The whole folder gone (a disk not mounted) is another matter than one object gone.
            if self.root.is_dir() {
                Failure::new(StoreErrorKind::NotFound, "no such file")
            } else {
                Failure::new(StoreErrorKind::NoBucket, "the folder does not exist any more")
            }
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                return Err(missing());
            }
            Err(e) => return Err(e.into()),
        };
        let found = file.metadata()?;
        if found.is_dir() { Err(missing()) } else { Ok((file, found.len())) }
    }

    fn get(&self, key: &Key) -> Result<Bytes, Failure> {
        let (file, size) = self.open(key)?;
        if size > MAX_OBJECT {
            let detail =
                format!("it has {size} bytes; no object of a repository is larger than {MAX_OBJECT}");
            return Err(Failure::new(StoreErrorKind::BadAnswer, detail));
        }
        let mut body = Vec::with_capacity(size as usize);
        // One byte more than the size, so that a file that grows is noticed as one that shrinks is.
        file.take(size + 1).read_to_end(&mut body)?;
        if body.len() as u64 != size {
            return Err(Failure::new(StoreErrorKind::CutBody, "the file changed its size while it was read"));
        }
        Ok(body.into())
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Failure> {
        let (file, size) = self.open(key)?;
        if range.start >= range.end || range.end > size {
            let detail = format!("the object has {size} bytes, asked for {range:?}");
            return Err(Failure::new(StoreErrorKind::OutOfRange, detail));
        }
        let mut body = vec![0; (range.end - range.start) as usize];
        match file.read_exact_at(&mut body, range.start) {
            Ok(()) => Ok(body.into()),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(Failure::new(StoreErrorKind::CutBody, "the file became shorter while it was read"))
            }
            Err(e) => Err(e.into()),
        }
    }
}

#[async_trait]
impl Store for LocalStore {
    fn describe(&self) -> String {
        self.folder.root.display().to_string()
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let wanted = key.clone();
        self.run(Operation::Get, key.as_str(), move |folder| folder.get(&wanted)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let wanted = key.clone();
        self.run(Operation::GetRange, key.as_str(), move |folder| folder.get_range(&wanted, range)).await
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let path = key.clone();
        let write = move |folder: &Folder| folder.writer.write(path.as_str(), &body, Existing::Replace);
        self.run(Operation::Put, key.as_str(), write).await
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let path = key.clone();
        let write = move |folder: &Folder| folder.writer.write(path.as_str(), &body, Existing::Keep);
        self.run(Operation::PutNew, key.as_str(), write).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let wanted = request.clone();
        self.run(Operation::List, &request.prefix, move |folder| walk::list(&folder.root, &wanted)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = key.clone();
        self.run(Operation::Delete, key.as_str(), move |folder| folder.writer.remove(path.as_str())).await
    }
}

#[cfg(test)]
mod tests;
