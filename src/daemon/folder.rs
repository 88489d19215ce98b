//! The daemon's folder in the cache directory: lock, control socket, log, list of mounts.
//!
//! There is one daemon per cache directory. The lock says so: it is held for the life of the process and freed by the
//! kernel when that ends, however it ends. Only its holder makes or removes the socket, so a socket file without a
//! listener is a leftover, never somebody else's.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::error::DaemonError;

/// Longest path of a socket that the kernel takes, in bytes (`sun_path` without its closing NUL).
const MAX_SOCKET_PATH: usize = 107;

/// `<cache directory>/daemon/`.
#[derive(Debug, Clone)]
pub struct Folder {
    cache_dir: PathBuf,
    path: PathBuf,
}

/// The lock of a folder, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Folder {
    /// The folder in `cache_dir`; both are created if they do not exist, for this user only.
    ///
    /// # Errors
    /// [`DaemonError::Folder`].
    pub fn create(cache_dir: &Path) -> Result<Self, DaemonError> {
        let path = cache_dir.join("daemon");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| DaemonError::Folder { action: "creating", path: path.clone(), source })?;
        // Absolute, because the daemon leaves the client's working directory.
        let cache_dir = cache_dir.canonicalize().map_err(|source| DaemonError::Folder {
            action: "looking at",
            path: cache_dir.into(),
            source,
        })?;
        Ok(Self { path: cache_dir.join("daemon"), cache_dir })
    }

    /// The folder in `cache_dir` if there is one: `None` means that no daemon ever ran there.
    pub fn existing(cache_dir: &Path) -> Option<Self> {
        let cache_dir = cache_dir.canonicalize().ok()?;
        let path = cache_dir.join("daemon");
        path.is_dir().then_some(Self { cache_dir, path })
    }

    /// The cache directory.
    pub fn cache_dir(&self) -> &Path {
        &self.cache_dir
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.path.join("daemon.log")
    }

    /// The list of mounts, for the daemon that comes after a killed one.
    pub(super) fn mounts(&self) -> PathBuf {
        self.path.join("mounts.json")
    }

    /// Takes the lock; `None` when another process holds it.
    ///
    /// # Errors
    /// [`DaemonError::Folder`].
    pub(super) fn try_lock(&self) -> Result<Option<Lock>, DaemonError> {
        let path = self.path.join("lock");
        let failed = |source| DaemonError::Folder { action: "locking", path: path.clone(), source };
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Listens on the control socket, which only this user can open. For the holder of the lock.
    ///
    /// # Errors
    /// [`DaemonError::Folder`].
    pub(super) fn listen(&self, _lock: &Lock) -> Result<UnixListener, DaemonError> {
        let path = self.socket();
        let failed = |source| DaemonError::Folder { action: "listening on", path: path.clone(), source };
        self.remove_socket();
        let listener = self.with_socket_path(|path| UnixListener::bind(path)).map_err(failed)?;
        // The folder is closed to others already; the socket says it once more.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(listener)
    }

    /// Connects to the daemon that listens, if one does.
    ///
    /// # Errors
    /// Nobody listens, or this user may not connect.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        self.with_socket_path(|path| UnixStream::connect(path))
    }

    /// Removes the socket, so that clients start another daemon instead of waiting for this one.
    pub(super) fn remove_socket(&self) {
        let _ = fs::remove_file(self.socket());
    }

    fn socket(&self) -> PathBuf {
        self.path.join("socket")
    }

    /// A path that is too long for a socket address is spelt by way of an open descriptor of the folder.
    fn with_socket_path<T>(&self, use_path: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        let path = self.socket();
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return use_path(&path);
        }
        let folder =
            OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(&self.path)?;
        use_path(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join("socket"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let lock = folder.try_lock().unwrap().expect("free");
        assert!(folder.try_lock().unwrap().is_none());
        drop(lock);
        assert!(folder.try_lock().unwrap().is_some());
    }

    #[test]
    fn sockets_far_down_the_tree_work_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        for cache_dir in [dir.path().join("c"), dir.path().join("d".repeat(200)).join("e".repeat(100))] {
            let folder = Folder::create(&cache_dir).unwrap();
            assert!(folder.connect().is_err(), "nobody listens");
            let lock = folder.try_lock().unwrap().unwrap();
            let listener = folder.listen(&lock).unwrap();
            folder.connect().unwrap();
            listener.accept().unwrap();
            assert_eq!(fs::metadata(folder.socket()).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(&folder.path).unwrap().permissions().mode() & 0o777, 0o700);
            // What a killed daemon left does not stand in the way.
            drop(listener);
            folder.listen(&lock).unwrap();
        }
    }
}
