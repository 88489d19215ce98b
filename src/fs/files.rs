//! Open files and their bytes.
//!
//! A file above 512 bytes is read through the node's cache, which fetches what it does not have; without a cache it is
//! read from the repository. One of [`PASSTHROUGH_BYTES`] or more that is complete in the cache when it is opened
//! is handed to the kernel whole; an incomplete one never is, because its holes would read as zeros.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::cache::{CacheError, CachedFile, ContentKey};
use crate::format::{Content, EntryBody};

use super::ahead::Ahead;
use super::error::FsError;
use super::inode::Ino;
use super::node::Node;
use super::pieces::{FilePieces, Shared};
use super::stats::add;
use super::tree::{CommitTree, Place};
use super::view::{Target, View};

/// Files from this length on are opened with passthrough: below, an open costs more than the few reads it saves.
const PASSTHROUGH_BYTES: u64 = 1 << 20;

/// Windows that are fetched ahead at once in this process: each holds up to [`PIECES_AHEAD`] chunks in memory.
static FETCHES_AHEAD: Semaphore = Semaphore::const_new(32);

/// Chunks of a window that are fetched at once.
const PIECES_AHEAD: usize = 8;

/// A file that is open: what its reads are answered from.
#[derive(Debug)]
pub enum OpenFile {
    /// A file of `.atfs`: its text as it was when it was opened.
    Text(String),
    /// A file of a commit.
    Content(OpenContent),
}

/// An open file of a commit.
#[derive(Debug)]
pub struct OpenContent {
    tree: Arc<CommitTree>,
    node: Node,
    /// Holds the content in the cache.
    cached: Option<CachedFile>,
    /// The complete file, for passthrough.
    whole: Option<Arc<File>>,
    ahead: Ahead,
}

impl OpenFile {
    /// The file on the cache's disk that holds exactly this content, complete and verified.
    pub fn whole_file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Content(open) => open.whole.as_ref().map(|file| file.as_fd()),
            Self::Text(_) => None,
        }
    }
}

/// What names a file's content in the cache; `None` for content that is in its entry, or outside the repository.
///
/// All mounts of a daemon share what is equal: they belong to one user, whom the control socket alone answers. A chunk
/// and a manifest are never taken for each other: their files differ in size, which is part of the cache's name.
pub(super) fn content_key(node: &Node) -> Option<ContentKey> {
    let EntryBody::File { content, .. } = &node.item.entry.body else { return None };
    match content {
        Content::Chunk(id) => Some(ContentKey::shared(*id.as_bytes())),
        Content::Manifest(id) => Some(ContentKey::shared(*id.as_bytes())),
        Content::Empty | Content::Inline(_) | Content::External(_) => None,
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
                self.virtual_text(slot, file).await?.map(OpenFile::Text).ok_or(FsError::IsADirectory)
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
            OpenFile::Text(text) => {
                part(text.as_bytes(), offset, len).map_or_else(Bytes::new, Bytes::copy_from_slice)
            }
            OpenFile::Content(open) => open.read(offset, len).await?,
        };
        add(&self.stats().reads, 1);
        add(&self.stats().bytes_read, bytes.len() as u64);
        Ok(bytes)
    }

    fn open_content(&self, tree: Arc<CommitTree>, node: Node) -> OpenContent {
        let size = node.item.entry.size();
        let cached = content_key(&node).zip(self.cache()).map(|(key, cache)| {
            let pieces = FilePieces { snapshot: tree.snapshot().clone(), item: node.item.clone() };
            cache.file(key, size, Arc::new(pieces))
        });
        let whole = cached.as_ref().filter(|_| size >= PASSTHROUGH_BYTES).and_then(CachedFile::complete_file);
        OpenContent { tree, node, cached, whole, ahead: Ahead::default() }
    }
}

impl OpenContent {
    async fn read(&self, offset: u64, len: usize) -> Result<Bytes, FsError> {
        let EntryBody::File { content, size } = &self.node.item.entry.body else {
            return Err(FsError::IsADirectory);
        };
        if offset >= *size {
            return Ok(Bytes::new());
        }
        let len = len.min(usize::try_from(size - offset).unwrap_or(usize::MAX));
        match (content, &self.cached) {
            (Content::Empty, _) => Ok(Bytes::new()),
            (Content::Inline(bytes), _) => {
                Ok(part(bytes, offset, len).map_or_else(Bytes::new, |part| bytes.slice_ref(part)))
            }
            (_, Some(cached)) => self.read_cached(cached, offset, len).await,
            (_, None) => self.tree.read(&self.node, offset, len).await,
        }
    }

    async fn read_cached(&self, cached: &CachedFile, offset: u64, len: usize) -> Result<Bytes, FsError> {
        // What is on the disk is read here and now: no task is worth that wait.
        let mut buf = vec![0; len];
        if let Some(count) = cached.try_read(offset, &mut buf) {
            buf.truncate(count);
            return Ok(buf.into());
        }
        drop(buf);
        self.fetch_ahead(cached, offset..offset + len as u64);
        cached.read(offset, len).await.map_err(|error| self.failed(error))
    }

    /// Begins to fetch what a stream of reads will ask for next. Only a saving: where it fails, or is one too many, the
    /// read itself fetches.
    fn fetch_ahead(&self, cached: &CachedFile, range: Range<u64>) {
        let Some(wanted) = self.ahead.read(range, cached.size()) else { return };
        let Ok(permit) = FETCHES_AHEAD.try_acquire() else { return };
        let cached = cached.clone();
        tokio::spawn(async move {
            let _ = cached.fill(wanted, PIECES_AHEAD).await;
            drop(permit);
        });
    }

    fn failed(&self, error: CacheError) -> FsError {
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

/// The part of `bytes` from `offset`, at most `len` long; `None` behind the end.
fn part(bytes: &[u8], offset: u64, len: usize) -> Option<&[u8]> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    Some(&rest[..len.min(rest.len())])
}
