//! Reading files past the page cache: what is in memory says nothing about the disk, and must not be driven out.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// How much is read at a time.
const STEP: usize = 1 << 20;

/// What reads past the page cache begin and end at: the largest block of a disk.
pub(super) const ALIGN: u64 = 4096;

/// A file that is open to be read past the page cache.
#[derive(Debug)]
pub(super) struct PastCache {
    pub(super) file: File,
    /// Whether that is so, and reads must be aligned: not every file system can.
    pub(super) direct: bool,
}

/// Opens a file so that what is read of it stays out of the page cache, and its last use what it was.
pub(super) fn open_past_cache(path: &Path) -> io::Result<PastCache> {
    let open = |flags| OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | flags).open(path);
    match open(libc::O_NOATIME | libc::O_DIRECT) {
        Ok(file) => Ok(PastCache { file, direct: true }),
        // The file system cannot.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            Ok(PastCache { file: open(libc::O_NOATIME)?, direct: false })
        }
        Err(e) => Err(e),
    }
}

/// Reads ranges of files past the page cache, or through it without leaving them there.
pub(super) struct Reader {
    buffer: Vec<u8>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; STEP + ALIGN as usize] }
    }
}

impl Reader {
    /// Gives all bytes of `range` to `take`, in order.
    pub(super) fn read(
        &mut self,
        PastCache { file, direct }: &PastCache,
        range: &Range<u64>,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let skip = self.buffer.as_ptr().align_offset(ALIGN as usize);
        let mut at = range.start / ALIGN * ALIGN;
        while at < range.end {
            let want = (range.end.next_multiple_of(ALIGN) - at).min(STEP as u64) as usize;
            let step = &mut self.buffer[skip..skip + want];
            let count = match file.read_at(step, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = at + count as u64;
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                take(&step[(from - at) as usize..(to - at) as usize]);
            }
            if !direct {
                let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
                let _ = posix_fadvise(file, at as i64, count as i64, advice);
            }
            if end < range.end && !end.is_multiple_of(ALIGN) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_past_the_page_cache_and_through_it() {
        let data: Vec<u8> = (0..3_000_001u32).map(|i| (i * 7 % 251) as u8).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, &data).unwrap();
        let direct = std::os::unix::fs::OpenOptionsExt::custom_flags(
            std::fs::OpenOptions::new().read(true),
            libc::O_DIRECT,
        )
        .open(&path);
        let mut ways = vec![PastCache { file: File::open(&path).unwrap(), direct: false }];
        ways.extend(direct.ok().map(|file| PastCache { file, direct: true }));
        for file in ways {
            let mut reader = Reader::default();
            for range in [0..1, 4095..4097, 0..3_000_001, 1_000_000..2_500_000, 2_999_999..3_000_001] {
                let mut out = Vec::new();
                reader.read(&file, &range, |bytes| out.extend_from_slice(bytes)).unwrap();
                assert!(out == data[range.start as usize..range.end as usize], "{range:?}, {file:?}");
            }
            let behind = reader.read(&file, &(2_999_999..3_000_002), |_| ()).unwrap_err();
            assert_eq!(behind.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
