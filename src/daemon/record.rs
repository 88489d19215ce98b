//! The list of mounts on disk, and what a new daemon does with those of a dead one.
//!
//! A killed daemon leaves its mounts in the tree: whoever looks there gets "transport endpoint is not connected". The
//! next daemon of the same cache directory takes them away. It touches only what is certainly such a leftover: recorded
//! by an atfs daemon, mounted at that place with that very device number, and without a server.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mount::{Device, FS_TYPE, MountTable, Unmount, is_dead, unmount};

/// One mount as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    #[serde(with = "super::path_text")]
    pub(super) mount_point: PathBuf,
    pub(super) device: Device,
}

/// Writes the list: the old one or the new one is there at any instant.
///
/// # Errors
/// The folder is not writable, the disk is full.
pub(super) fn write(path: &Path, mounts: &[Recorded]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(mounts)?)?;
    // Without fsync: mounts do not survive a power cut either.
    fs::rename(new, path)
}

/// Takes away what a dead daemon left mounted. Returns where.
pub(super) fn clean(path: &Path) -> Vec<PathBuf> {
    let Ok(bytes) = fs::read(path) else { return Vec::new() };
    // A list that cannot be read is only a lost convenience: `atfs mount` on such a place cleans it as well.
    let recorded: Vec<Recorded> = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut cleaned = Vec::new();
    for mount in recorded {
        let Ok(table) = MountTable::read() else { return cleaned };
        let ours =
            table.at(&mount.mount_point).is_some_and(|e| e.device == mount.device && e.fs_type == FS_TYPE);
        if ours && is_dead(&mount.mount_point) {
            match unmount(&mount.mount_point, Unmount::Lazy) {
                Ok(()) => cleaned.push(mount.mount_point),
                Err(error) => tracing::warn!("a mount of a dead daemon stays: {error}"),
            }
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_dead_mounts_of_our_own_are_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mounts.json");
        assert!(clean(&path).is_empty(), "no list");
        let proc = MountTable::read().unwrap().at(Path::new("/proc")).unwrap().device;
        let mounts = [
            Recorded { mount_point: "/proc".into(), device: proc },
            Recorded { mount_point: dir.path().into(), device: Device { major: 0, minor: 1 } },
        ];
        write(&path, &mounts).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Recorded>>(&fs::read(&path).unwrap()).unwrap(), mounts);
        assert!(clean(&path).is_empty());
        fs::write(&path, "[{]").unwrap();
        assert!(clean(&path).is_empty(), "a damaged list is no trouble");
    }
}
