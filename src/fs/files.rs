//! Open files and their bytes.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::format::{Content, EntryBody};

use super::error::FsError;
use super::inode::Ino;
use super::node::Node;
use super::stats::add;
use super::tree::{CommitTree, Place};
use super::view::{Target, View};

/// A file that is open: what its reads are answered from.
#[derive(Debug)]
pub enum OpenFile {
    /// A file of `.atfs`: its text as it was when it was opened.
    Text(String),
    /// A file of a commit.
    Content {
        /// The commit.
        tree: Arc<CommitTree>,
        /// The entry.
        node: Node,
    },
}

impl OpenFile {
    /// The file on the cache's disk that holds exactly this content, complete and verified.
    pub fn whole_file(&self) -> Option<BorrowedFd<'_>> {
        None
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
                EntryBody::File { .. } => Ok(OpenFile::Content { tree, node }),
                _ => Err(FsError::IsADirectory),
            },
            Target::Tree(_, Place::Root) | Target::Refs => Err(FsError::IsADirectory),
        }
    }

    /// Exactly `len` bytes from `offset`, or fewer at the end of the file.
    ///
    /// # Errors
    /// [`FsError::Repo`].
    pub async fn read(&self, file: &OpenFile, offset: u64, len: usize) -> Result<Bytes, FsError> {
        let bytes = match file {
            OpenFile::Text(text) => part(text.as_bytes(), offset, len).map(Bytes::copy_from_slice),
            OpenFile::Content { node, tree } => match &node.item.entry.body {
                EntryBody::File { content: Content::Empty, .. } => None,
                EntryBody::File { content: Content::Inline(bytes), .. } => {
                    part(bytes, offset, len).map(|part| bytes.slice_ref(part))
                }
                EntryBody::File { size, .. } if offset < *size => {
                    let len = len.min(usize::try_from(size - offset).unwrap_or(usize::MAX));
                    Some(tree.read(node, offset, len).await?)
                }
                _ => None,
            },
        };
        let bytes = bytes.unwrap_or_default();
        add(&self.stats().reads, 1);
        self.stats().bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// The part of `bytes` from `offset`, at most `len` long; `None` behind the end.
fn part(bytes: &[u8], offset: u64, len: usize) -> Option<&[u8]> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    Some(&rest[..len.min(rest.len())])
}
