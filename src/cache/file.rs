//! An open content, as its readers see it.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;

use super::entry::Entry;
use super::fetch::{Claim, Fetched, FetcherId};
use super::stats::Counters;
use super::{Cache, CacheError, FetchError, MAX_PIECE_BYTES, Pieces};

/// How many pieces one read waits for at a time: it bounds the memory that one long read takes.
const PIECES_AT_ONCE: usize = 16;

/// Keeps an entry open: it is not evicted while one of these lives.
pub(super) struct Pin {
    cache: Arc<Cache>,
    entry: Arc<Entry>,
}

impl Pin {
    pub(super) fn new(cache: Arc<Cache>, entry: Arc<Entry>) -> Self {
        Self { cache, entry }
    }

    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        self.cache.room.pin_again(self.entry.item());
        Self { cache: Arc::clone(&self.cache), entry: Arc::clone(&self.entry) }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.cache.room.unpin(self.entry.item());
    }
}

/// A content that is open: readable from end to end, whatever of it is on disk. While a handle lives the
/// entry is not evicted, so hold one as long as somebody reads or as a descriptor from
/// [`CachedFile::complete_file`] is in use, and no longer. Cheap to clone.
#[derive(Clone)]
pub struct CachedFile {
    pin: Pin,
    pieces: Arc<dyn Pieces>,
}

/// How a fill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// Everything that was asked for is on disk.
    Whole,
    /// The disk takes no more; the rest was not fetched.
    NoRoom,
}

/// A part of a read.
enum Part {
    OnDisk(Range<u64>),
    Piece(Range<u64>),
}

/// What became of a part.
enum Filling {
    OnDisk(Range<u64>),
    Fetched(Range<u64>, Bytes),
}

impl CachedFile {
    pub(super) fn new(pin: Pin, pieces: Arc<dyn Pieces>) -> Self {
        Self { pin, pieces }
    }

    /// The size of the content in bytes.
    pub fn size(&self) -> u64 {
        self.pin.entry().key.size
    }

    /// Whether every byte is on disk.
    pub fn is_complete(&self) -> bool {
        self.pin.entry().is_whole()
    }

    /// The complete file, open for reading only, for the kernel to read it without us; `None` while bytes
    /// are missing (a hole would read as zeros), and for the empty content, which has no file.
    pub fn complete_file(&self) -> Option<Arc<File>> {
        self.pin.entry().complete_file()
    }

    /// Fills `buf` from `offset` with what is on disk, and says how much that is: less than `buf` only at
    /// the end of the file. `None` unless all of it is on disk. Waits for the disk, never for the network.
    pub fn try_read(&self, offset: u64, buf: &mut [u8]) -> Option<usize> {
        let len = self.size().saturating_sub(offset).min(buf.len() as u64) as usize;
        if len > 0 && !self.pin.entry().read(&self.cache().room, offset, &mut buf[..len]) {
            return None;
        }
        Counters::add(&self.cache().counters().hits, 1);
        Some(len)
    }

    /// The `len` bytes from `offset`, or fewer at the end of the file: what is missing is fetched, and kept
    /// on disk when the disk takes it. May be dropped at any time; a fetch it began goes on.
    ///
    /// # Errors
    /// [`CacheError::Fetch`] when a missing piece cannot be fetched, [`CacheError::BadPiece`] when the
    /// fetcher errs. Trouble with the disk is no error.
    pub async fn read(&self, offset: u64, len: usize) -> Result<Bytes, CacheError> {
        let end = self.size().min(offset.saturating_add(len as u64));
        if offset >= end {
            return Ok(Bytes::new());
        }
        let range = offset..end;
        let entry = self.pin.entry();
        if entry.is_claim() && entry.first_gap(range.clone()).is_some() {
            self.look_in_claim(range.clone()).await;
        }
        if entry.first_gap(range.clone()).is_none()
            && let Some(bytes) = self.read_disk(range.clone()).await
        {
            Counters::add(&self.cache().counters().hits, 1);
            return Ok(bytes);
        }
        Counters::add(&self.cache().counters().misses, 1);
        for _ in 0..2 {
            if let Some(bytes) = self.read_through(range.clone()).await? {
                return Ok(bytes);
            }
            // The disk failed under a part that was on it. Now nothing is, so the second round fetches
            // everything.
        }
        Err(FetchError::new("the cache's reader threads have ended").into())
    }

    /// Fetches what is missing of `range` (clipped to the file) and keeps it: neighbours together in runs of about `run` bytes,
    /// `at_once` runs at a time.
    ///
    /// # Errors
    /// As [`CachedFile::read`]; what was fetched before stays.
    pub async fn fill(&self, range: Range<u64>, run: u64, at_once: usize) -> Result<Filled, CacheError> {
        let end = range.end.min(self.size());
        if self.pin.entry().is_claim() && range.start < end {
            self.look_in_claim(range.start..end).await;
        }
        // Handles of their own instead of borrows: only so can a task of the runtime call this.
        let missing = stream::unfold((self.clone(), range.start), move |(file, at)| async move {
            let (pieces, next) = match file.missing_run(at..end, run).await {
                Ok(pieces) => {
                    let next = pieces.last()?.end;
                    (Ok(pieces), next)
                }
                Err(error) => (Err(error), end),
            };
            Some((pieces, (file, next)))
        });
        let mut runs = std::pin::pin!(
            missing
                .map(|pieces| {
                    let file = self.clone();
                    async move { file.bring(&pieces?).await }
                })
                .buffer_unordered(at_once.max(1))
        );
        while let Some(kept) = runs.next().await {
            if !kept? {
                return Ok(Filled::NoRoom);
            }
        }
        Ok(Filled::Whole)
    }

    /// The first pieces of `range` that are not on disk and adjoin each other, up to `run` bytes but for the first; none if all
    /// is there.
    async fn missing_run(&self, range: Range<u64>, run: u64) -> Result<Vec<Range<u64>>, CacheError> {
        let mut pieces: Vec<Range<u64>> = Vec::new();
        let mut at = range.start;
        while let Some(gap) = self.pin.entry().first_gap(at..range.end) {
            if pieces.last().is_some_and(|last| last.end != gap) {
                break;
            }
            let piece = self.piece_at(gap).await?;
            if pieces.first().is_some_and(|first| piece.end - first.start > run) {
                break;
            }
            at = piece.end;
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// Fetches adjoining pieces. Whether all are on disk now; the first failure, after the others have come.
    async fn bring(&self, run: &[Range<u64>]) -> Result<bool, CacheError> {
        let claims = self.pin.entry().in_flight.claim_run(&self.pin, run, &self.pieces);
        let (mut kept, mut failed) = (true, None);
        for (piece, claim) in run.iter().zip(claims) {
            match self.settle(piece, claim).await {
                Ok(fetched) => kept &= fetched.is_none_or(|fetched| fetched.kept),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(kept), Err)
    }

    fn cache(&self) -> &Cache {
        self.pin.cache()
    }

    /// Marks what of `range` a power cut has left as it was written. Bit by bit, so that a reader of some bytes waits for no
    /// more than a piece of a fill.
    async fn look_in_claim(&self, range: Range<u64>) {
        let mut at = range.start;
        while at < range.end && self.pin.entry().is_claim() {
            let bit = at..range.end.min(at.saturating_add(MAX_PIECE_BYTES));
            at = bit.end;
            let pin = self.pin.clone();
            let look = move || pin.entry().look_in_claim(&pin.cache().room, &bit);
            // What was not looked at is fetched.
            let _ = tokio::task::spawn_blocking(look).await;
        }
    }

    /// The bytes of `range`, all of which was on disk; `None` when the disk fails.
    async fn read_disk(&self, range: Range<u64>) -> Option<Bytes> {
        let pin = self.pin.clone();
        let read = move || {
            let mut buf = vec![0; (range.end - range.start) as usize];
            pin.entry().read(&pin.cache().room, range.start, &mut buf).then(|| Bytes::from(buf))
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    /// The bytes of `range`, from disk and store; `None` when the disk fails on the way.
    async fn read_through(&self, range: Range<u64>) -> Result<Option<Bytes>, CacheError> {
        let mut parts = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let part = match self.pin.entry().reach(at) {
                Some(end) => Part::OnDisk(at..end.min(range.end)),
                None => Part::Piece(self.piece_at(at).await?),
            };
            let (Part::OnDisk(covered) | Part::Piece(covered)) = &part;
            at = covered.end;
            parts.push(part);
        }
        let mut filled = stream::iter(parts).map(|part| self.fill_part(part)).buffered(PIECES_AT_ONCE);
        let mut out = BytesMut::new();
        while let Some(filling) = filled.next().await {
            let at = range.start + out.len() as u64;
            let bytes = match filling? {
                Filling::Fetched(piece, bytes) => {
                    let from = (at - piece.start) as usize;
                    let to = (range.end.min(piece.end) - piece.start) as usize;
                    bytes.slice(from..to)
                }
                Filling::OnDisk(part) => match self.read_disk(at..part.end.min(range.end)).await {
                    Some(bytes) => bytes,
                    None => return Ok(None),
                },
            };
            if out.is_empty() && bytes.len() as u64 == range.end - range.start {
                return Ok(Some(bytes));
            }
            out.extend_from_slice(&bytes);
        }
        Ok(Some(out.freeze()))
    }

    async fn fill_part(&self, part: Part) -> Result<Filling, CacheError> {
        Ok(match part {
            Part::OnDisk(range) => Filling::OnDisk(range),
            Part::Piece(piece) => match self.piece(piece.clone()).await? {
                Some(fetched) => Filling::Fetched(piece, fetched.bytes),
                None => Filling::OnDisk(piece),
            },
        })
    }

    /// The piece that holds `offset`, checked.
    async fn piece_at(&self, offset: u64) -> Result<Range<u64>, CacheError> {
        let piece = self.pieces.piece_at(offset).await?;
        let len = piece.end.saturating_sub(piece.start);
        if piece.contains(&offset) && piece.end <= self.size() && len <= MAX_PIECE_BYTES {
            return Ok(piece);
        }
        let what = format!("bytes {}..{} of {}", piece.start, piece.end, self.size());
        Err(CacheError::BadPiece { content: format!("{:?}", self.pin.entry().key.content), offset, what })
    }

    /// A piece in memory; `None` when it is on disk by now.
    async fn piece(&self, piece: Range<u64>) -> Result<Option<Fetched>, CacheError> {
        let claim = self.claim(&piece);
        self.settle(&piece, claim).await
    }

    fn claim(&self, piece: &Range<u64>) -> Claim {
        self.pin.entry().in_flight.claim(&self.pin, piece.clone(), &self.pieces)
    }

    /// What a claim of `piece` comes to: its bytes, or `None` when it is on disk by now.
    async fn settle(&self, piece: &Range<u64>, mut claim: Claim) -> Result<Option<Fetched>, CacheError> {
        let mut failed_for_others = false;
        loop {
            let ticket = match claim {
                Claim::OnDisk => return Ok(None),
                Claim::InMemory(bytes) => return Ok(Some(Fetched { bytes, kept: false })),
                Claim::UnderWay(ticket) => ticket,
            };
            match ticket.wait().await {
                Ok(fetched) => return Ok(Some(fetched)),
                // Another repository's fetcher failed; ours may reach a store that answers. Once, so that
                // many readers do not take turns for ever.
                Err(_) if !failed_for_others && !ticket.is_by(FetcherId::of(&self.pieces)) => {
                    failed_for_others = true;
                }
                Err(error) => return Err(error.into()),
            }
            claim = self.claim(piece);
        }
    }
}

impl fmt::Debug for CachedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CachedFile({})", self.pin.entry().key)
    }
}
