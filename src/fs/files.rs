//! Open files and their bytes.
//!
//! Three kinds. What stands in the tree itself (up to 512 bytes) is answered from there. A small content comes from the
//! slabs of the node's cache, or with its neighbours from the repository. A long one (from
//! [`SMALL_CONTENT_BYTES`]) is read through the cache's file for it, which fetches what it does not have; one that is
//! complete when it is opened is handed to the kernel whole; an incomplete one never is, because its holes would read
//! as zeros.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::cache::{CacheError, CachedFile, ContentKey, Hold, LONGEST_STRETCH};
use crate::format::{Content, EntryBody, LeafItem};
use crate::repo::{SMALL_CONTENT_BYTES, content_name};

use super::ahead::{Ahead, run_bytes};
use super::error::FsError;
use super::inode::{Ino, Inode};
use super::node::Node;
use super::pieces::{FilePieces, Shared};
use super::stats::add;
use super::tree::{CommitTree, Place};
use super::view::{Target, View};

/// MiB of windows that are fetched ahead at once in this process: they are held in memory until they are on the disk. Who
/// finds less room fetches less.
static BUDGET: Semaphore = Semaphore::const_new(128);

/// Requests for one window at once: all of it.
const RUNS_AT_ONCE: usize = 16;

/// A file that is open: what its reads are answered from.
#[derive(Debug)]
pub enum OpenFile {
    /// A file of `.atfs`: its text as it was when it was opened.
    Text(Bytes),
    /// A file of a commit.
    Content(OpenContent),
}

/// An open file of a commit.
#[derive(Debug)]
pub struct OpenContent {
    tree: Arc<CommitTree>,
    node: Node,
    /// The cache's file, for a long content.
    long: Option<Long>,
}

/// A long content that is open.
#[derive(Debug)]
struct Long {
    /// Holds the content in the cache.
    cached: CachedFile,
    /// The complete file, for passthrough.
    whole: Option<Arc<File>>,
    ahead: Ahead,
}

impl OpenFile {
    /// Whether it holds more than its inode number says, from one read to the next: a stream, a hold on the cache.
    pub(super) fn is_worth_keeping(&self) -> bool {
        matches!(self, Self::Content(OpenContent { long: Some(_), .. }))
    }

    /// The file on the cache's disk that holds exactly this content, complete and verified.
    pub fn whole_file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Content(open) => open.long.as_ref()?.whole.as_ref().map(|file| file.as_fd()),
            Self::Text(_) => None,
        }
    }
}

/// What names a long content in the cache; `None` for any other, and for content outside the repository.
///
/// All mounts of a daemon share what is equal: they belong to one user, whom the control socket alone answers.
fn content_key(item: &LeafItem) -> Option<ContentKey> {
    match &item.entry.body {
        EntryBody::File { size, .. } if *size < SMALL_CONTENT_BYTES => None,
        EntryBody::File { content, .. } => content_name(content).map(ContentKey::shared),
        EntryBody::Directory | EntryBody::Symlink { .. } => None,
    }
}

impl View {
    /// Opens a file.
    ///
    /// # Errors
    /// [`FsError::IsADirectory`]; [`FsError::Repo`].
    pub async fn open(&self, ino: Ino) -> Result<OpenFile, FsError> {
        match self.target(ino).await? {
            Target::Virtual(slot, file) => {
                let text = self.virtual_text(slot, file).await?.ok_or(FsError::IsADirectory)?;
                Ok(OpenFile::Text(text.into()))
            }
            Target::Tree(tree, Place::Node(node)) => match node.item.entry.body {
                EntryBody::File { .. } => Ok(OpenFile::Content(self.open_content(tree, node))),
                _ => Err(FsError::IsADirectory),
            },
            Target::Tree(_, Place::Root) | Target::Refs => Err(FsError::IsADirectory),
        }
    }

    /// Exactly `len` bytes from `offset`, or fewer at the end of the file.
    ///
    /// # Errors
    /// [`FsError::Repo`], [`FsError::Cache`].
    pub async fn read(&self, file: &OpenFile, offset: u64, len: usize) -> Result<Bytes, FsError> {
        let bytes = match file {
            OpenFile::Text(text) => cut(text, offset, len),
            OpenFile::Content(open) => open.read(self, offset, len).await?,
        };
        add(&self.stats().reads, 1);
        add(&self.stats().bytes_read, bytes.len() as u64);
        Ok(bytes)
    }

    fn open_content(&self, tree: Arc<CommitTree>, node: Node) -> OpenContent {
        let size = node.item.entry.size();
        let long = content_key(&node.item).zip(self.cache()).map(|(key, cache)| {
            let pieces = FilePieces { snapshot: tree.snapshot().clone(), item: node.item.clone() };
            let cached = cache.file(key, size, Arc::new(pieces));
            Long { whole: cached.complete_file(), cached, ahead: Ahead::default() }
        });
        OpenContent { tree, node, long }
    }

    /// A long file and the cache's file for it; `None` for any other, and without a cache.
    pub(super) fn long_file(&self, tree: Arc<CommitTree>, node: Node) -> Option<(OpenContent, CachedFile)> {
        let open = self.open_content(tree, node);
        let file = open.long.as_ref()?.cached.clone();
        Some((open, file))
    }

    /// What keeps a file's content from being evicted, what is there of it and what comes; `None` for one that is in no cache.
    pub(super) fn hold(&self, tree: &CommitTree, item: &LeafItem) -> Option<Hold> {
        match (content_key(item), self.cache()) {
            (Some(key), Some(cache)) => Some(cache.hold(key, item.entry.size())),
            _ => tree.snapshot().hold_small(item),
        }
    }

    /// Whether this machine holds all of a file's content.
    pub(super) fn is_cached(&self, tree: &CommitTree, node: &Node) -> bool {
        match &node.item.entry.body {
            EntryBody::File { content: Content::Empty | Content::Inline(_), .. } => true,
            EntryBody::File { size, .. } => match (content_key(&node.item), self.cache()) {
                (Some(key), Some(cache)) => cache.contains(key, *size),
                _ => tree.snapshot().small_at_hand(&node.item).is_ok_and(|found| found.is_some()),
            },
            EntryBody::Directory | EntryBody::Symlink { .. } => false,
        }
    }
}

impl OpenContent {
    async fn read(&self, view: &View, offset: u64, len: usize) -> Result<Bytes, FsError> {
        let EntryBody::File { content, size } = &self.node.item.entry.body else {
            return Err(FsError::IsADirectory);
        };
        if offset >= *size {
            return Ok(Bytes::new());
        }
        let len = len.min(usize::try_from(size - offset).unwrap_or(usize::MAX));
        match (content, &self.long) {
            (Content::Empty, _) => Ok(Bytes::new()),
            (Content::Inline(bytes), _) => Ok(cut(bytes, offset, len)),
            (_, Some(long)) => self.read_long(long, offset, len).await,
            (_, None) => match self.small(view).await? {
                Some(bytes) => Ok(cut(&bytes, offset, len)),
                None => self.tree.read(&self.node, offset, len).await,
            },
        }
    }

    /// The whole of a small content.
    async fn small(&self, view: &View) -> Result<Option<Bytes>, FsError> {
        let (snapshot, item) = (self.tree.snapshot(), &self.node.item);
        let at_hand = snapshot.small_at_hand(item).transpose();
        let found = match (at_hand, self.node.ino.meaning()) {
            (Some(found), _) => found.map(Some),
            (None, Some(Inode::Entry(_, rank))) => {
                let worth = view.cache().map_or(LONGEST_STRETCH, |cache| cache.worth_bringing());
                view.neighbours().read(snapshot, rank, item, worth).await
            }
            (None, _) => Ok(None),
        };
        found.map_err(|source| FsError::Repo {
            path: self.tree.describe(&self.node),
            source: Arc::new(source),
        })
    }

    async fn read_long(&self, long: &Long, offset: u64, len: usize) -> Result<Bytes, FsError> {
        // A stream goes on through what is there already, else it would begin anew at the next gap.
        if long.whole.is_none() && !long.cached.is_complete() {
            long.fetch_ahead(offset..offset + len as u64);
        }
        // What is on the disk is read here and now: no task is worth that wait.
        let mut buf = vec![0; len];
        if let Some(count) = long.cached.try_read(offset, &mut buf) {
            buf.truncate(count);
            return Ok(buf.into());
        }
        drop(buf);
        long.cached.read(offset, len).await.map_err(|error| self.failed(error))
    }

    /// An error of the cache or of what it asked, with the path.
    pub(super) fn failed(&self, error: CacheError) -> FsError {
        let path = self.tree.describe(&self.node);
        match &error {
            CacheError::Fetch(fetch) => match fetch.downcast_ref::<Shared>() {
                Some(Shared(source)) => FsError::Repo { path, source: source.clone() },
                None => FsError::Cache { path, source: error },
            },
            _ => FsError::Cache { path, source: error },
        }
    }
}

impl Long {
    /// Begins to fetch what a stream of reads will ask for next. Only a saving: where it fails, or is one too many, the
    /// read itself fetches.
    fn fetch_ahead(&self, range: Range<u64>) {
        let Some(wanted) = self.ahead.read(range, self.cached.size()) else { return };
        let room = (wanted.end - wanted.start).div_ceil(1 << 20).min(BUDGET.available_permits() as u64);
        let end = wanted.end.min(wanted.start + (room << 20));
        self.ahead.give_back(end..wanted.end);
        let wanted = wanted.start..end;
        if wanted.is_empty() {
            return;
        }
        // Others may have taken it just now; the next read tries again.
        let Ok(permit) = BUDGET.try_acquire_many(room as u32) else { return self.ahead.give_back(wanted) };
        let cached = self.cached.clone();
        tokio::spawn(async move {
            let run = run_bytes(&wanted);
            let _ = cached.fill(wanted, run, RUNS_AT_ONCE).await;
            drop(permit);
        });
    }
}

/// The part of `bytes` from `offset`, at most `len` long; empty behind the end.
fn cut(bytes: &Bytes, offset: u64, len: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(start..start.saturating_add(len).min(bytes.len()))
}
