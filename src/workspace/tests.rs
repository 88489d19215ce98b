//! A workspace against a plain model, and with the process dying at every call that changes the disk.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use proptest::prelude::*;

use super::changes::Changed;
use super::disk::Disk;
use super::local::{Local, Whose};
use super::view::Node;
use super::*;
use crate::format::{EntryKind, XattrList};
use crate::repo::change::{Change, NewCommit};
use crate::repo::files::{AddItem, add};
use crate::repo::{InitOptions, Repository, Services, Snapshot};
use crate::store::MemoryStore;
use crate::types::{NoProgress, OsRandom, RepoPath, SystemClock};

const OWNER: (u32, u32) = (1000, 100);

/// What is at a path, in the model.
#[derive(Clone, PartialEq, Eq)]
struct Thing {
    kind: EntryKind,
    mode: u16,
    owner: (u32, u32),
    /// Bytes of a file, target of a symlink.
    bytes: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl std::fmt::Debug for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, mode, owner, bytes, xattrs } = self;
        let names: Vec<_> = xattrs.keys().map(|name| name.escape_ascii().to_string()).collect();
        let hash = &blake3::hash(bytes).to_hex()[..6];
        write!(f, "{kind:?} {mode:o} {owner:?} {} bytes {hash} {names:?}", bytes.len())
    }
}

/// A plain file system: names, and what they name (several may name one file, until the next freeze: then each that is changed
/// is a file of its own).
#[derive(Debug, Clone, Default)]
struct Model {
    names: BTreeMap<Vec<Vec<u8>>, usize>,
    things: Vec<Thing>,
    /// Those before this one are frozen.
    frozen: usize,
}

type View = BTreeMap<String, Thing>;

#[derive(Debug, Clone)]
enum Op {
    Create(RepoPath),
    MakeDirectory(RepoPath),
    MakeSymlink(RepoPath),
    Unlink(RepoPath),
    RemoveDirectory(RepoPath),
    Rename(RepoPath, RepoPath, Replace),
    Link(RepoPath, RepoPath),
    Mode(RepoPath, u16),
    Owner(RepoPath, u32),
    Write(RepoPath, u64, Vec<u8>),
    SetLen(RepoPath, u64),
    Zeros(RepoPath, u64, u64),
    SetXattr(RepoPath, u8),
    RemoveXattr(RepoPath, u8),
    Freeze,
    Reopen,
}

fn parts(path: &RepoPath) -> Vec<Vec<u8>> {
    path.components().map(|name| name.as_bytes().to_vec()).collect()
}

fn xattr(number: u8) -> (Vec<u8>, Vec<u8>) {
    (format!("user.x{}", number % 3).into_bytes(), vec![number; usize::from(number)])
}

impl Model {
    fn of_base() -> Self {
        let mut model = Self::default();
        let thing = |kind, mode, bytes: &[u8], xattrs: &[(&str, &str)]| Thing {
            kind,
            mode,
            owner: nix_owner(),
            bytes: bytes.to_vec(),
            xattrs: xattrs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect(),
        };
        let directory = || thing(EntryKind::Directory, 0o755, b"", &[]);
        let file = |bytes: &[u8], xattrs: &[(&str, &str)]| thing(EntryKind::File, 0o644, bytes, xattrs);
        let long: Vec<u8> = (0..3000u32).map(|n| (n % 251) as u8 + 1).collect();
        for (path, thing) in [
            ("a", directory()),
            ("a/a", file(&long, &[("user.x0", "zero"), ("user.x1", "one")])),
            ("a/b", directory()),
            ("a/b/a", file(b"short", &[])),
            ("a/b/b", thing(EntryKind::Symlink, 0o777, b"somewhere", &[])),
            ("a/c", file(b"", &[("user.x2", "two")])),
            ("b", file(&long[7..], &[])),
            ("c", thing(EntryKind::Directory, 0o700, b"", &[("user.x1", "of a directory")])),
            ("c/a", directory()),
        ] {
            model.add(&RepoPath::new(path).unwrap(), thing);
        }
        model
    }

    fn add(&mut self, path: &RepoPath, thing: Thing) {
        self.things.push(thing);
        self.names.insert(parts(path), self.things.len() - 1);
    }

    fn get(&self, path: &RepoPath) -> Option<&Thing> {
        self.names.get(&parts(path)).map(|&n| &self.things[n])
    }

    fn is_directory(&self, path: &[Vec<u8>]) -> bool {
        path.is_empty() || self.names.get(path).is_some_and(|&n| self.things[n].kind == EntryKind::Directory)
    }

    /// ENOENT or ENOTDIR for what lies in no directory.
    fn parent(&self, path: &RepoPath) -> Result<(), Errno> {
        let parts = parts(path);
        for end in 1..parts.len() {
            if !self.names.contains_key(&parts[..end]) {
                return Err(Errno::ENOENT);
            }
            if !self.is_directory(&parts[..end]) {
                return Err(Errno::ENOTDIR);
            }
        }
        Ok(())
    }

    fn existing(&mut self, path: &RepoPath) -> Result<&mut Thing, Errno> {
        self.parent(path)?;
        let n = self.names.get_mut(&parts(path)).ok_or(Errno::ENOENT)?;
        if *n < self.frozen {
            self.things.push(self.things[*n].clone());
            *n = self.things.len() - 1;
        }
        Ok(&mut self.things[*n])
    }

    fn file(&mut self, path: &RepoPath) -> Result<&mut Thing, Errno> {
        let thing = self.existing(path)?;
        if thing.kind == EntryKind::File { Ok(thing) } else { Err(Errno::EISDIR) }
    }

    fn is_empty(&self, path: &RepoPath) -> bool {
        let path = parts(path);
        !self.names.keys().any(|name| name.len() > path.len() && name.starts_with(&path))
    }

    fn make(&mut self, path: &RepoPath, kind: EntryKind, mode: u16, bytes: &[u8]) -> Result<(), Errno> {
        self.parent(path)?;
        if self.names.contains_key(&parts(path)) {
            return Err(Errno::EEXIST);
        }
        let xattrs = BTreeMap::new();
        self.add(path, Thing { kind, mode, owner: OWNER, bytes: bytes.to_vec(), xattrs });
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), Errno> {
        match op {
            Op::Create(path) => self.make(path, EntryKind::File, 0o640, b""),
            Op::MakeDirectory(path) => self.make(path, EntryKind::Directory, 0o750, b""),
            Op::MakeSymlink(path) => self.make(path, EntryKind::Symlink, 0o777, b"target"),
            Op::Unlink(path) => {
                if self.existing(path)?.kind == EntryKind::Directory {
                    return Err(Errno::EISDIR);
                }
                self.names.remove(&parts(path));
                Ok(())
            }
            Op::RemoveDirectory(path) => {
                if self.existing(path)?.kind != EntryKind::Directory {
                    return Err(Errno::ENOTDIR);
                }
                if !self.is_empty(path) {
                    return Err(Errno::ENOTEMPTY);
                }
                self.names.remove(&parts(path));
                Ok(())
            }
            Op::Rename(from, to, replace) => self.rename(from, to, *replace),
            Op::Link(from, to) => {
                let kind = self.existing(from)?.kind;
                self.parent(to)?;
                if kind == EntryKind::Directory {
                    return Err(Errno::EPERM);
                }
                if self.names.contains_key(&parts(to)) {
                    return Err(Errno::EEXIST);
                }
                self.names.insert(parts(to), self.names[&parts(from)]);
                Ok(())
            }
            Op::Mode(path, mode) => {
                self.existing(path)?.mode = *mode;
                Ok(())
            }
            Op::Owner(path, uid) => {
                self.existing(path)?.owner.0 = *uid;
                Ok(())
            }
            Op::Write(path, offset, bytes) => {
                let file = self.file(path)?;
                let end = *offset as usize + bytes.len();
                file.bytes.resize(file.bytes.len().max(end), 0);
                file.bytes[*offset as usize..end].copy_from_slice(bytes);
                Ok(())
            }
            Op::SetLen(path, len) => {
                self.file(path)?.bytes.resize(*len as usize, 0);
                Ok(())
            }
            Op::Zeros(path, offset, len) => {
                let file = self.file(path)?;
                let end = file.bytes.len().min((offset + len) as usize);
                file.bytes[..end].iter_mut().skip(*offset as usize).for_each(|byte| *byte = 0);
                Ok(())
            }
            Op::SetXattr(path, number) => {
                let (name, value) = xattr(*number);
                self.existing(path)?.xattrs.insert(name, value);
                Ok(())
            }
            Op::RemoveXattr(path, number) => {
                let removed = self.existing(path)?.xattrs.remove(&xattr(*number).0);
                removed.map(drop).ok_or(Errno::ENODATA)
            }
            Op::Freeze => {
                self.frozen = self.things.len();
                Ok(())
            }
            Op::Reopen => Ok(()),
        }
    }

    fn rename(&mut self, from: &RepoPath, to: &RepoPath, replace: Replace) -> Result<(), Errno> {
        if to != from && (to.starts_with(from) || replace == Replace::Exchange && from.starts_with(to)) {
            return Err(Errno::EINVAL);
        }
        self.parent(to)?;
        let there = self.get(to).map(|thing| thing.kind);
        let moved = self.existing(from)?.kind;
        match (there, replace) {
            (Some(_), Replace::No) => return Err(Errno::EEXIST),
            (None, Replace::Exchange) => return Err(Errno::ENOENT),
            _ if from == to => return Ok(()),
            (Some(EntryKind::Directory), Replace::Yes) if moved != EntryKind::Directory => {
                return Err(Errno::EISDIR);
            }
            (Some(EntryKind::Directory), Replace::Yes) if !self.is_empty(to) => return Err(Errno::ENOTEMPTY),
            (Some(kind), Replace::Yes) if moved == EntryKind::Directory && kind != EntryKind::Directory => {
                return Err(Errno::ENOTDIR);
            }
            _ => {}
        }
        let (from, to) = (parts(from), parts(to));
        if there.is_some() && replace == Replace::Yes && self.names[&from] == self.names[&to] {
            return Ok(());
        }
        let mut take = |path: &Vec<Vec<u8>>| -> Vec<(Vec<Vec<u8>>, usize)> {
            let names: Vec<_> = self.names.keys().filter(|name| name.starts_with(path)).cloned().collect();
            let below = |name: Vec<Vec<u8>>| (name[path.len()..].to_vec(), self.names.remove(&name).unwrap());
            names.into_iter().map(below).collect()
        };
        let (moved, there) = (take(&from), take(&to));
        let mut put = |path: &Vec<Vec<u8>>, things: Vec<(Vec<Vec<u8>>, usize)>| {
            for (rest, n) in things {
                self.names.insert([path.clone(), rest].concat(), n);
            }
        };
        put(&to, moved);
        if replace == Replace::Exchange {
            put(&from, there);
        }
        Ok(())
    }

    fn view(&self) -> View {
        let text = |path: &Vec<Vec<u8>>| String::from_utf8(path.join(&b'/')).unwrap();
        self.names.iter().map(|(path, &n)| (text(path), self.things[n].clone())).collect()
    }
}

/// Who runs the tests owns what they add.
fn nix_owner() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}

/// A commit of the model's base.
async fn base() -> Snapshot {
    let source = tempfile::tempdir().unwrap();
    for (path, thing) in Model::of_base().view() {
        use std::os::unix::fs::PermissionsExt;
        let at = source.path().join(&path);
        match thing.kind {
            EntryKind::Directory => std::fs::create_dir(&at).unwrap(),
            EntryKind::File => std::fs::write(&at, &thing.bytes).unwrap(),
            EntryKind::Symlink => {
                std::os::unix::fs::symlink(std::str::from_utf8(&thing.bytes).unwrap(), &at).unwrap();
                continue;
            }
        }
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(thing.mode.into())).unwrap();
        for (name, value) in &thing.xattrs {
            ::xattr::set(&at, std::str::from_utf8(name).unwrap(), value).unwrap();
        }
    }
    let services = Services {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        index: None,
        who: "Test <test@example.org>".into(),
    };
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::init(store, services, InitOptions::default()).await.unwrap();
    let change = Change::begin(&repository, &"main".parse().unwrap()).await.unwrap();
    let item = AddItem { from: source.path().into(), to: RepoPath::ROOT };
    let added = add(&change.snapshot(), vec![item], Arc::new(NoProgress)).await.unwrap();
    let new = NewCommit::new("test", "base");
    change.commit(&added.edits, &added.referenced, &new).await.unwrap();
    let resolved = repository.resolve(&"main".parse().unwrap()).await.unwrap();
    repository.snapshot(&resolved)
}

/// A workspace, and what it takes to open it again.
struct Rig {
    dir: tempfile::TempDir,
    base: Snapshot,
    disk: Disk,
    workspace: Workspace,
}

impl Rig {
    fn new(base: Snapshot) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let root = (0o755, OWNER);
        let workspace = Workspace::create_on(dir.path(), base.clone(), root, disk.clone()).unwrap();
        Self { dir, base, disk, workspace }
    }

    /// As the next process finds it.
    fn reopen(&mut self) {
        self.disk = Disk::default();
        self.workspace = Workspace::open_on(self.dir.path(), self.base.clone(), self.disk.clone()).unwrap();
    }

    async fn apply(&mut self, op: &Op) -> Result<(), WorkspaceError> {
        let workspace = &self.workspace;
        let disk = |path: &RepoPath| {
            let path = path.clone();
            move |error: std::io::Error| WorkspaceError::Errno {
                path,
                errno: error.raw_os_error().unwrap_or(0),
            }
        };
        match op {
            Op::Create(path) => workspace.create_file(path, 0o640, OWNER).await.map(drop),
            Op::MakeDirectory(path) => workspace.make_directory(path, 0o750, OWNER).await,
            Op::MakeSymlink(path) => workspace.make_symlink(path, b"target", OWNER).await,
            Op::Unlink(path) => workspace.unlink(path).await,
            Op::RemoveDirectory(path) => workspace.remove_directory(path).await,
            Op::Rename(from, to, replace) => workspace.rename(from, to, *replace).await,
            Op::Link(from, to) => workspace.link(from, to).await,
            Op::Mode(path, mode) => {
                workspace
                    .set_attributes(path, NewAttributes { mode: Some(*mode), ..Default::default() })
                    .await
            }
            Op::Owner(path, uid) => {
                workspace.set_attributes(path, NewAttributes { uid: Some(*uid), ..Default::default() }).await
            }
            Op::Write(path, offset, bytes) => {
                workspace.open_to_write(path).await?.write(bytes, *offset).map_err(disk(path))
            }
            Op::SetLen(path, len) => workspace.open_to_write(path).await?.set_len(*len).map_err(disk(path)),
            Op::Zeros(path, offset, len) => {
                let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                let mut local = workspace.open_to_write(path).await?;
                local.allocate(how, *offset..offset + len).map_err(disk(path))
            }
            Op::SetXattr(path, number) => {
                let (name, value) = xattr(*number);
                workspace.set_xattr(path, &name, Some(&value)).await
            }
            Op::RemoveXattr(path, number) => workspace.set_xattr(path, &xattr(*number).0, None).await,
            Op::Freeze => workspace.freeze().map_err(|_| WorkspaceError::errno(&RepoPath::ROOT, Errno::EIO)),
            Op::Reopen => {
                self.reopen();
                Ok(())
            }
        }
    }

    /// Everything that the workspace shows.
    async fn view(&self) -> View {
        let mut view = View::new();
        let mut directories = vec![RepoPath::ROOT];
        while let Some(directory) = directories.pop() {
            for name in self.workspace.list(&directory).await.unwrap() {
                let path = directory.join(crate::types::Name::new(&name).unwrap()).unwrap();
                let about = self.workspace.attributes(&path).await.unwrap();
                let Some(Attributes { kind, mode, owner, size, .. }) = about else {
                    panic!("{path} is listed and not there");
                };
                let bytes = if kind == EntryKind::Directory { Vec::new() } else { self.bytes(&path).await };
                assert_eq!(bytes.len() as u64, size, "{path}");
                let XattrList(xattrs) = self.workspace.xattrs(&path).await.unwrap();
                let thing = Thing { kind, mode, owner, bytes, xattrs: xattrs.into_iter().collect() };
                view.insert(path.to_string(), thing);
                if kind == EntryKind::Directory {
                    directories.push(path);
                }
            }
        }
        view
    }

    /// The paths that are told to differ from the commit, with whether there was and whether there is something.
    async fn changes(&self) -> BTreeMap<String, (bool, bool)> {
        let (sink, mut told) = tokio::sync::mpsc::channel(1);
        let (stack, _) = self.workspace.now();
        let telling = async {
            stack.tell_changes(&sink).await.unwrap();
            drop(sink);
        };
        let mut changes = BTreeMap::new();
        let hearing = async {
            while let Some(Changed { path, before, after }) = told.recv().await {
                let twice = changes.insert(path.to_string(), (before.is_some(), after.is_some()));
                assert_eq!(twice, None, "{path} is told twice");
            }
        };
        tokio::join!(telling, hearing);
        changes
    }

    async fn bytes(&self, path: &RepoPath) -> Vec<u8> {
        let node = self.workspace.look(path).await.unwrap().unwrap();
        self.bytes_of(&node).await
    }

    async fn bytes_of(&self, node: &Node) -> Vec<u8> {
        let (number, held) = match node {
            Node::Base(found) => {
                if let crate::format::EntryBody::Symlink { target } = &found.item.entry.body {
                    return target.to_vec();
                }
                return self.base.read(&found.item, 0, usize::MAX).await.unwrap().to_vec();
            }
            Node::Held(number, held) => (*number, held),
            Node::Directory(_) => panic!("a directory has no bytes"),
        };
        let (stack, _) = self.workspace.now();
        let file = held.file.try_clone().unwrap();
        let local = Local::new(stack.layers[number].clone(), file, held.record.clone()).unwrap();
        let mut bytes = Vec::new();
        for part in local.parts(0..u64::MAX).unwrap() {
            match part {
                Whose::Own(range) => {
                    let mut own = vec![0; (range.end - range.start) as usize];
                    local.read_own(&mut own, range.start).unwrap();
                    bytes.extend(own);
                }
                Whose::Origins(range) => {
                    let origin = match held.record.origin.as_ref().unwrap() {
                        super::record::Origin::Entry(placed, _) => {
                            let key = crate::format::TreeKey::of(&RepoPath::new("x").unwrap()).unwrap();
                            let (entry, hints) = (placed.entry.clone(), placed.hints);
                            let item = crate::format::LeafItem { key, entry, hints };
                            self.base.read(&item, 0, usize::MAX).await.unwrap().to_vec()
                        }
                        super::record::Origin::At(place, _) => {
                            let below = stack.find_below(number, place).await.unwrap().unwrap();
                            Box::pin(self.bytes_of(&below)).await
                        }
                        super::record::Origin::Here => panic!("a file is not merged"),
                    };
                    bytes.extend(&origin[range.start as usize..range.end as usize]);
                }
            }
        }
        bytes
    }
}

/// Whether what a dying write left is neither more nor less than some of it.
fn is_between(found: &View, before: &View, after: &View, op: &Op) -> bool {
    let (Op::Write(..) | Op::Zeros(..)) = op else { return false };
    let same_names = found.keys().eq(before.keys());
    same_names
        && found.iter().all(|(path, found)| {
            let (before, after) = (&before[path], &after[path]);
            let rest = |thing: &Thing| Thing { bytes: Vec::new(), ..thing.clone() };
            let at = |thing: &Thing, n: usize| thing.bytes.get(n).copied().unwrap_or(0);
            let mixed = |n: usize| at(found, n) == at(before, n) || at(found, n) == at(after, n);
            let len = found.bytes.len();
            rest(found) == rest(before)
                && (len == before.bytes.len() || len == after.bytes.len())
                && (0..len).all(mixed)
        })
}

/// Whether every path is told that differs from the commit, and no other unless something was done to it.
fn check_changes(told: &BTreeMap<String, (bool, bool)>, now: &View) {
    let base = Model::of_base().view();
    for path in base.keys().chain(now.keys()) {
        let (before, after) = (base.get(path), now.get(path));
        // What is told is what is stored.
        let stored = |thing: &Thing| Thing { mode: thing.mode & 0o1777, ..thing.clone() };
        let differs = before.map(stored) != after.map(stored);
        assert!(!differs || told.contains_key(path), "{path} is not told: {before:?} is {after:?}");
    }
    for (path, &(before, after)) in told {
        assert_eq!((before, after), (base.contains_key(path), now.contains_key(path)), "{path}");
    }
}

/// Makes the operations; those from the one with this number on first with the process dying before its first call, then before
/// its second, and so on. Returns how many deaths there were.
async fn run(base: &Snapshot, ops: &[Op], die_from: usize) -> u64 {
    let mut rig = Rig::new(base.clone());
    let mut model = Model::of_base();
    assert_eq!(rig.view().await, model.view());
    let mut deaths = 0;
    for (number, op) in ops.iter().enumerate() {
        let die = number >= die_from;
        let before = model.view();
        let expected = model.apply(op);
        let after = model.view();
        let mut calls = 0;
        loop {
            if die && !matches!(op, Op::Reopen) {
                rig.disk.kill.after(calls);
            }
            let done = rig.apply(op).await;
            if !rig.disk.kill.is_dead() || matches!(op, Op::Reopen) {
                rig.disk.kill.after(u64::MAX);
                let errno = match done {
                    Ok(()) => Ok(()),
                    Err(WorkspaceError::Errno { errno, .. }) => Err(Errno::from_raw(errno)),
                    Err(error) => panic!("{op:?}: {error}"),
                };
                match (op, errno, expected) {
                    // Where two paths are wrong, either may be named.
                    (Op::Rename(..) | Op::Link(..), Err(_), Err(_)) => {}
                    (_, errno, expected) => assert_eq!(errno, expected, "{op:?}"),
                }
                assert_eq!(rig.view().await, after, "after {op:?}");
                check_changes(&rig.changes().await, &after);
                break;
            }
            deaths += 1;
            calls += 1;
            rig.reopen();
            let found = rig.view().await;
            if found == after && found != before {
                break;
            }
            if found != before && !is_between(&found, &before, &after, op) {
                assert_eq!(found, before, "killed in {op:?} after {} calls", calls - 1);
            }
        }
    }
    deaths
}

fn paths() -> impl Strategy<Value = RepoPath> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 1..4)
        .prop_map(|names| RepoPath::new(names.join("/")).unwrap())
}

fn ops() -> impl Strategy<Value = Op> {
    let replace = prop_oneof![4 => Just(Replace::Yes), 1 => Just(Replace::No), 1 => Just(Replace::Exchange)];
    let bytes = proptest::collection::vec(1u8.., 1..600);
    prop_oneof![
        2 => paths().prop_map(Op::Create),
        2 => paths().prop_map(Op::MakeDirectory),
        1 => paths().prop_map(Op::MakeSymlink),
        3 => paths().prop_map(Op::Unlink),
        3 => paths().prop_map(Op::RemoveDirectory),
        6 => (paths(), paths(), replace).prop_map(|(from, to, how)| Op::Rename(from, to, how)),
        2 => (paths(), paths()).prop_map(|(from, to)| Op::Link(from, to)),
        1 => (paths(), 0u16..0o10000).prop_map(|(path, mode)| Op::Mode(path, mode)),
        1 => (paths(), any::<u32>()).prop_map(|(path, uid)| Op::Owner(path, uid)),
        4 => (paths(), 0u64..4000, bytes).prop_map(|(path, at, bytes)| Op::Write(path, at, bytes)),
        2 => (paths(), 0u64..4000).prop_map(|(path, len)| Op::SetLen(path, len)),
        1 => (paths(), 0u64..4000, 1u64..2000).prop_map(|(path, at, len)| Op::Zeros(path, at, len)),
        1 => (paths(), any::<u8>()).prop_map(|(path, n)| Op::SetXattr(path, n)),
        1 => (paths(), any::<u8>()).prop_map(|(path, n)| Op::RemoveXattr(path, n)),
        2 => Just(Op::Freeze),
        1 => Just(Op::Reopen),
    ]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_workspace_is_a_file_system(ops in proptest::collection::vec(ops(), 1..40)) {
        let runtime = runtime();
        runtime.block_on(async { run(&base().await, &ops, usize::MAX).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_process_that_dies_leaves_what_was_or_what_will_be(ops in proptest::collection::vec(ops(), 1..25)) {
        let runtime = runtime();
        runtime.block_on(async { run(&base().await, &ops, 0).await });
    }
}

/// Ways in which things came to be what they are.
fn preparations() -> Vec<Vec<Op>> {
    let path = |text: &str| RepoPath::new(text).unwrap();
    let rename = |from: &str, to: &str| Op::Rename(path(from), path(to), Replace::Yes);
    let changed = || {
        vec![
            Op::Write(path("a/a"), 100, vec![9; 300]),
            Op::Mode(path("a/a"), 0o600),
            Op::SetXattr(path("a/a"), 7),
            Op::Mode(path("c"), 0o711),
            Op::SetXattr(path("c"), 8),
            Op::SetLen(path("b"), 50),
        ]
    };
    let emptied = || vec![Op::RemoveDirectory(path("c/a"))];
    let gone =
        || vec![Op::Unlink(path("a/a")), Op::RemoveDirectory(path("c/a")), Op::RemoveDirectory(path("c"))];
    let anew = || {
        let again =
            [Op::Create(path("a/a")), Op::Write(path("a/a"), 0, vec![3; 40]), Op::MakeDirectory(path("c"))];
        [gone(), again.to_vec()].concat()
    };
    let linked = || vec![Op::Link(path("a/a"), path("n"))];
    let renamed = || vec![rename("a", "m"), rename("c", "a"), rename("m", "c"), rename("c/a", "a/c")];
    let alone = [vec![], changed(), emptied(), gone(), anew(), linked(), renamed()];
    let frozen = alone.iter().map(|ops| [&ops[..], &[Op::Freeze]].concat());
    let again =
        [changed(), emptied(), gone()].into_iter().map(|ops| [changed(), vec![Op::Freeze], ops].concat());
    alone.iter().cloned().chain(frozen).chain(again).collect()
}

/// What is done to them.
fn last_operations() -> Vec<Op> {
    let path = |text: &str| RepoPath::new(text).unwrap();
    let mut ops = vec![Op::Freeze];
    let all = ["a", "a/a", "a/b", "a/c", "b", "c", "c/a", "n", "c/n", "a/b/n"];
    for at in all {
        ops.extend([
            Op::Create(path(at)),
            Op::MakeDirectory(path(at)),
            Op::MakeSymlink(path(at)),
            Op::Unlink(path(at)),
            Op::RemoveDirectory(path(at)),
            Op::Mode(path(at), 0o4711),
            Op::Write(path(at), 10, vec![8; 100]),
            Op::Write(path(at), 2900, vec![8; 200]),
            Op::SetLen(path(at), 0),
            Op::SetLen(path(at), 20),
            Op::SetLen(path(at), 5000),
            Op::Zeros(path(at), 10, 500),
            Op::SetXattr(path(at), 1),
            Op::RemoveXattr(path(at), 1),
        ]);
        for to in ["a", "b", "c", "c/a", "c/n"] {
            ops.push(Op::Rename(path(at), path(to), Replace::Yes));
            ops.push(Op::Rename(path(at), path(to), Replace::Exchange));
        }
        ops.push(Op::Link(path(at), path("c/n")));
    }
    ops
}

#[test]
fn every_operation_may_die_at_every_call() {
    runtime().block_on(async {
        let base = base().await;
        let (mut runs, mut deaths) = (0, 0);
        for preparation in preparations() {
            let mut model = Model::of_base();
            for op in &preparation {
                model.apply(op).unwrap();
            }
            for op in last_operations() {
                // What is refused changes nothing, and is refused in the other tests.
                if model.clone().apply(&op).is_ok() {
                    let ops = [&preparation[..], &[op]].concat();
                    deaths += run(&base, &ops, preparation.len()).await;
                    runs += 1;
                }
            }
        }
        println!("{deaths} deaths in {runs} operations");
        assert!(runs > 1000 && deaths > 4 * runs, "{deaths} deaths in {runs} operations");
    });
}

#[test]
fn coming_into_the_top_changes_no_time() {
    runtime().block_on(async {
        let rig = Rig::new(base().await);
        let path = |text: &str| RepoPath::new(text).unwrap();
        let times = async || {
            let mut times = Vec::new();
            for name in ["a", "a/a", "a/b", "a/b/a"] {
                times.push(rig.workspace.attributes(&path(name)).await.unwrap().unwrap().modified);
            }
            times
        };
        let before = times().await;
        let mode = NewAttributes { mode: Some(0o600), ..Default::default() };
        rig.workspace.set_attributes(&path("a/b/a"), mode).await.unwrap();
        rig.workspace.set_xattr(&path("a/a"), b"user.new", Some(b"x")).await.unwrap();
        assert_eq!(times().await, before);
        rig.workspace.freeze().unwrap();
        rig.workspace.set_attributes(&path("a/b/a"), mode).await.unwrap();
        assert_eq!(times().await, before, "out of a frozen layer");
        let status = async || {
            let mut told = Vec::new();
            let each = |path: &RepoPath, mark| {
                told.push((path.to_string(), mark));
                if told.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            rig.workspace.status(each).await.unwrap();
            told.sort_by(|a, b| a.0.cmp(&b.0));
            told
        };
        let told: Vec<_> = rig.changes().await.into_keys().collect();
        assert_eq!(told, ["a/a", "a/b/a"], "what was changed, and nothing beside it");
        assert_eq!(status().await, [("a/a".into(), Mark::Modified), ("a/b/a".into(), Mark::Modified)]);
        rig.workspace.unlink(&path("a/b/b")).await.unwrap();
        assert_eq!(status().await[2..], [("a/b/b".into(), Mark::Removed)], "and not its directory's time");
        rig.workspace.create_file(&path("new"), 0o600, OWNER).await.unwrap();
        assert_eq!(status().await.len(), 3, "enough is enough");
        let after = times().await;
        assert!(after[2] > before[2], "a directory that loses a name");
        assert_eq!((after[0], after[1], after[3]), (before[0], before[1], before[3]));
    });
}

#[test]
fn what_has_no_place_is_deleted_and_what_is_not_ours_is_named() {
    runtime().block_on(async {
        let mut rig = Rig::new(base().await);
        let scratch = rig.dir.path().join("layers/0/scratch");
        std::fs::create_dir_all(scratch.join("7/x")).unwrap();
        std::fs::write(scratch.join("7/x/y"), "z").unwrap();
        std::fs::write(rig.dir.path().join("layers/0/tree/stranger"), "x").unwrap();
        rig.reopen();
        assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
        let path = RepoPath::new("stranger").unwrap();
        let error = rig.workspace.attributes(&path).await.unwrap_err().to_string();
        assert!(error.contains("stranger in the workspace") && error.contains("user.atfs"), "{error}");
        // And nothing else suffers.
        assert!(rig.workspace.attributes(&RepoPath::new("a/a").unwrap()).await.unwrap().is_some());
        let missing = Workspace::open(Path::new("/nonexistent/workspace"), rig.base.clone()).unwrap_err();
        assert!(
            missing.to_string().starts_with("cannot open the workspace /nonexistent/workspace: "),
            "{missing}"
        );
    });
}
