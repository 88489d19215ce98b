//! The kernel's mount table: what is mounted where, in this process's mount namespace.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A file system's device number: tells one mount from a later one at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// Major number; 0 for FUSE.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// The file system.
    pub device: Device,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Its type, such as `fuse.atfs`.
    pub fs_type: String,
    /// What is mounted, such as `s3://bucket/slides@main`.
    pub source: String,
}

/// The whole table, in the order of mounting.
#[derive(Debug, Clone, Default)]
pub struct MountTable(Vec<MountEntry>);

impl MountTable {
    /// The table as it is now.
    ///
    /// # Errors
    /// `/proc` is not mounted or not readable.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read("/proc/self/mountinfo")?))
    }

    fn parse(bytes: &[u8]) -> Self {
        Self(bytes.split(|b| *b == b'\n').filter_map(MountEntry::parse).collect())
    }

    /// What is mounted exactly at this canonical path: the newest, if several lie over each other.
    pub fn at(&self, mount_point: &Path) -> Option<&MountEntry> {
        self.0.iter().rev().find(|entry| entry.mount_point == mount_point)
    }

    /// Every entry.
    pub fn entries(&self) -> impl Iterator<Item = &MountEntry> {
        self.0.iter()
    }
}

impl MountEntry {
    /// `36 35 98:0 /root /mount/point opts [tags...] - type source superopts`
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|b| *b == b' ');
        let device = std::str::from_utf8(fields.nth(2)?).ok()?;
        let (major, minor) = device.split_once(':')?;
        let mount_point = unescape(fields.nth(1)?);
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        Some(Self {
            device: Device { major: major.parse().ok()?, minor: minor.parse().ok()? },
            mount_point: PathBuf::from(OsString::from_vec(mount_point)),
            fs_type: String::from_utf8_lossy(&unescape(rest.next()?)).into_owned(),
            source: String::from_utf8_lossy(&unescape(rest.next()?)).into_owned(),
        })
    }
}

/// Space, tab, newline and backslash are written as three octal digits behind a backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'\\' && tail.len() >= 3)
            .then(|| std::str::from_utf8(&tail[..3]).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 27 0:40 / /mnt/a\\040b rw,nosuid shared:5 master:1 - fuse.atfs s3://bucket/a\\134b@main rw,user_id=0
32 27 0:41 / /mnt/a\\040b ro - fuse.atfs /srv/x@v1 ro
garbage
33 27 0:42 / /mnt/short -
";

    #[test]
    fn lines_with_escapes_and_optional_fields() {
        let table = MountTable::parse(TABLE);
        assert_eq!(table.entries().count(), 3);
        let top = table.at(Path::new("/mnt/a b")).expect("mounted");
        assert_eq!((top.source.as_str(), top.device), ("/srv/x@v1", Device { major: 0, minor: 41 }));
        assert_eq!(table.entries().nth(1).expect("second").source, "s3://bucket/a\\b@main");
        assert_eq!(table.at(Path::new("/mnt")), None);
    }

    #[test]
    fn the_real_table_knows_proc() {
        let table = MountTable::read().expect("readable");
        assert_eq!(table.at(Path::new("/proc")).expect("mounted").fs_type, "proc");
    }
}
