//! The disks of cache and state: can they be written, have they room, do they keep what they say.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{FsType, statfs};

use super::super::config::{CacheSize, Config};
use super::Check;
use crate::types::ByteSize;

const TOPIC: &str = "disks";

/// Below this much room a cache is hardly one: a few large files drive everything else out.
const SMALL_CACHE: u64 = 10 << 30;

/// State is a few files of some kilobytes and an index of at most 1.25 GiB.
const SMALL_STATE: u64 = 2 << 30;

/// What we need to know of a kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A local disk.
    Local,
    /// Memory: gone after a reboot.
    Memory,
    /// Another machine's disk: slow, and its locks may not work.
    Network,
}

/// File systems by their magic number (`statfs(2)`); every other one counts as a local disk.
const NAMES: &[(i64, &str, Kind)] = &[
    (0xef53, "ext4", Kind::Local),
    (0x5846_5342, "xfs", Kind::Local),
    (0x9123_683e, "btrfs", Kind::Local),
    (0x2fc1_2fc1, "zfs", Kind::Local),
    (0x794c_7630, "overlayfs", Kind::Local),
    (0x0102_1994, "tmpfs", Kind::Memory),
    (0x8584_58f6, "ramfs", Kind::Memory),
    (0x6969, "nfs", Kind::Network),
    (0xff53_4d42, "cifs", Kind::Network),
    (0xfe53_4d42, "smb2", Kind::Network),
    (0x0bd0_0bd0, "lustre", Kind::Network),
    (0x00c3_6400, "ceph", Kind::Network),
    (0x6573_5546, "fuse", Kind::Network),
];

/// Looks at both folders.
pub(super) fn check(config: &Config, checks: &mut Vec<Check>) {
    match config.cache_dir() {
        Ok(dir) => checks.extend(cache(&dir, config.cache_size())),
        Err(error) => checks.push(unset("cache", error.message_and_hint())),
    }
    match config.state_dir() {
        Ok(dir) => checks.push(state(&dir)),
        Err(error) => checks.push(unset("state", error.message_and_hint())),
    }
}

fn unset(name: &'static str, (finding, remedy): (String, String)) -> Check {
    Check::fail(TOPIC, name, finding, remedy)
}

/// What a folder's disk is like.
#[derive(Debug)]
struct Disk {
    fs: String,
    kind: Kind,
    total: u64,
    free: u64,
}

fn cache(dir: &Path, size: CacheSize) -> Vec<Check> {
    let disk = match look(dir) {
        Ok(disk) => disk,
        Err(check) => return vec![check.named("cache")],
    };
    let limit = match size {
        CacheSize::Bytes(ByteSize(bytes)) => bytes,
        CacheSize::Percent(percent) => disk.total / 100 * u64::from(percent),
    };
    let text = format!(
        "{} on {}: limit {}, {} of {} free",
        dir.display(),
        disk.fs,
        ByteSize(limit),
        ByteSize(disk.free),
        ByteSize(disk.total)
    );
    let other = "name a folder on a local SSD: `cache_dir` in the settings, ATFS_CACHE_DIR or --cache-dir";
    vec![match disk.kind {
        Kind::Memory => Check::warn(TOPIC, "cache", format!("{text}; it lies in memory"), other),
        Kind::Network => Check::warn(TOPIC, "cache", format!("{text}; it lies on another machine"), other),
        Kind::Local if disk.free < SMALL_CACHE => {
            Check::warn(TOPIC, "cache", format!("{text}; that is little room"), other)
        }
        Kind::Local => Check::ok(TOPIC, "cache", text),
    }]
}

fn state(dir: &Path) -> Check {
    let disk = match look(dir) {
        Ok(disk) => disk,
        Err(check) => return check.named("state"),
    };
    let text = format!("{} on {}: {} free", dir.display(), disk.fs, ByteSize(disk.free));
    let other = "name a folder on a local disk: `state_dir` in the settings, ATFS_STATE_DIR or --state-dir";
    match disk.kind {
        Kind::Memory => Check::warn(
            TOPIC,
            "state",
            format!("{text}; it lies in memory: a commit whose outcome is unknown is forgotten by a reboot"),
            other,
        ),
        _ if disk.free < SMALL_STATE => {
            Check::warn(TOPIC, "state", format!("{text}; that is little room"), "free some space there")
        }
        _ => Check::ok(TOPIC, "state", text),
    }
}

/// The disk on which a folder lies or would lie, after seeing that it can be written there.
fn look(dir: &Path) -> Result<Disk, Check> {
    let fail = |finding: String, remedy: String| Check::fail(TOPIC, "", finding, remedy);
    let there = existing(dir);
    let writable =
        nix::unistd::access(&there, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK);
    if let Err(error) = writable {
        let what = if there == dir { "written to" } else { "made" };
        return Err(fail(
            format!("{} cannot be {what}: {}: {}", dir.display(), there.display(), error.desc()),
            format!("`install -d -o $USER {}` as root, or name another folder", dir.display()),
        ));
    }
    let stat = statfs(&there).map_err(|error| {
        fail(format!("{}: {}", there.display(), error.desc()), "is the disk all right?".into())
    })?;
    let FsType(magic) = stat.filesystem_type();
    let known = NAMES.iter().find(|(number, ..)| *number == magic);
    let (fs, kind) = match known {
        Some((_, name, kind)) => ((*name).to_owned(), *kind),
        None => (format!("file system {magic:#x}"), Kind::Local),
    };
    let block = u64::try_from(stat.block_size()).unwrap_or(4096);
    Ok(Disk { fs, kind, total: stat.blocks() * block, free: stat.blocks_available() * block })
}

/// The folder itself, or the nearest one above it that exists.
fn existing(dir: &Path) -> PathBuf {
    dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

impl Check {
    fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_folder_that_is_to_be_made_counts_as_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let disk = look(&dir.path().join("not/yet")).unwrap();
        assert!(disk.total >= disk.free && disk.total > 0, "{disk:?}");
    }

    #[test]
    fn memory_and_too_little_room_are_said() {
        // /dev/shm is a tmpfs wherever Linux runs.
        let check = state(Path::new("/dev/shm"));
        assert_eq!((check.state, check.finding.contains("in memory")), (State::Warn, true), "{check:?}");
        let [check] = &cache(Path::new("/dev/shm"), CacheSize::Percent(50))[..] else { panic!("one check") };
        assert_eq!(check.state, State::Warn);
        assert!(check.finding.contains("on tmpfs: limit "), "{check:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_fails() {
        let check = state(Path::new("/dev/null/atfs"));
        assert_eq!((check.name, check.state), ("state", State::Fail), "{check:?}");
        assert!(check.finding.starts_with("/dev/null/atfs cannot be made"), "{check:?}");
    }
}
