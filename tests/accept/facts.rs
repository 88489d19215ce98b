//! All that a repository keeps of a tree, so that two trees can be compared: names, kinds, modes, owners, times, targets of
//! links, user attributes, and a hash of every byte.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `f`, `d` or `l`.
    kind: char,
    /// Without setuid and setgid, which are not kept; 0 for links, which have none.
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The hash of a file's bytes, or where a link points.
    content: Vec<u8>,
}

/// Entries by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<Vec<u8>, Facts>);

impl Tree {
    /// Everything below a directory.
    pub(crate) fn below(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.read(root, b"", 1);
        tree
    }

    /// Each of `items` under its own name, as `add` puts them.
    pub(crate) fn of_items(items: &[impl AsRef<Path>]) -> Self {
        let mut tree = Self::default();
        for item in items {
            tree.read(item.as_ref(), item.as_ref().file_name().unwrap().as_bytes(), 0);
        }
        tree
    }

    fn read(&mut self, root: &Path, name: &[u8], min_depth: usize) {
        for entry in walkdir::WalkDir::new(root).min_depth(min_depth) {
            let entry = entry.unwrap();
            let below = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes();
            let parts: Vec<&[u8]> = [name, below].into_iter().filter(|part| !part.is_empty()).collect();
            self.0.insert(parts.join(&b'/'), facts(entry.path()));
        }
    }

    /// What `other` has comes in place of what is here.
    pub(crate) fn overlay(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Removes an entry and everything below it.
    pub(crate) fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        let before = self.0.len();
        self.0.retain(|key, _| key != path.as_bytes() && !key.starts_with(below.as_bytes()));
        assert!(self.0.len() < before, "{path} was there");
    }

    /// How many entries.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many regular files.
    pub(crate) fn files(&self) -> usize {
        self.0.values().filter(|facts| facts.kind == 'f').count()
    }
}

fn facts(path: &Path) -> Facts {
    let metadata = path.symlink_metadata().unwrap();
    let (kind, content) = if metadata.is_symlink() {
        ('l', fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec())
    } else if metadata.is_dir() {
        ('d', Vec::new())
    } else {
        let mut hasher = blake3::Hasher::new();
        let read = hasher.update_reader(File::open(path).unwrap()).unwrap().count();
        assert_eq!(read, metadata.size(), "{path:?} is as long as it says");
        ('f', hasher.finalize().as_bytes().to_vec())
    };
    let mut attributes = BTreeMap::new();
    if kind != 'l' {
        for name in xattr::list(path).unwrap().filter(|name| name.as_bytes().starts_with(b"user.")) {
            attributes.insert(name.as_bytes().to_vec(), xattr::get(path, &name).unwrap().unwrap());
        }
    }
    Facts {
        kind,
        mode: if kind == 'l' { 0 } else { metadata.mode() & 0o1777 },
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        attributes,
        content,
    }
}

/// Fails unless the two are the same, naming what differs.
pub(crate) fn assert_same(what: &str, found: &Tree, expected: &Tree) {
    let mut wrong = Vec::new();
    for (path, facts) in &expected.0 {
        match found.0.get(path) {
            None => wrong.push(format!("{} is missing", path.escape_ascii())),
            Some(other) if other != facts => {
                wrong.push(format!("{}: {other:?}, not {facts:?}", path.escape_ascii()));
            }
            Some(_) => {}
        }
    }
    let more = found.0.keys().filter(|path| !expected.0.contains_key(*path));
    wrong.extend(more.map(|path| format!("{} should not be there", path.escape_ascii())));
    assert!(
        wrong.is_empty(),
        "{what}: {} differences:\n  {}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n  ")
    );
}

/// What `diff` finds, which is nothing.
pub(crate) fn assert_no_diff(one: &Path, other: &Path) {
    let output = Command::new("diff").args(["-r", "--no-dereference"]).args([one, other]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let first: Vec<&str> = said.lines().take(20).collect();
    assert!(
        output.status.success() && said.is_empty(),
        "diff ended with {}: {first:#?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
