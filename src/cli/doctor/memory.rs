//! How much memory the daemon may take: what the machine has, or what its control group is limited to.

use std::path::{Path, PathBuf};

use super::Check;
use crate::types::ByteSize;

const TOPIC: &str = "machine";

/// Enough for decoded nodes, the cache's list of contents, and what is under way to many readers. Below it the kernel may end
/// the daemon.
const ENOUGH: u64 = 512 << 20;

/// Looks at the limits of this process, which the daemon that it starts inherits.
pub(super) fn check() -> Check {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    judge(machine, limit(&groups, Path::new("/sys/fs/cgroup")))
}

fn judge(machine: Option<u64>, group: Option<(u64, PathBuf)>) -> Check {
    let more = format!("give it {} or more", ByteSize(ENOUGH));
    match (machine, group) {
        (machine, Some((limit, file))) if machine.is_none_or(|total| limit < total) => {
            let text = format!("limited to {} by {}", ByteSize(limit), file.display());
            match limit < ENOUGH {
                true => Check::warn(
                    TOPIC,
                    "memory",
                    format!("{text}: the daemon may be ended when many read at once"),
                    format!("{more}: `MemoryMax=` in a unit, `--memory` of a container"),
                ),
                false => Check::ok(TOPIC, "memory", text),
            }
        }
        (Some(total), _) if total < ENOUGH => {
            Check::warn(TOPIC, "memory", format!("the machine has {}", ByteSize(total)), more)
        }
        (Some(total), _) => Check::ok(TOPIC, "memory", format!("{}, without a limit", ByteSize(total))),
        (None, _) => Check::warn(TOPIC, "memory", "how much there is cannot be told", "is /proc mounted?"),
    }
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The lowest limit on the way from the control group that `/proc/self/cgroup` names up to the root, in bytes, and the file that
/// says it.
fn limit(groups: &str, root: &Path) -> Option<(u64, PathBuf)> {
    let found = groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let (base, file) = match controllers {
            // The one hierarchy of version 2.
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let inner = base.join(group.trim_start_matches('/'));
        let files = inner.ancestors().take_while(|dir| dir.starts_with(&base)).map(|dir| dir.join(file));
        // Not a number: `max`.
        let limits =
            files.filter_map(|file| Some((std::fs::read_to_string(&file).ok()?.trim().parse().ok()?, file)));
        limits.min_by_key(|(limit, _): &(u64, _)| *limit)
    });
    found.min_by_key(|(limit, _)| *limit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::State;
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let write = |file: &str, text: &str| {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            std::fs::write(root.join(file), text).unwrap();
        };
        assert_eq!(limit("0::/a/b\n", root), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(limit("0::/a/b\n", root), None);
        write("a/memory.max", "1000000\n");
        assert_eq!(limit("0::/a/b\n", root), Some((1_000_000, root.join("a/memory.max"))));
        write("a/b/memory.max", "2000000\n");
        assert_eq!(limit("0::/a/b\n", root).unwrap().0, 1_000_000);
        // Version 1, and a container that does not see the group that its file names.
        write("memory/memory.limit_in_bytes", "500\n");
        let groups = "5:cpu,cpuacct:/x\n4:memory:/docker/0123\n";
        assert_eq!(limit(groups, root), Some((500, root.join("memory/memory.limit_in_bytes"))));
    }

    #[test]
    fn little_memory_is_a_warning_with_a_remedy() {
        let group = |limit| Some((limit, PathBuf::from("/g/memory.max")));
        assert_eq!(judge(Some(8 * GIB), None).state, State::Ok);
        assert_eq!(judge(Some(8 * GIB), group(2 * GIB)).state, State::Ok);
        let check = judge(Some(8 * GIB), group(100 << 20));
        assert!(check.state == State::Warn && check.remedy.unwrap().contains("MemoryMax="));
        assert!(check.finding.contains("100.0 MiB by /g/memory.max"), "{}", check.finding);
        // A limit above what there is limits nothing (version 1 always says one).
        assert!(judge(Some(8 * GIB), group(u64::MAX / 4096 * 4096)).finding.contains("without a limit"));
        assert_eq!(judge(Some(GIB / 4), None).state, State::Warn);
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(judge(total("nothing"), None).state, State::Warn);
    }
}
