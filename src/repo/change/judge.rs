//! May this change be made on a branch that has moved, and what is left of it to do?
//!
//! Given our edits (made on a base) and what the other side changed since that base, path by path in any order:
//!
//! 1. A path that both sides touched is merged (`merge_entry`): it agrees, or it is a conflict.
//! 2. A path that the other side has now, whose directory we removed or made a file: a conflict at that path.
//! 3. A path that we write, whose directory the other side removed or made a file: a conflict at that path.
//!
//! All else is independent. Looking at the nearest directory is enough: the other side's tree is whole, so a
//! deeper path is only there together with its directory, which is then a difference of its own.

use std::collections::BTreeSet;

use crate::format::TreeKey;
use crate::repo::edits::Finder;
use crate::repo::{Edits, Placed, RepoError};
use crate::types::RepoPath;

use super::merge_entry::{Merged, merge};

/// What is left to do on top of the other side's tree.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Edits that still have to be made.
    pub(super) edits: Edits,
    /// Paths that contradict; if there are any, nothing may be written.
    pub(super) conflicts: BTreeSet<RepoPath>,
}

/// Takes the other side's differences one by one.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    ours: Finder<'a>,
    /// For the directories of what is looked up in `ours`.
    above: Finder<'a>,
    judged: Judged,
    /// Directories in which we write.
    parents: BTreeSet<TreeKey>,
    /// Those that are directories no more on the other side.
    gone: BTreeSet<TreeKey>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(ours: &'a Edits) -> Self {
        let written = ours.iter().filter(|(_, edit)| edit.is_some());
        let parents = written.filter_map(|(key, _)| parent(&key)).collect();
        let judged = Judged { edits: ours.clone(), conflicts: BTreeSet::new() };
        Self { ours: ours.finder(), above: ours.finder(), judged, parents, gone: BTreeSet::new() }
    }

    /// Our edit of `key`, when it contradicts the other side's.
    pub(super) fn contradicted(
        &mut self,
        key: &TreeKey,
        before: Option<&Placed>,
        after: Option<&Placed>,
    ) -> Option<Option<&Placed>> {
        let ours = self.ours.get(key)?;
        let merged = merge(before.map(|placed| &placed.entry), ours, after);
        (merged == Merged::Conflict).then_some(ours)
    }

    /// The other side changed `key` from `before` to `after` (none: it did not or does not exist).
    ///
    /// # Errors
    /// [`RepoError::Unstorable`] for a merged entry that breaks a rule: never, since neither side does.
    pub(super) fn theirs(
        &mut self,
        key: &TreeKey,
        before: Option<&Placed>,
        after: Option<&Placed>,
    ) -> Result<(), RepoError> {
        if let Some(ours) = self.ours.get(key) {
            match merge(before.map(|placed| &placed.entry), ours, after) {
                Merged::Theirs => {
                    self.judged.edits.forget(key);
                }
                Merged::Write(merged) => {
                    self.judged.edits.put(key.clone(), *merged).map_err(RepoError::Unstorable)?;
                }
                Merged::Remove => {}
                Merged::Conflict => self.conflict(key),
            }
        } else if after.is_some() {
            let parent = parent(key);
            let parent_edit = parent.as_ref().and_then(|parent| self.above.get(parent));
            if parent_edit.is_some_and(|edit| !is_directory(edit)) {
                self.conflict(key);
            }
        }
        if !is_directory(after) && self.parents.contains(key) {
            self.gone.insert(key.clone());
        }
        Ok(())
    }

    /// When all differences were told.
    pub(super) fn finish(mut self) -> Judged {
        let lost: Vec<TreeKey> = self
            .judged
            .edits
            .iter()
            .filter(|(_, edit)| edit.is_some())
            .filter(|(key, _)| parent(key).is_some_and(|parent| self.gone.contains(&parent)))
            .map(|(key, _)| key)
            .collect();
        for key in &lost {
            self.conflict(key);
        }
        self.judged
    }

    fn conflict(&mut self, key: &TreeKey) {
        // A key that was decoded or made from a path always has one.
        if let Ok(path) = key.to_path() {
            self.judged.conflicts.insert(path);
        }
    }
}

fn is_directory(placed: Option<&Placed>) -> bool {
    placed.is_some_and(Placed::is_directory)
}

/// The key of the directory that an entry lies in; none in the root.
fn parent(key: &TreeKey) -> Option<TreeKey> {
    TreeKey::of(&key.to_path().ok()?.parent()?)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::format::{Content, Entry, EntryBody, EntryHints, Mtime, Xattrs};

    /// `None` no entry, `Some("")` a directory, else a file with this text.
    type State<'a> = Option<&'a str>;

    fn placed(state: State<'_>) -> Option<Placed> {
        let body = match state? {
            "" => EntryBody::Directory,
            text => {
                let content = Content::Inline(Bytes::copy_from_slice(text.as_bytes()));
                EntryBody::File { size: text.len() as u64, content }
            }
        };
        let entry =
            Entry { mode: 0o755, uid: 0, gid: 0, mtime: Mtime::default(), xattrs: Xattrs::None, body };
        Some(Placed { entry, hints: EntryHints::default() })
    }

    fn key(path: &str) -> TreeKey {
        TreeKey::of(&RepoPath::new(path).expect("valid")).expect("not the root")
    }

    /// Our edits, their differences; the edits left and the conflicts, as paths.
    fn judge(
        ours: &[(&str, State<'_>)],
        theirs: &[(&str, State<'_>, State<'_>)],
    ) -> (Vec<String>, Vec<String>) {
        let mut edits = Edits::new();
        for (path, state) in ours {
            match placed(*state) {
                Some(placed) => edits.put(key(path), placed).expect("valid"),
                None => edits.remove(key(path)),
            }
        }
        let ours = edits;
        let run = |theirs: &mut dyn Iterator<Item = &(&str, State<'_>, State<'_>)>| {
            let mut judge = Judge::new(&ours);
            for (path, before, after) in theirs {
                judge
                    .theirs(&key(path), placed(*before).as_ref(), placed(*after).as_ref())
                    .expect("valid entries");
            }
            let judged = judge.finish();
            let mut edits: Vec<String> =
                judged.edits.iter().map(|(key, _)| key.to_path().expect("a path").to_string()).collect();
            edits.sort();
            (edits, judged.conflicts.iter().map(RepoPath::to_string).collect::<Vec<_>>())
        };
        let result = run(&mut theirs.iter());
        assert_eq!(result, run(&mut theirs.iter().rev()), "the order of differences must not matter");
        result
    }

    fn left(edits: &[&str], conflicts: &[&str]) -> (Vec<String>, Vec<String>) {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        (owned(edits), owned(conflicts))
    }

    #[test]
    fn different_paths_do_not_meet() {
        let result =
            judge(&[("a", Some("x")), ("d/b", None)], &[("c", None, Some("y")), ("d/e", Some("1"), None)]);
        assert_eq!(result, left(&["a", "d/b"], &[]));
    }

    #[test]
    fn equal_changes_need_nothing_and_different_ones_are_all_named() {
        let ours = [("a", Some("x")), ("b", Some("x")), ("c", Some("x"))];
        let theirs = [("a", None, Some("x")), ("b", None, Some("y")), ("c", Some("0"), Some("z"))];
        assert_eq!(judge(&ours, &theirs), left(&["b", "c"], &["b", "c"]));
    }

    #[test]
    fn a_directory_made_by_both_is_no_conflict() {
        let result =
            judge(&[("d", Some("")), ("d/a", Some("x"))], &[("d", None, Some("")), ("d/b", None, Some("y"))]);
        assert_eq!(result, left(&["d/a"], &[]));
    }

    #[test]
    fn a_directory_that_went_away_under_us() {
        let removed = [("d", Some(""), None), ("d/b", Some("y"), None)];
        assert_eq!(judge(&[("d/a", Some("x"))], &removed), left(&["d/a"], &["d/a"]));
        assert_eq!(judge(&[("d/b", None)], &removed), left(&[], &[]));
        let file = [("d", Some(""), Some("a file")), ("d/b", Some("y"), None)];
        assert_eq!(judge(&[("d/a", Some("x"))], &file), left(&["d/a"], &["d/a"]));
        // Written as a new directory here, as a file there.
        let ours = [("n", Some("")), ("n/a", Some("x"))];
        assert_eq!(judge(&ours, &[("n", None, Some("a file"))]), left(&["n", "n/a"], &["n", "n/a"]));
    }

    #[test]
    fn a_directory_that_we_removed_under_them() {
        let ours = [("d", None), ("d/b", None)];
        assert_eq!(judge(&ours, &[("d/new", None, Some("y"))]), left(&["d", "d/b"], &["d/new"]));
        assert_eq!(judge(&ours, &[("d/b", Some("1"), Some("2"))]), left(&["d", "d/b"], &["d/b"]));
        assert_eq!(judge(&ours, &[("d/b", Some("1"), None)]), left(&["d"], &[]));
        assert_eq!(judge(&ours, &[("d", Some(""), None), ("d/b", Some("1"), None)]), left(&[], &[]));
        let deep = [("d/n", None, Some("")), ("d/n/x", None, Some("y"))];
        assert_eq!(judge(&ours, &deep), left(&["d", "d/b"], &["d/n"]));
        // Replaced by a file.
        let ours = [("d", Some("a file")), ("d/b", None)];
        assert_eq!(judge(&ours, &[("d/new", None, Some("y"))]), left(&["d", "d/b"], &["d/new"]));
    }
}
