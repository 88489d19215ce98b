//! `mount.atfs`: what mount(8) runs for `mount -t atfs` and for fstab. The same program under another name; its arguments
//! are turned into those of `atfs mount`.
//!
//! mount(8) says `rw` for whoever says nothing, so here it asks for nothing; and it hands over words that are its
//! own business or systemd's, which are left out.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The name under which mount(8) looks for us.
const NAME: &str = "mount.atfs";

/// Options for mount(8), systemd and the kernel, none of them for us: read-only, nosuid and nodev are what every mount is.
const NOT_OURS: [&str; 26] = [
    "rw",
    "ro",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "group",
    "owner",
    "_netdev",
    "nofail",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "atime",
    "noatime",
    "relatime",
    "norelatime",
    "diratime",
    "nodiratime",
];

/// What was typed, as arguments of `atfs`; `None` when nothing is to be done (`-f`: mount(8) only pretends).
pub(super) fn arguments(given: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut given = given;
    let program = given.next().unwrap_or_default();
    if Path::new(&program).file_name() != Some(OsStr::new(NAME)) {
        return Some([program].into_iter().chain(given).collect());
    }
    let mut arguments: Vec<OsString> = vec!["atfs".into(), "mount".into()];
    let mut options = Vec::new();
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("-f") => return None,
            // Sloppy, not into mtab, verbose: nothing of that here.
            Some("-s" | "-n" | "-v") => {}
            Some("-t" | "-N") => drop(given.next()),
            Some("-o") => options.extend(given.next()),
            _ => arguments.push(argument),
        }
    }
    for option in options.iter().filter_map(|options| options.to_str()).flat_map(|options| options.split(','))
    {
        let ours = !option.is_empty()
            && !NOT_OURS.contains(&option)
            && !["x-", "X-", "comment="].iter().any(|prefix| option.starts_with(prefix));
        if ours {
            arguments.extend(["-o".into(), option.into()]);
        }
    }
    Some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(given: &str) -> Option<String> {
        let turned = arguments(given.split(' ').map(OsString::from))?;
        Some(turned.iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_mount_hands_over_becomes_a_mount() {
        assert_eq!(
            turned("/sbin/mount.atfs s3://b/p@main /data -s -n -o rw,_netdev,x-systemd.automount,cache_size=5G,ro -t atfs")
                .as_deref(),
            Some("atfs mount s3://b/p@main /data -o cache_size=5G")
        );
        assert_eq!(
            turned("mount.atfs /r@v1 /mnt -o rw,follow,allow_other").as_deref(),
            Some("atfs mount /r@v1 /mnt -o follow -o allow_other")
        );
        assert_eq!(turned("mount.atfs /r /mnt -f"), None);
        assert_eq!(turned("/usr/bin/atfs ls -o x").as_deref(), Some("/usr/bin/atfs ls -o x"), "another name");
    }
}
