//! Complete contents in the directory: how they get their name, when they are believed, and what goes with them.
//!
//! The rules are in [`super::layout`]: sums before the name, no sums of this boot beside a claim, content before sums on
//! the way out.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use super::blocks::blocks_of;
use super::files::{note_use, open_read_only, rename_into};
use super::key::EntryKey;
use super::layout::Layout;
use super::mark::{COMPLETE, is_marked};
use super::past_cache::{PastCache, open_past_cache};
use super::sums::{self, Boot, HEAD_BYTES, Sums};

/// A content that has its name.
#[derive(Debug)]
pub(super) enum Named {
    /// It is what was written.
    Trusted(File),
    /// Of another boot: each piece is to be compared with its sum before it is used.
    Claim(File, Sums),
}

/// A trusted content that can be compared with its sums.
#[derive(Debug)]
pub(super) struct Checkable {
    pub(super) sums: Sums,
    /// The file that they are of.
    inode: u64,
}

impl Layout {
    pub(super) fn complete_path(&self, key: &EntryKey) -> PathBuf {
        self.files.join(key.shard()).join(key.to_string())
    }

    pub(super) fn sums_path(&self, key: &EntryKey) -> PathBuf {
        self.sums.join(key.shard()).join(key.to_string())
    }

    /// The content that has the name of `key`, open for reading only, its last use noted.
    pub(super) fn open_named(&self, key: &EntryKey) -> io::Result<Named> {
        let file = open_read_only(&self.complete_path(key))?;
        let metadata = file.metadata()?;
        let bad = |found: String| io::Error::new(io::ErrorKind::InvalidData, found);
        let named = if !metadata.is_file() {
            return Err(bad("no file".into()));
        } else if !self.is_trusted(key, &metadata)? {
            let sums = self.read_sums(key)?;
            let sums = sums.ok_or_else(|| bad("of another boot, and without sums".into()))?;
            Named::Claim(file, sums)
        } else if metadata.len() == key.size {
            Named::Trusted(file)
        } else {
            return Err(bad(format!("{} bytes instead of {}", metadata.len(), key.size)));
        };
        let (Named::Trusted(file) | Named::Claim(file, _)) = &named;
        note_use(file, &metadata);
        Ok(named)
    }

    fn is_trusted(&self, key: &EntryKey, metadata: &Metadata) -> io::Result<bool> {
        if is_marked(metadata.mode()) {
            return Ok(true);
        }
        let mut head = Vec::new();
        if let Some(file) = there(open_read_only(&self.sums_path(key)))? {
            there(file.take(HEAD_BYTES as u64).read_to_end(&mut head))?;
        }
        Ok(self.boot.is_some() && sums::boot_of(key, &head) == self.boot)
    }

    /// The sums of a content; `None` when there are none that can be used.
    fn read_sums(&self, key: &EntryKey) -> io::Result<Option<Sums>> {
        let mut bytes = Vec::new();
        let Some(mut file) = there(open_read_only(&self.sums_path(key)))? else { return Ok(None) };
        let read = there(file.read_to_end(&mut bytes))?;
        Ok(read.and_then(|_| Sums::decode(key, &bytes)))
    }

    fn write_sums(&self, key: &EntryKey, sums: &Sums) -> io::Result<()> {
        // Without a boot of our own they are of none that ever comes.
        let boot = self.boot.unwrap_or_else(|| Boot::of(""));
        let temporary = self.new_partial_path();
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o400).open(&temporary)?;
            file.write_all(&sums.encode(key, boot))?;
            rename_into(&temporary, &self.sums_path(key))
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    /// What a content and its sums take, in blocks, before anybody has counted it.
    pub(super) fn named_blocks(&self, key: &EntryKey) -> u64 {
        let sums = fs::metadata(self.sums_path(key)).map_or(0, |metadata| sums::file_blocks(metadata.len()));
        blocks_of(&(0..key.size)) + sums
    }

    /// A content of this boot that has no mark, open so that it can get one.
    pub(super) fn open_unmarked(&self, key: &EntryKey) -> Option<File> {
        let file = open_read_only(&self.complete_path(key)).ok()?;
        let metadata = file.metadata().ok()?;
        let fresh = !is_marked(metadata.mode()) && metadata.len() == key.size;
        (fresh && self.is_trusted(key, &metadata).unwrap_or(false)).then_some(file)
    }

    /// Whether the content is on the disk and marked as durable.
    pub(super) fn is_marked(&self, key: &EntryKey) -> bool {
        fs::symlink_metadata(self.complete_path(key)).is_ok_and(|metadata| is_marked(metadata.mode()))
    }

    /// Whether the content is on the disk and not trusted.
    pub(super) fn is_claim(&self, key: &EntryKey) -> bool {
        let metadata = fs::symlink_metadata(self.complete_path(key));
        metadata.is_ok_and(|metadata| !self.is_trusted(key, &metadata).unwrap_or(true))
    }

    /// The content, if it is there, trusted, and has sums.
    pub(super) fn checkable(&self, key: &EntryKey) -> Option<Checkable> {
        let metadata = fs::symlink_metadata(self.complete_path(key)).ok()?;
        let trusted = metadata.is_file() && self.is_trusted(key, &metadata).unwrap_or(false);
        let sums = self.read_sums(key).ok().flatten().filter(|_| trusted)?;
        Some(Checkable { sums, inode: metadata.ino() })
    }

    /// The file of a content, to be compared; `None` when it is gone, or another one has come.
    pub(super) fn open_to_check(&self, key: &EntryKey, content: &Checkable) -> io::Result<Option<PastCache>> {
        match open_past_cache(&self.complete_path(key)) {
            Ok(open) => {
                let is_same = open.file.metadata()?.ino() == content.inode;
                Ok(is_same.then_some(open))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The contents in a shard.
    pub(super) fn contents_of(&self, shard: u8) -> Vec<EntryKey> {
        let entries = fs::read_dir(self.files.join(format!("{shard:02x}"))).into_iter().flatten().flatten();
        entries.filter_map(|entry| EntryKey::parse(entry.file_name().to_str()?)).collect()
    }

    /// Gives a partial file, of which every byte is there, its name, and opens it again for reading only:
    /// what is complete is never reachable through a writable descriptor.
    pub(super) fn complete(&self, number: u64, file: &File, key: &EntryKey, sums: &Sums) -> io::Result<File> {
        file.set_permissions(Permissions::from_mode(COMPLETE))?;
        let to = self.complete_path(key);
        // A claim that nobody could open or delete must not find sums of this boot beside it, should we end here.
        self.delete(&to)?;
        self.write_sums(key, sums)?;
        rename_into(&self.partial_path(number), &to)?;
        open_read_only(&to).inspect_err(|_| {
            // Without a descriptor nobody here would know of the name.
            let _ = fs::remove_file(&to);
        })
    }

    /// A claim, open to be written where it is wrong.
    pub(super) fn open_claim(&self, key: &EntryKey, file: &File) -> io::Result<File> {
        file.set_permissions(Permissions::from_mode(0o600))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(self.complete_path(key))?;
        file.set_len(key.size)?;
        Ok(file)
    }

    /// Makes a claim, every byte of which has been checked or written anew, a complete content of this boot, and opens it
    /// again for reading only.
    pub(super) fn complete_claim(&self, file: &File, key: &EntryKey, sums: &Sums) -> io::Result<File> {
        file.set_permissions(Permissions::from_mode(COMPLETE))?;
        self.write_sums(key, sums)?;
        open_read_only(&self.complete_path(key))
    }

    /// Deletes a complete file and its sums; one that is gone is no error.
    pub(super) fn delete_complete(&self, key: &EntryKey) -> io::Result<()> {
        self.delete(&self.complete_path(key))?;
        self.delete(&self.sums_path(key))
    }
}

/// What there is: `None` for a file that does not exist, and for one that the disk cannot read.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(there) => Ok(Some(there)),
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::EIO) => Ok(None),
        Err(e) => Err(e),
    }
}
