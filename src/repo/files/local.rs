//! One local file, read with care.
//!
//! Symbolic links are never followed: a name that became one between listing and opening is an error. What goes into
//! the entry (mode, owner, times, attributes) is read from the same descriptor as the content, so the two belong together.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use xattr::FileExt;

use crate::format::{Mtime, TreeKey, XattrList};
use crate::repo::RepoError;
use crate::repo::content::{Opened, Source};

/// A longer path is shown without its middle.
const SHOWN_PATH_BYTES: usize = 1024;

/// A regular file that was found.
#[derive(Debug)]
pub(super) struct LocalFile {
    /// Where.
    pub(super) path: PathBuf,
    /// What it becomes.
    pub(super) key: TreeKey,
    /// Its length when it was found.
    pub(super) size: u64,
}

/// What an entry says besides its content.
#[derive(Debug)]
pub(super) struct Attributes {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Mtime,
    pub(super) xattrs: XattrList,
}

/// Attributes, and what shows that the file is still the same.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) attributes: Attributes,
    stamp: Stamp,
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Attributes {
    pub(super) fn new(metadata: &Metadata, xattrs: XattrList) -> Self {
        Self {
            // setuid and setgid are never stored: restored elsewhere they would give rights.
            mode: (metadata.mode() & 0o1777) as u16,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: Mtime {
                seconds: metadata.mtime(),
                nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            },
            xattrs,
        }
    }
}

impl Source for LocalFile {
    type Reader = File;
    type Meta = Seen;

    fn size_hint(&self) -> u64 {
        self.size
    }

    fn open(&self) -> Result<Opened<File, Seen>, RepoError> {
        let failed = |error| self.failed(error);
        // Not blocking: a pipe that took the file's name meanwhile would else hold the thread for ever.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let reader = OpenOptions::new().read(true).custom_flags(flags).open(&self.path).map_err(failed)?;
        let metadata = reader.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is no regular file any more")));
        }
        let xattrs = xattrs_of(&self.path, reader.list_xattr(), |name| reader.get_xattr(name))?;
        let seen = Seen { attributes: Attributes::new(&metadata, xattrs), stamp: Stamp::of(&metadata) };
        Ok(Opened { reader, size: metadata.size(), meta: seen })
    }

    fn is_unchanged(&self, reader: &File, meta: &Seen) -> Result<bool, RepoError> {
        let now = reader.metadata().map_err(|error| self.failed(error))?;
        Ok(Stamp::of(&now) == meta.stamp)
    }

    fn failed(&self, error: io::Error) -> RepoError {
        local("reading", &self.path, error)
    }
}

/// The attributes of a directory.
pub(super) fn directory(path: &Path, metadata: &Metadata) -> Result<Attributes, RepoError> {
    let xattrs = xattrs_of(path, xattr::list(path), |name| xattr::get(path, name))?;
    Ok(Attributes::new(metadata, xattrs))
}

/// The attributes that are stored, out of those that a file has.
fn xattrs_of(
    path: &Path,
    names: io::Result<xattr::XAttrs>,
    get: impl Fn(&std::ffi::OsStr) -> io::Result<Option<Vec<u8>>>,
) -> Result<XattrList, RepoError> {
    use std::os::unix::ffi::OsStrExt;
    let failed = |error| local("reading the attributes of", path, error);
    let names = match names {
        Ok(names) => names,
        Err(error) if has_none(&error) => return Ok(XattrList::default()),
        Err(error) => return Err(failed(error)),
    };
    let mut pairs = Vec::new();
    for name in names.filter(|name| XattrList::is_stored_name(name.as_bytes())) {
        // One that was removed since it was listed is not there.
        if let Some(value) = get(&name).map_err(failed)? {
            pairs.push((name.as_bytes().to_vec(), value));
        }
    }
    XattrList::from_pairs(pairs).map_err(|error| failed(io::Error::other(error)))
}

/// Whether the file system has no attributes at all.
pub(super) fn has_none(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

/// The error for a local path.
pub(super) fn local(action: &'static str, path: &Path, source: io::Error) -> RepoError {
    let bytes = path.as_os_str().len();
    let source = match source.raw_os_error() {
        Some(libc::ENAMETOOLONG) if bytes >= libc::PATH_MAX as usize => {
            let limit = libc::PATH_MAX - 1;
            let reason = format!(
                "the path has {bytes} bytes, the system takes at most {limit}: go to a directory nearer to it and name it from there"
            );
            io::Error::new(io::ErrorKind::InvalidFilename, reason)
        }
        _ => source,
    };
    // Control characters would reach the terminal of whoever reads the message.
    let mut path = path.to_string_lossy().replace(char::is_control, "\u{fffd}");
    if bytes > SHOWN_PATH_BYTES {
        let (head, tail) = (SHOWN_PATH_BYTES / 2, path.len().saturating_sub(SHOWN_PATH_BYTES / 2));
        path =
            format!("{}…{}", &path[..path.floor_char_boundary(head)], &path[path.ceil_char_boundary(tail)..]);
    }
    RepoError::Local { action, path, source }
}
