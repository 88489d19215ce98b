//! Unmounting, and finding out what stands in the way.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::statvfs::statvfs;

use super::fusermount;
use super::point::{canonical, read_table};
use super::{FS_TYPE, MountError};

/// How to unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmount {
    /// Only when nobody uses it; else [`MountError::Busy`].
    #[default]
    WhenIdle,
    /// At once out of the tree; programs that have files open keep them until they close them.
    Lazy,
}

/// A mount that still asks its daemon is looked at for this long at most.
const LOOK: Duration = Duration::from_secs(2);

/// How many processes an error names.
const MAX_HOLDERS: usize = 8;

/// Unmounts the atfs that is mounted on `path` in this mount namespace.
///
/// # Errors
/// [`MountError::NotMounted`], [`MountError::Busy`], or what the system says.
pub fn unmount(path: &Path, how: Unmount) -> Result<(), MountError> {
    let path = canonical(path)?;
    match read_table()?.at(&path) {
        Some(entry) if entry.fs_type == FS_TYPE => {}
        _ => return Err(MountError::NotMounted { path }),
    }
    let flags = match how {
        Unmount::WhenIdle => MntFlags::UMOUNT_NOFOLLOW,
        Unmount::Lazy => MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
    };
    match umount2(&path, flags) {
        Ok(()) => Ok(()),
        // Another process was faster.
        Err(Errno::EINVAL) => Err(MountError::NotMounted { path }),
        Err(Errno::EBUSY) => Err(MountError::Busy { holders: holders(&path), path }),
        Err(Errno::EPERM) => fusermount::unmount(&path, how),
        Err(errno) => Err(MountError::system("unmounting", &path, errno)),
    }
}

/// Whether the daemon of the FUSE mount on `path` is gone. A mount that does not answer within seconds is not dead:
/// somebody still holds its device.
pub fn is_dead(path: &Path) -> bool {
    let (send, receive) = mpsc::channel();
    let path = path.to_owned();
    // The thread outlives this call when the mount hangs; it ends with the mount.
    let look = move || {
        // The space is never cached; attributes are, for ever, and would be shown without a daemon.
        let _ = send.send(statvfs(&path).map(drop));
    };
    let Ok(_) = std::thread::Builder::new().name("look-at-mount".into()).spawn(look) else { return false };
    // ECONNABORTED: the connection was aborted and its device is still held.
    matches!(receive.recv_timeout(LOOK), Ok(Err(Errno::ENOTCONN | Errno::ECONNABORTED)))
}

/// Processes whose working directory, root or open files lie in the mount on `path`, as far as this user may see.
pub fn holders(path: &Path) -> Vec<(u32, String)> {
    let Ok(device) = fs::metadata(path).map(|m| m.dev()) else { return Vec::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let uses = |link: &Path| {
            // The link's own text is enough to sort most out; `stat` of another hung mount could hang.
            fs::read_link(link).is_ok_and(|target| target.starts_with(path))
                && fs::metadata(link).is_ok_and(|m| m.dev() == device)
        };
        let directory = process.path();
        let open = || fs::read_dir(directory.join("fd")).into_iter().flatten().flatten();
        if uses(&directory.join("cwd"))
            || uses(&directory.join("root"))
            || open().any(|descriptor| uses(&descriptor.path()))
        {
            let name = fs::read_to_string(directory.join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
            if found.len() == MAX_HOLDERS {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_our_own_mounts_are_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path(), Path::new("/proc")] {
            let error = unmount(path, Unmount::Lazy).unwrap_err();
            assert!(matches!(error, MountError::NotMounted { .. }), "{error}");
        }
        assert!(!is_dead(dir.path()));
    }

    #[test]
    fn holders_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        assert_eq!(holders(&path), []);
        let _open = fs::File::create(path.join("file")).unwrap();
        assert_eq!(holders(&path)[0].0, std::process::id());
    }
}
