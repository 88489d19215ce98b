//! A set of changes to a tree: what is to be at some paths afterwards.
//!
//! Edits say nothing about paths that they do not name. A directory is removed by naming everything in it too, and a
//! path is only written where its directory is, or is written as well: whoever makes edits sees to both (see
//! `change/`), and whoever applies them to a tree may rely on it.

use std::collections::BTreeMap;

use crate::format::{Entry, EntryHints, EntryKind, LeafItem, TreeKey};

/// An entry and where its blobs lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The entry.
    pub entry: Entry,
    /// Where its content and attributes lie.
    pub hints: EntryHints,
}

/// Changes by key, in key order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits(BTreeMap<TreeKey, Option<Placed>>);

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
    pub fn put(&mut self, key: TreeKey, placed: Placed) {
        self.0.insert(key, Some(placed));
    }

    /// Nothing is at `key` afterwards.
    pub fn remove(&mut self, key: TreeKey) {
        self.0.insert(key, None);
    }

    /// `key` is left as it is after all.
    pub fn forget(&mut self, key: &TreeKey) {
        self.0.remove(key);
    }

    /// What these edits do to `key`: `None` nothing, `Some(None)` remove it.
    pub fn get(&self, key: &TreeKey) -> Option<Option<&Placed>> {
        self.0.get(key).map(Option::as_ref)
    }

    /// All edits in key order; `None` removes.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&TreeKey, Option<&Placed>)> {
        self.0.iter().map(|(key, edit)| (key, edit.as_ref()))
    }

    /// How many paths are named.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
