//! A set of changes to a tree: what is to be at some paths afterwards.
//!
//! Edits say nothing about paths that they do not name. A directory is removed by naming everything in it too, and a
//! path is only written where its directory is, or is written as well: whoever makes edits sees to both (see
//! `change/`), and whoever applies them to a tree may rely on it. An entry that breaks a rule of the format is refused
//! here, so whatever edits hold can be stored.
//!
//! Memory: edits may be millions, so they are held as the tree itself holds its entries: in blocks of up to 64
//! neighbours, encoded as leaf nodes (`block`), some 40 bytes for a short file, 90 for one with a chunk, where the values
//! would take 400. New edits gather in front of the blocks and are then worked in, in one go. A clone shares
//! the blocks.

mod block;

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use crate::format::{Entry, EntryHints, EntryKind, FormatError, LeafItem, TreeKey};

use block::Block;

/// How many edits gather before they are worked into the blocks: enough that a block is not taken apart for every edit,
/// and less than 1 MB.
const FRESH: usize = 1024;

/// An entry and where its blobs lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The entry.
    pub entry: Entry,
    /// Where its content and attributes lie.
    pub hints: EntryHints,
}

/// One edit: what is at a key afterwards; `None` nothing.
pub(in crate::repo) type Edit = (TreeKey, Option<Placed>);

/// Changes by key, in key order.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    /// By first key; their ranges do not overlap.
    blocks: BTreeMap<TreeKey, Arc<Block>>,
    /// What came since; it holds over the blocks.
    fresh: BTreeMap<TreeKey, Fresh>,
}

/// The last word about a key.
#[derive(Debug, Clone)]
enum Fresh {
    Edit(Option<Placed>),
    Forgotten,
}

impl From<LeafItem> for Placed {
    fn from(item: LeafItem) -> Self {
        Self { entry: item.entry, hints: item.hints }
    }
}

impl Placed {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.entry.kind() == EntryKind::Directory
    }
}

impl Edits {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// `placed` is at `key` afterwards, whatever was there.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for an entry that cannot be stored ([`LeafItem::check`]).
    pub fn put(&mut self, key: TreeKey, placed: Placed) -> Result<(), FormatError> {
        let item = LeafItem { key, entry: placed.entry, hints: placed.hints };
        item.check()?;
        self.note(item.key, Fresh::Edit(Some(Placed { entry: item.entry, hints: item.hints })));
        Ok(())
    }

    /// Nothing is at `key` afterwards.
    pub fn remove(&mut self, key: TreeKey) {
        // No tree has such a key, and a block cannot hold it.
        if !key.is_reserved() {
            self.note(key, Fresh::Edit(None));
        }
    }

    /// `key` is left as it is after all.
    pub fn forget(&mut self, key: &TreeKey) {
        self.note(key.clone(), Fresh::Forgotten);
    }

    /// What these edits do to `key`: `None` nothing, `Some(None)` remove it. Takes a block apart: for keys that come in
    /// order there is [`Edits::finder`].
    pub fn get(&self, key: &TreeKey) -> Option<Option<Placed>> {
        self.finder().get(key).map(Option::<&Placed>::cloned)
    }

    /// For many look-ups of keys that lie near each other.
    pub fn finder(&self) -> Finder<'_> {
        Finder { edits: self, open: None }
    }

    /// All edits in key order.
    pub fn iter(&self) -> impl Iterator<Item = Edit> + Send {
        let held = self.blocks.values().flat_map(|block| block.open());
        Merged { held: held.peekable(), fresh: self.fresh.iter().peekable() }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn note(&mut self, key: TreeKey, fresh: Fresh) {
        self.fresh.insert(key, fresh);
        if self.fresh.len() >= FRESH {
            self.work_in();
        }
    }

    /// Works what is fresh into the blocks: every block that it touches is taken apart once.
    fn work_in(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        while let Some((first, _)) = fresh.first_key_value() {
            let home = self.blocks.range(..=first).next_back().map(|(key, _)| key.clone());
            let after = (home.as_ref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            // What belongs before the next block goes into this one.
            let later = match self.blocks.range(after).next() {
                Some((next, _)) => fresh.split_off(next),
                None => BTreeMap::new(),
            };
            let block = home.and_then(|key| self.blocks.remove(&key));
            let held = block.iter().flat_map(|block| block.open());
            let merged = Merged { held: held.peekable(), fresh: fresh.iter().peekable() };
            for (first, block) in Block::pack(merged.collect()) {
                self.blocks.insert(first, Arc::new(block));
            }
            fresh = later;
        }
    }

    /// The block in whose range `key` lies.
    fn block(&self, key: &TreeKey) -> Option<&Arc<Block>> {
        self.blocks.range(..=key).next_back().map(|(_, block)| block).filter(|block| *key <= block.last)
    }
}

/// Look-ups that keep the block of the last one open.
#[derive(Debug)]
pub struct Finder<'a> {
    edits: &'a Edits,
    open: Option<(&'a Arc<Block>, Vec<Edit>)>,
}

impl Finder<'_> {
    /// As [`Edits::get`].
    pub fn get(&mut self, key: &TreeKey) -> Option<Option<&Placed>> {
        match self.edits.fresh.get(key) {
            Some(Fresh::Edit(placed)) => return Some(placed.as_ref()),
            Some(Fresh::Forgotten) => return None,
            None => {}
        }
        let block = self.edits.block(key)?;
        if self.open.as_ref().is_none_or(|(open, _)| !Arc::ptr_eq(open, block)) {
            self.open = Some((block, block.open().collect()));
        }
        let (_, edits) = self.open.as_ref()?;
        let at = edits.binary_search_by(|(held, _)| held.cmp(key)).ok()?;
        Some(edits[at].1.as_ref())
    }
}

/// Blocks in order, and what is fresh laid over them.
struct Merged<'a, H: Iterator, F: Iterator<Item = (&'a TreeKey, &'a Fresh)>> {
    held: Peekable<H>,
    fresh: Peekable<F>,
}

impl<'a, H, F> Iterator for Merged<'a, H, F>
where
    H: Iterator<Item = Edit>,
    F: Iterator<Item = (&'a TreeKey, &'a Fresh)>,
{
    type Item = Edit;

    fn next(&mut self) -> Option<Edit> {
        loop {
            let Some((key, _)) = self.fresh.peek() else { return self.held.next() };
            if let Some(held) = self.held.next_if(|(held, _)| held < *key) {
                return Some(held);
            }
            self.held.next_if(|(held, _)| held == *key);
            if let Some((key, Fresh::Edit(placed))) = self.fresh.next() {
                return Some((key.clone(), placed.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
