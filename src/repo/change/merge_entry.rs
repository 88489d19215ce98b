//! One path, changed on both sides: what holds in the end, or that it is a conflict.
//!
//! Field by field, as everywhere in version control: a side that left a field as it was lets the other side's value
//! stand; both sides changing a field to the same value agree; to different values is a conflict. Two fields never
//! conflict: the modification time (the newer one holds), and anything about a directory, which people change
//! without knowing (creating a file in it suffices).

use crate::format::{Entry, EntryHints, EntryKind, Mtime};
use crate::repo::Placed;

/// What became of a path that both sides may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Merged {
    /// Their state is right as it is.
    Theirs,
    /// This must be written over their state.
    Write(Box<Placed>),
    /// It must be removed from their state.
    Remove,
    /// The sides contradict each other.
    Conflict,
}

/// Merges one path; `None` means that it does not exist on that side.
pub(super) fn merge(base: Option<&Entry>, ours: Option<&Placed>, theirs: Option<&Placed>) -> Merged {
    match (ours, theirs) {
        (None, None) => Merged::Theirs,
        (Some(ours), Some(theirs)) => both_exist(base, ours, theirs),
        // One side removed it (or never had it): fine if the other side left it as it was.
        (None, Some(theirs)) => match base {
            Some(base) if unchanged_enough(base, &theirs.entry) => Merged::Remove,
            Some(_) => Merged::Conflict,
            None => Merged::Theirs,
        },
        (Some(ours), None) => match base {
            Some(base) if unchanged_enough(base, &ours.entry) => Merged::Theirs,
            Some(_) => Merged::Conflict,
            None => Merged::Write(Box::new(ours.clone())),
        },
    }
}

/// Whether removing the entry loses no change: a directory's own attributes go with it, what is in it is judged by itself.
fn unchanged_enough(base: &Entry, now: &Entry) -> bool {
    let both_directories = base.kind() == EntryKind::Directory && now.kind() == EntryKind::Directory;
    both_directories || without_mtime(base) == without_mtime(now)
}

fn without_mtime(entry: &Entry) -> Entry {
    Entry { mtime: Mtime::default(), ..entry.clone() }
}

fn both_exist(base: Option<&Entry>, ours: &Placed, theirs: &Placed) -> Merged {
    if ours.entry == theirs.entry {
        return Merged::Theirs;
    }
    if ours.entry.kind() != theirs.entry.kind() {
        // Fields of a file and of a directory do not mix: one side's entry holds as a whole.
        return match base {
            Some(base) if unchanged_enough(base, &theirs.entry) => Merged::Write(Box::new(ours.clone())),
            Some(base) if unchanged_enough(base, &ours.entry) => Merged::Theirs,
            _ => Merged::Conflict,
        };
    }
    let directory = ours.entry.kind() == EntryKind::Directory;
    let field = |base, ours, theirs| three_way(base, ours, theirs).or(directory.then_some(Side::Theirs));
    let (o, t) = (&ours.entry, &theirs.entry);
    let sides = (
        field(base.map(|b| u64::from(b.mode)), u64::from(o.mode), u64::from(t.mode)),
        field(base.map(|b| u64::from(b.uid)), u64::from(o.uid), u64::from(t.uid)),
        field(base.map(|b| u64::from(b.gid)), u64::from(o.gid), u64::from(t.gid)),
        three_way(base.map(|b| &b.xattrs), &o.xattrs, &t.xattrs).or(directory.then_some(Side::Theirs)),
        three_way(base.map(|b| &b.body), &o.body, &t.body),
    );
    let (Some(mode), Some(uid), Some(gid), Some(xattrs), Some(body)) = sides else {
        return Merged::Conflict;
    };
    let pick = |side| if side == Side::Ours { ours } else { theirs };
    let merged = Placed {
        entry: Entry {
            mode: pick(mode).entry.mode,
            uid: pick(uid).entry.uid,
            gid: pick(gid).entry.gid,
            mtime: merge_mtime(base, o.mtime, t.mtime),
            xattrs: pick(xattrs).entry.xattrs.clone(),
            body: pick(body).entry.body.clone(),
        },
        hints: EntryHints { content: pick(body).hints.content, xattrs: pick(xattrs).hints.xattrs },
    };
    if merged.entry == theirs.entry { Merged::Theirs } else { Merged::Write(Box::new(merged)) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
}

fn three_way<T: PartialEq>(base: Option<T>, ours: T, theirs: T) -> Option<Side> {
    if ours == theirs || base.as_ref() == Some(&ours) {
        Some(Side::Theirs)
    } else if base.as_ref() == Some(&theirs) {
        Some(Side::Ours)
    } else {
        None
    }
}

/// A time that only one side set is that side's will, even if it is older; of two the newer one.
fn merge_mtime(base: Option<&Entry>, ours: Mtime, theirs: Mtime) -> Mtime {
    match three_way(base.map(|base| base.mtime), ours, theirs) {
        Some(Side::Ours) => ours,
        Some(Side::Theirs) => theirs,
        None => ours.max(theirs),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::format::{Content, EntryBody, Xattrs};

    fn file(text: &'static str, mode: u16, seconds: i64) -> Placed {
        let content = Content::Inline(Bytes::from_static(text.as_bytes()));
        let body = EntryBody::File { size: text.len() as u64, content };
        placed(body, mode, seconds)
    }

    fn dir(mode: u16, seconds: i64) -> Placed {
        placed(EntryBody::Directory, mode, seconds)
    }

    fn placed(body: EntryBody, mode: u16, seconds: i64) -> Placed {
        let mtime = Mtime { seconds, nanos: 0 };
        let entry = Entry { mode, uid: 1, gid: 1, mtime, xattrs: Xattrs::None, body };
        Placed { entry, hints: EntryHints::default() }
    }

    fn try_merge(base: Option<Placed>, ours: Option<Placed>, theirs: Option<Placed>) -> Merged {
        merge(base.as_ref().map(|b| &b.entry), ours.as_ref(), theirs.as_ref())
    }

    fn write(placed: Placed) -> Merged {
        Merged::Write(Box::new(placed))
    }

    #[test]
    fn one_side_alone_has_its_will() {
        let (a, b) = (file("a", 0o644, 1), file("b", 0o644, 2));
        assert_eq!(try_merge(Some(a.clone()), Some(b.clone()), Some(a.clone())), write(b.clone()));
        assert_eq!(try_merge(Some(a.clone()), Some(a.clone()), Some(b.clone())), Merged::Theirs);
        assert_eq!(try_merge(Some(a.clone()), None, Some(a.clone())), Merged::Remove);
        assert_eq!(try_merge(Some(a.clone()), Some(a.clone()), None), Merged::Theirs);
        assert_eq!(try_merge(None, Some(b.clone()), None), write(b));
    }

    #[test]
    fn equal_changes_agree_and_different_ones_conflict() {
        let (a, b, c) = (file("a", 0o644, 1), file("b", 0o644, 2), file("c", 0o644, 3));
        assert_eq!(try_merge(Some(a.clone()), Some(b.clone()), Some(b.clone())), Merged::Theirs);
        assert_eq!(try_merge(None, Some(b.clone()), Some(b.clone())), Merged::Theirs);
        assert_eq!(try_merge(Some(a.clone()), None, None), Merged::Theirs);
        assert_eq!(try_merge(Some(a.clone()), Some(b.clone()), Some(c.clone())), Merged::Conflict);
        assert_eq!(try_merge(None, Some(b.clone()), Some(c.clone())), Merged::Conflict);
        assert_eq!(try_merge(Some(a.clone()), None, Some(b.clone())), Merged::Conflict);
        assert_eq!(try_merge(Some(a), Some(b), None), Merged::Conflict);
        assert_eq!(try_merge(None, Some(c), Some(dir(0o755, 1))), Merged::Conflict);
    }

    #[test]
    fn fields_merge_by_themselves() {
        let base = file("a", 0o644, 1);
        let merged = try_merge(Some(base.clone()), Some(file("a", 0o600, 1)), Some(file("b", 0o644, 9)));
        assert_eq!(merged, write(file("b", 0o600, 9)));
        let merged = try_merge(Some(base.clone()), Some(file("a", 0o600, 1)), Some(file("a", 0o640, 1)));
        assert_eq!(merged, Merged::Conflict);
    }

    #[test]
    fn the_newer_time_holds_and_never_conflicts() {
        let base = file("a", 0o644, 5);
        let times = |ours, theirs| {
            try_merge(Some(base.clone()), Some(file("a", 0o644, ours)), Some(file("a", 0o644, theirs)))
        };
        assert_eq!(times(7, 9), Merged::Theirs);
        assert_eq!(times(9, 7), write(file("a", 0o644, 9)));
        assert_eq!(times(3, 5), write(file("a", 0o644, 3)));
        // A newer time alone does not bring back what the other side removed, nor keep it from being removed.
        assert_eq!(try_merge(Some(base.clone()), Some(file("a", 0o644, 9)), None), Merged::Theirs);
        assert_eq!(try_merge(Some(base.clone()), None, Some(file("a", 0o644, 9))), Merged::Remove);
    }

    #[test]
    fn directories_never_conflict_with_directories() {
        assert_eq!(try_merge(None, Some(dir(0o700, 9)), Some(dir(0o755, 3))), write(dir(0o755, 9)));
        let merged = try_merge(Some(dir(0o755, 1)), Some(dir(0o700, 2)), Some(dir(0o750, 3)));
        assert_eq!(merged, Merged::Theirs);
        assert_eq!(try_merge(Some(dir(0o755, 1)), None, Some(dir(0o755, 3))), Merged::Remove);
        // Replaced by a file here, touched there: the directory's own time is no reason to keep it.
        let merged = try_merge(Some(dir(0o755, 1)), Some(file("x", 0o644, 1)), Some(dir(0o755, 3)));
        assert_eq!(merged, write(file("x", 0o644, 1)));
    }
}
