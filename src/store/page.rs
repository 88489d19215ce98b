//! Cutting a sorted run of keys into a page: shared by the backends that list by themselves.
//!
//! The caller offers keys (and directories that fold into groups) in ascending order; the builder keeps those that the
//! request names, folds them, and says when the page is full. `next` is the last item kept, so that the following page
//! begins behind it whatever has been created or removed in between.

use std::ops::ControlFlow;

use super::{Grouping, Key, ListPage, ListRequest, ObjectInfo};

/// The most items one page holds, as in S3.
const MAX_KEYS: usize = 1000;

pub(super) struct PageBuilder<'a> {
    request: &'a ListRequest,
    page: ListPage,
    last: Option<String>,
}

impl<'a> PageBuilder<'a> {
    pub(super) fn new(request: &'a ListRequest) -> Self {
        Self { request, page: ListPage::default(), last: None }
    }

    /// The group that `key` (or a directory, ending in `/`) folds into.
    pub(super) fn group_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        if self.request.grouping == Grouping::Flat {
            return None;
        }
        let rest = key.strip_prefix(self.request.prefix.as_str())?;
        let slash = rest.find('/')?;
        Some(&key[..self.request.prefix.len() + slash + 1])
    }

    /// Whether no key that begins with `dir` (ends in `/`) can be on this page: before the start, or outside the prefix.
    pub(super) fn passes_over(&self, dir: &str) -> bool {
        let prefix = self.request.prefix.as_str();
        if !dir.starts_with(prefix) && !prefix.starts_with(dir) {
            return true;
        }
        match &self.request.start_after {
            Some(after) => after.as_str() > dir && !after.starts_with(dir),
            None => false,
        }
    }

    /// Offers the next key. `Break` when the page is full and the listing goes on.
    pub(super) fn offer(&mut self, key: &str, info: impl FnOnce() -> Option<ObjectInfo>) -> ControlFlow<()> {
        if !key.starts_with(self.request.prefix.as_str()) {
            return ControlFlow::Continue(());
        }
        if let Some(group) = self.group_of(key) {
            return self.offer_group(group);
        }
        if self.request.start_after.as_deref().is_some_and(|after| key <= after) {
            return ControlFlow::Continue(());
        }
        let Some(info) = info() else { return ControlFlow::Continue(()) };
        self.room()?;
        self.last = Some(key.to_owned());
        self.page.objects.push(info);
        ControlFlow::Continue(())
    }

    /// Offers a group that is known to hold a key.
    pub(super) fn offer_group(&mut self, group: &str) -> ControlFlow<()> {
        let behind = match self.request.start_after.as_deref() {
            Some(after) => group > after && !after.starts_with(group),
            None => true,
        };
        if !behind || self.page.groups.last().is_some_and(|last| last == group) {
            return ControlFlow::Continue(());
        }
        self.room()?;
        self.last = Some(group.to_owned());
        self.page.groups.push(group.to_owned());
        ControlFlow::Continue(())
    }

    /// The page.
    pub(super) fn finish(self) -> ListPage {
        self.page
    }

    fn room(&mut self) -> ControlFlow<()> {
        if self.page.objects.len() + self.page.groups.len() < self.request.max_keys.clamp(1, MAX_KEYS) {
            return ControlFlow::Continue(());
        }
        self.page.next = self.last.clone();
        ControlFlow::Break(())
    }
}

/// An object's facts, for backends that have them at hand.
pub(super) fn info(key: &str, size: u64, modified_seconds: i64) -> ObjectInfo {
    ObjectInfo { key: Key::new(key), size, modified_seconds }
}
