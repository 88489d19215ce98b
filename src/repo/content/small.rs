//! Small contents: files of one chunk that are kept in slabs, and what lies beside them in their packs.
//!
//! Packs are written in key order, so the files of a directory lie together and one request brings many. What lies beside
//! a content is learnt from the tree (its neighbours by rank, and their hints), so every blob that is fetched is
//! one of this commit and is verified when it comes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::format::{Content, EntryBody, FormatError, LeafItem};
use crate::repo::RepoError;
use crate::repo::blobs::{Blobs, SmallContent, Wanted};
use crate::repo::tree::Tree;
use crate::types::Location;

/// Contents shorter than this are small: they lie in slabs. From here on a content has a file of its own, which the
/// kernel can read by itself.
pub const SMALL_CONTENT_BYTES: u64 = 1 << 20;

/// Entries that are looked at to either side, at most: neighbours of 4 KiB fill a stretch of 16 MiB.
const MAX_ENTRIES: u64 = 4096;

/// So many neighbours in a row that lie elsewhere (directories, files that a later commit replaced) end the look.
const MAX_ELSEWHERE: u32 = 64;

/// Entries of one step.
const STEP: u64 = 128;

/// Small contents of one pack, in the order of their places.
#[derive(Debug, Clone, Default)]
pub struct Beside(Vec<Wanted<SmallContent>>);

impl Beside {
    /// The small contents among `items`; others are left out.
    pub fn of<'a>(items: impl IntoIterator<Item = &'a LeafItem>) -> Self {
        Self(items.into_iter().filter_map(small).collect())
    }

    /// Takes out those that begin in the aligned stretch of `bytes` around the content of `item`: what one quick request
    /// brings with it.
    pub fn take_near(&mut self, item: &LeafItem, bytes: u64) -> Self {
        let Some(Wanted { hint: Some(at), .. }) = small(item) else { return Self::default() };
        let stretch = stretch(&at, bytes);
        let near = |wanted: &Wanted<SmallContent>| wanted.hint.is_some_and(|at| stretch.contains(&at.offset));
        let (near, rest) = std::mem::take(&mut self.0).into_iter().partition(near);
        self.0 = rest;
        Self(near)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves out what this machine has.
    pub(in crate::repo) fn missing(&self, blobs: &Blobs) -> Vec<Wanted<SmallContent>> {
        self.0.iter().filter(|wanted| !blobs.seems_here(wanted)).copied().collect()
    }
}

/// The aligned stretch of `bytes` bytes of the pack that holds the beginning of `at`.
fn stretch(at: &Location, bytes: u64) -> Range<u64> {
    let start = at.offset - at.offset % bytes;
    start..start.saturating_add(bytes)
}

/// What an entry's content is asked for by, if it is a small one.
pub(in crate::repo) fn small(item: &LeafItem) -> Option<Wanted<SmallContent>> {
    match &item.entry.body {
        EntryBody::File { size, content: Content::Chunk(id) } if *size < SMALL_CONTENT_BYTES => {
            Some(Wanted::new(*id, item.hints.content))
        }
        _ => None,
    }
}

/// The bytes of a small content that came, which must be as long as its entry says.
///
/// # Errors
/// [`RepoError::Damaged`].
pub(in crate::repo) fn checked(
    blobs: &Blobs,
    item: &LeafItem,
    content: &Arc<SmallContent>,
) -> Result<Bytes, RepoError> {
    let SmallContent(bytes) = &**content;
    if bytes.len() as u64 == item.entry.size() {
        return Ok(bytes.clone());
    }
    let Some(wanted) = small(item) else { return Ok(bytes.clone()) };
    let rule = format!("{} has {} bytes where {} were announced", wanted.id, bytes.len(), item.entry.size());
    Err(blobs.damaged::<SmallContent>(wanted.id, wanted.hint, FormatError::malformed("chunk", rule)))
}

/// The small contents that begin in the same aligned stretch of `bytes` bytes of the same pack as that of the entry with
/// `rank`, itself left out.
///
/// # Errors
/// Damage, a missing object, any failure of the store: of the tree.
pub(in crate::repo) async fn beside(
    tree: &Tree,
    rank: u64,
    item: &LeafItem,
    bytes: u64,
) -> Result<Beside, RepoError> {
    let Some(Wanted { id, hint: Some(at) }) = small(item) else { return Ok(Beside::default()) };
    let stretch = stretch(&at, bytes);
    let lies_there = |item: &LeafItem| {
        let wanted = small(item)?;
        let other = wanted.hint?;
        (other.pack == at.pack && stretch.contains(&other.offset)).then_some(wanted)
    };
    let mut found = Vec::new();
    let mut elsewhere = 0;
    let mut ranks = rank + 1..rank.saturating_add(MAX_ENTRIES);
    'behind: while !ranks.is_empty() {
        let page = tree.page(ranks.start..ranks.end.min(ranks.start + STEP)).await?;
        let Some(last) = page.last() else { break };
        ranks.start = last.rank + 1;
        for entry in &page {
            elsewhere = note(&mut found, lies_there(&entry.item), elsewhere);
            if elsewhere > MAX_ELSEWHERE {
                break 'behind;
            }
        }
    }
    elsewhere = 0;
    let mut ranks = rank.saturating_sub(MAX_ENTRIES)..rank;
    'before: while !ranks.is_empty() {
        let mut step = ranks.start.max(ranks.end.saturating_sub(STEP))..ranks.end;
        ranks.end = step.start;
        let mut entries = Vec::new();
        while !step.is_empty() {
            let page = tree.page(step.clone()).await?;
            let Some(last) = page.last() else { break };
            step.start = last.rank + 1;
            entries.extend(page);
        }
        for entry in entries.iter().rev() {
            elsewhere = note(&mut found, lies_there(&entry.item), elsewhere);
            if elsewhere > MAX_ELSEWHERE {
                break 'before;
            }
        }
    }
    found.retain(|wanted| wanted.id != id);
    found.sort_unstable_by_key(|wanted| wanted.hint.map(|at| at.offset));
    Ok(Beside(found))
}

/// Adds a neighbour that lies there; returns how many in a row did not.
fn note(
    found: &mut Vec<Wanted<SmallContent>>,
    neighbour: Option<Wanted<SmallContent>>,
    elsewhere: u32,
) -> u32 {
    match neighbour {
        Some(wanted) => {
            found.push(wanted);
            0
        }
        None => elsewhere + 1,
    }
}
