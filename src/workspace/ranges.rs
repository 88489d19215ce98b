//! Which bytes of a file are local although its origin has them too: a log of ranges beside the layer.
//!
//! A range is appended after its bytes were written and before the write is acknowledged, so in the life of a machine what the log says
//! is so. Each line is 24 bytes and carries a check: what a dying process half wrote ends the log, and the next one goes on there.
//!
//! A power cut may lose bytes and keep the line that says that they are there. So a sync appends a mark once the bytes are on the
//! disk, and the log says in which boot of the machine it was written: in another one, what stands behind the last mark counts as
//! lost, and the origin shows again. That is what an unsynced write may look like after a power cut; zeros in the middle of a file are not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;

use crate::types::Spans;

use super::disk::Disk;

/// Bytes of a line: a number, a number whose two highest bits say what the line is, a check.
const LINE: usize = 24;

/// Where those bits begin. Files are shorter.
const KIND_SHIFT: u32 = 62;

/// What the bytes of a local range are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bytes {
    Written,
    Zeros,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// These bytes are local.
    Local(Range<u64>, Bytes),
    /// What follows is written in this boot of the machine.
    Boot(u64),
    /// What stands before is on the disk.
    Synced,
}

/// The local ranges of one file, and the log of them.
#[derive(Debug)]
pub(super) struct Ranges {
    log: File,
    len: u64,
    /// Whether all of it is on the disk.
    synced: bool,
    local: Spans,
    zeros: Spans,
}

impl Ranges {
    /// A new log.
    pub(super) fn create(path: &Path, disk: &Disk) -> io::Result<Self> {
        let log = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let mut ranges = Self { log, len: 0, synced: true, local: Spans::default(), zeros: Spans::default() };
        ranges.append(disk, &Line::Boot(disk.boot()))?;
        Ok(ranges)
    }

    /// Reads a log.
    pub(super) fn open(path: &Path, disk: &Disk) -> io::Result<Self> {
        let log = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        (&log).read_to_end(&mut bytes)?;
        let lines: Vec<_> = bytes.chunks_exact(LINE).map_while(Line::decode).collect();
        let is_of_now = lines.first() == Some(&Line::Boot(disk.boot()));
        let trusted = match is_of_now {
            true => lines.len(),
            false => lines.iter().rposition(|line| *line == Line::Synced).map_or(0, |last| last + 1),
        };
        let len = (lines.len() * LINE) as u64;
        let synced = lines.last() == Some(&Line::Synced);
        let mut ranges = Self { log, len, synced, local: Spans::default(), zeros: Spans::default() };
        for line in lines.into_iter().take(trusted) {
            if let Line::Local(range, what) = line {
                ranges.note(range, what);
            }
        }
        if is_of_now { Ok(ranges) } else { ranges.rewrite(path, disk) }
    }

    /// Puts a log of this boot, with what is known, in the place of one of another.
    fn rewrite(self, path: &Path, disk: &Disk) -> io::Result<Self> {
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut ranges = Self::create(&new, disk)?;
        for range in self.local.ranges() {
            ranges.add(disk, range, Bytes::Written)?;
        }
        for range in self.zeros.ranges() {
            ranges.add(disk, range, Bytes::Zeros)?;
        }
        // What is known was on the disk before.
        ranges.sync(disk)?;
        fs::rename(&new, path)?;
        Ok(ranges)
    }

    /// The ranges that are local.
    pub(super) fn local(&self) -> &Spans {
        &self.local
    }

    /// Adds a range, whose bytes were written.
    ///
    /// # Errors
    /// `EFBIG` from 2^62 on.
    pub(super) fn add(&mut self, disk: &Disk, range: Range<u64>, what: Bytes) -> io::Result<()> {
        if range.end >> KIND_SHIFT != 0 {
            return Err(Errno::EFBIG.into());
        }
        let known = match what {
            Bytes::Written => self.local.covers(&range) && self.zeros.common(&Spans::of(range.clone())) == 0,
            Bytes::Zeros => self.zeros.covers(&range),
        };
        if !known && !range.is_empty() {
            self.append(disk, &Line::Local(range.clone(), what))?;
            self.synced = false;
            self.note(range, what);
        }
        Ok(())
    }

    /// Returns when the log is on the disk; the bytes of its ranges are.
    pub(super) fn sync(&mut self, disk: &Disk) -> io::Result<()> {
        if !self.synced {
            self.append(disk, &Line::Synced)?;
            self.synced = true;
        }
        self.log.sync_data()
    }

    fn append(&mut self, disk: &Disk, line: &Line) -> io::Result<()> {
        disk.write(&self.log, &line.encode(), self.len)?;
        self.len += LINE as u64;
        Ok(())
    }

    fn note(&mut self, range: Range<u64>, what: Bytes) {
        match what {
            Bytes::Written => self.zeros.remove(range.clone()),
            Bytes::Zeros => self.zeros.insert(range.clone()),
        }
        self.local.insert(range);
    }
}

impl Line {
    fn encode(&self) -> [u8; LINE] {
        let (first, second, kind) = match self {
            Self::Local(range, Bytes::Written) => (range.start, range.end, 0),
            Self::Local(range, Bytes::Zeros) => (range.start, range.end, 1),
            Self::Boot(boot) => (*boot, 0, 2),
            Self::Synced => (0, 0, 3),
        };
        let mut line = [0; LINE];
        line[..8].copy_from_slice(&first.to_le_bytes());
        line[8..16].copy_from_slice(&(second | kind << KIND_SHIFT).to_le_bytes());
        let check = *blake3::hash(&line[..16]).as_bytes();
        line[16..].copy_from_slice(&check[..8]);
        line
    }

    fn decode(line: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(line.get(at..at + 8)?.try_into().ok()?));
        let (first, second) = (number(0)?, number(8)?);
        let range = first..second & !(3 << KIND_SHIFT);
        let decoded = match second >> KIND_SHIFT {
            0 => Self::Local(range, Bytes::Written),
            1 => Self::Local(range, Bytes::Zeros),
            2 => Self::Boot(first),
            _ => Self::Synced,
        };
        (decoded.encode() == line).then_some(decoded)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::FileExt;

    fn local(ranges: &Ranges) -> Vec<Range<u64>> {
        ranges.local().ranges().collect()
    }

    #[test]
    fn what_was_added_is_found_again_and_a_torn_line_ends_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("7");
        let disk = Disk::default();
        let mut ranges = Ranges::create(&path, &disk).unwrap();
        ranges.add(&disk, 10..20, Bytes::Written).unwrap();
        ranges.add(&disk, 12..15, Bytes::Written).unwrap();
        ranges.add(&disk, 100..200, Bytes::Zeros).unwrap();
        ranges.add(&disk, 150..160, Bytes::Written).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 4 * LINE as u64, "what is known needs no line");
        assert_eq!(local(&ranges), [10..20, 100..200]);
        let mut torn = Line::Local(500..600, Bytes::Written).encode();
        torn[20] ^= 1;
        ranges.log.write_all_at(&torn, ranges.len).unwrap();
        let mut again = Ranges::open(&path, &disk).unwrap();
        assert_eq!((&again.local, &again.zeros, again.len), (&ranges.local, &ranges.zeros, ranges.len));
        again.add(&disk, 30..31, Bytes::Written).unwrap();
        assert!(Ranges::open(&path, &disk).unwrap().local().covers(&(30..31)));
        assert_eq!(
            again.add(&disk, 0..1 << 62, Bytes::Written).unwrap_err().raw_os_error(),
            Some(libc::EFBIG)
        );
    }

    #[test]
    fn after_a_power_cut_what_was_not_synced_shows_the_origin_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let disk = Disk::default();
        let mut ranges = Ranges::create(&path, &disk).unwrap();
        ranges.add(&disk, 10..20, Bytes::Written).unwrap();
        ranges.add(&disk, 50..60, Bytes::Zeros).unwrap();
        ranges.sync(&disk).unwrap();
        ranges.add(&disk, 30..40, Bytes::Written).unwrap();
        assert_eq!(local(&Ranges::open(&path, &disk).unwrap()), [10..20, 30..40, 50..60], "killed");
        let next = Disk::of_boot(disk.boot() + 1);
        let mut again = Ranges::open(&path, &next).unwrap();
        assert_eq!(local(&again), [10..20, 50..60]);
        assert!(again.zeros.covers(&(50..60)));
        // And it goes on.
        again.add(&next, 70..80, Bytes::Written).unwrap();
        assert_eq!(local(&Ranges::open(&path, &next).unwrap()), [10..20, 50..60, 70..80]);
        assert_eq!(local(&Ranges::open(&path, &Disk::of_boot(7)).unwrap()), [10..20, 50..60]);
    }
}
