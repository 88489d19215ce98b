//! Edits in key order, seen some way ahead, so that the nodes that they touch can be fetched side by side.

use std::collections::VecDeque;

use crate::format::{ChildItem, TreeKey};
use crate::repo::edits::Edit;

/// How many edits are looked at ahead of the one being made.
const AHEAD: usize = 4096;

/// The edits that are still to be made.
pub(super) struct Upcoming<I> {
    rest: I,
    ahead: VecDeque<Edit>,
}

impl<I: Iterator<Item = Edit>> Upcoming<I> {
    pub(super) fn new(edits: I) -> Self {
        let mut upcoming = Self { rest: edits, ahead: VecDeque::new() };
        upcoming.fill();
        upcoming
    }

    /// The next edit.
    pub(super) fn peek(&self) -> Option<&Edit> {
        self.ahead.front()
    }

    /// Takes the next edit.
    pub(super) fn take(&mut self) -> Option<Edit> {
        let edit = self.ahead.pop_front();
        if self.ahead.len() < AHEAD / 2 {
            self.fill();
        }
        edit
    }

    /// Whether an edit is left with a key up to this one.
    pub(super) fn touches(&self, last_key: &TreeKey) -> bool {
        self.peek().is_some_and(|(key, _)| key <= last_key)
    }

    /// Those of `children` (neighbours, in order) in whose ranges edits lie, as far as is seen, at most `limit`.
    pub(super) fn touched<'a>(&self, children: &'a [ChildItem], limit: usize) -> Vec<&'a ChildItem> {
        let mut touched: Vec<&ChildItem> = Vec::new();
        let mut rest = children;
        let mut edits = self.ahead.iter();
        let mut edit = edits.next();
        while let Some((key, _)) = edit
            && touched.len() < limit
        {
            let at = rest.partition_point(|child| child.last_key < *key);
            let Some(child) = rest.get(at) else { break };
            touched.push(child);
            rest = &rest[at + 1..];
            edit = edits.find(|(key, _)| *key > child.last_key);
        }
        touched
    }

    fn fill(&mut self) {
        while self.ahead.len() < AHEAD {
            let Some(edit) = self.rest.next() else { break };
            self.ahead.push_back(edit);
        }
    }
}
