//! Reading complete contents again, to find what the disk has let rot.
//!
//! A complete content goes to the kernel, which reads it without anybody looking. So a thread in the background reads
//! them all over again, past the page cache (what is in memory says nothing about the disk, and must not be driven out), and
//! compares with the sums. What does not match is taken off the disk; whoever reads it next fetches it. A program that the kernel
//! serves from such a file at that moment reads on in it until it closes it: the kernel cannot be told.
//!
//! The background goes at [`BYTES_PER_SECOND`], behind everybody else's reads, once in [`EVERY`]; where it is lies in
//! `v1/scrub`, so that daemons that live for minutes get through as well. It holds no file open while it pauses: what is evicted
//! meanwhile gives its blocks back at once. [`Room::verify`] does the same at once and at
//! full speed, and reads slabs too: of those it only learns whether they can be read, since what they say is checked at
//! each use.

use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde::{Deserialize, Serialize};

use super::idle;
use super::keeper::Stop;
use super::key::{EntryKey, Item};
use super::layout::{PastCache, SHARDS};
use super::room::Room;
use super::stats::Counters;
use super::sums::Sum;

/// A hundredth of what an SSD reads; a TB takes 15 hours.
const BYTES_PER_SECOND: u64 = 20 << 20;

/// A pass begins so long after the one before began.
const EVERY: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often the background looks whether its time has come: clocks are set, machines sleep.
const LOOK: Duration = Duration::from_secs(3600);

/// How often it looks whether the directory has been read: what nobody has counted cannot be taken off the disk.
const SCAN_LOOK: Duration = Duration::from_millis(100);

/// How much is read at a time.
const STEP: usize = 1 << 20;

/// What reads past the page cache begin and end at: the largest block of a disk.
const ALIGN: u64 = 4096;

/// What a check of the whole cache has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verified {
    /// Whole contents that are what was written.
    pub right: u64,
    /// Whole contents that were not, and were taken off the disk.
    pub wrong: u64,
    /// Whole contents of an earlier boot, each piece of which is checked before it is used: not read here.
    pub unproven: u64,
    /// Slabs of small contents that could be read.
    pub slabs: u64,
    /// Slabs that could not, and were taken off the disk.
    pub slabs_unreadable: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that there were to read when it began.
    pub bytes_total: u64,
}

/// What was found of one file.
enum Finding {
    Right,
    /// Why it is not to be used.
    Wrong(io::Error),
    /// It went away, or it was not to be looked at.
    Nothing,
    /// The caller had enough.
    Stopped,
}

impl Room {
    /// Reads everything and compares; calls `progress` after every piece, and stops when it says so.
    pub(super) fn verify(&self, mut progress: impl FnMut(&Verified) -> ControlFlow<()>) -> Verified {
        let mut seen = Verified { bytes_total: self.stats().bytes_on_disk, ..Verified::default() };
        let items = self.lock().all_items();
        for item in items {
            let mut pace = |bytes| {
                seen.bytes_read += bytes;
                progress(&seen)
            };
            let found = match item {
                Item::Content(key) => self.check_content(&key, &mut pace),
                Item::Slab(_) => self.check_slab(item, &mut pace),
            };
            match (found, item) {
                (Finding::Right, Item::Content(_)) => seen.right += 1,
                (Finding::Right, Item::Slab(_)) => seen.slabs += 1,
                (Finding::Wrong(_), Item::Content(_)) => seen.wrong += 1,
                (Finding::Wrong(_), Item::Slab(_)) => seen.slabs_unreadable += 1,
                (Finding::Nothing, Item::Content(key)) if self.layout.is_claim(&key) => seen.unproven += 1,
                (Finding::Nothing, _) => {}
                (Finding::Stopped, _) => break,
            }
        }
        seen
    }

    /// Reads a whole content and takes it off the disk if it is not what was written.
    fn check_content(&self, key: &EntryKey, pace: &mut Pace<'_>) -> Finding {
        let finding = self.compare(key, pace);
        if let Finding::Wrong(error) = &finding {
            Counters::add(&self.counters.wrong_on_disk, 1);
            self.report("trust", key, error);
            self.distrust(*key);
        }
        finding
    }

    fn compare(&self, key: &EntryKey, pace: &mut Pace<'_>) -> Finding {
        let Some(content) = self.layout.checkable(key) else { return Finding::Nothing };
        let mut reader = Reader::default();
        for (piece, sum) in content.sums.pieces() {
            let mut hasher = blake3::Hasher::new();
            let read = match self.layout.open_to_check(key, &content) {
                Ok(Some(file)) => reader.read(&file, &piece, |bytes| _ = hasher.update(bytes)),
                Ok(None) => return Finding::Nothing,
                // Too many open files, say: nothing against the content.
                Err(error) if error.raw_os_error() != Some(libc::EIO) => return Finding::Nothing,
                Err(error) => Err(error),
            };
            match read {
                Ok(()) if Sum::of_hasher(&hasher) == sum => {}
                Ok(()) => {
                    let what =
                        format!("its bytes {}..{} are not those that were written", piece.start, piece.end);
                    return Finding::Wrong(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                Err(error) => return Finding::Wrong(error),
            }
            if pace(piece.end - piece.start).is_break() {
                return Finding::Stopped;
            }
        }
        Finding::Right
    }

    fn check_slab(&self, item: Item, pace: &mut Pace<'_>) -> Finding {
        let Item::Slab(key) = item else { return Finding::Nothing };
        let Ok(slab) = self.layout.open_slab_to_check(&key) else { return Finding::Nothing };
        let mut reader = Reader::default();
        let spans = match super::slab::present(&slab.file) {
            Ok(spans) => spans,
            Err(error) => return self.drop_slab(item, error),
        };
        for range in spans.ranges().map(|blocks| blocks.start * ALIGN..blocks.end * ALIGN) {
            match reader.read(&slab, &range, |_| ()) {
                Ok(()) => {}
                // Its last block is not full.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return self.drop_slab(item, error),
            }
            if pace(range.end - range.start).is_break() {
                return Finding::Stopped;
            }
        }
        Finding::Right
    }

    fn drop_slab(&self, item: Item, error: io::Error) -> Finding {
        self.report("read", item, &error);
        self.drop_idle(item);
        Finding::Wrong(error)
    }
}

/// Told how many bytes were read; says whether to go on.
type Pace<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// Reads ranges of files past the page cache, or through it without leaving them there.
struct Reader {
    buffer: Vec<u8>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; STEP + ALIGN as usize] }
    }
}

impl Reader {
    /// Gives all bytes of `range` to `take`, in order.
    fn read(
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

/// How far the background is: `v1/scrub`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pass {
    /// When it began, in seconds since 1970.
    began: u64,
    /// The shard to look at next; [`SHARDS`]: it is over.
    next: u16,
}

impl Pass {
    fn parse(text: &str) -> Option<Self> {
        let (began, next) = text.trim_end().split_once(' ')?;
        let (began, next) = (began.parse().ok()?, next.parse().ok()?);
        (next <= SHARDS).then_some(Self { began, next })
    }

    /// How long to wait before it goes on.
    fn wait(&self, now: u64) -> Duration {
        // A clock that was set back does not put it off for years.
        let since = if now >= self.began { Duration::from_secs(now - self.began) } else { EVERY };
        if self.next < SHARDS { Duration::ZERO } else { EVERY.saturating_sub(since) }
    }
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} {}", self.began, self.next)
    }
}

/// Goes over all complete contents, for as long as the cache is open.
pub(super) fn run(room: &Room, stop: &Stop) {
    idle::yield_the_disk();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut at = room.layout.read_scrub().and_then(|text| Pass::parse(&text)).unwrap_or_else(|| {
        // A new cache has nothing that could have rotted.
        let over = Pass { began: now(), next: SHARDS };
        room.layout.write_scrub(&over.to_string());
        over
    });
    loop {
        let wait = if room.is_scanned() { at.wait(now()) } else { SCAN_LOOK };
        if !wait.is_zero() {
            if stop.wait(wait.min(LOOK)) {
                return;
            }
            continue;
        }
        if at.next >= SHARDS {
            at = Pass { began: now(), next: 0 };
        }
        let keys = room.layout.contents_of(at.next as u8);
        let any = !keys.is_empty();
        for key in keys {
            let mut pace = |bytes: u64| {
                let time = Duration::from_nanos(bytes * 1_000_000_000 / BYTES_PER_SECOND);
                if stop.wait(time) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            if stop.is_told() || matches!(room.check_content(&key, &mut pace), Finding::Stopped) {
                return;
            }
        }
        at.next += 1;
        // A write per shard, where there was something to read.
        if any || at.next == SHARDS {
            room.layout.write_scrub(&at.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;

    use super::*;

    #[test]
    fn a_pass_goes_on_where_it_was_and_waits_when_it_is_over() {
        let under_way = Pass { began: 1000, next: 7 };
        assert_eq!(Pass::parse(&under_way.to_string()), Some(under_way));
        assert_eq!(under_way.wait(5000), Duration::ZERO);
        let over = Pass { began: 1000, next: SHARDS };
        assert_eq!(over.wait(1000), EVERY);
        assert_eq!(over.wait(1000 + EVERY.as_secs()), Duration::ZERO);
        assert_eq!(over.wait(10), Duration::ZERO, "the clock was set back");
        for bad in ["", "1", "x 3", "1 257", "1 -1"] {
            assert_eq!(Pass::parse(bad), None, "{bad}");
        }
    }

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
