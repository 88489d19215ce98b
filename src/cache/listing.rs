//! Everything that lies in the cache directory, and what of it can be believed at first sight.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use super::blocks::{BLOCK_BYTES, blocks_of};
use super::key::{EntryKey, Item, SlabKey};
use super::layout::Layout;
use super::mark::is_marked;
use super::sums;

/// A file that the scan found.
pub(super) struct Scanned {
    pub(super) item: Item,
    pub(super) blocks: u64,
    pub(super) used: SystemTime,
    /// Nothing is to be done for it to outlive a power cut.
    pub(super) is_durable: bool,
}

impl Layout {
    /// Everything that is kept, shard by shard, until `stop` says so. A file that is not what its name says is deleted; one
    /// whose name says nothing is left alone.
    pub(super) fn scan(&self, stop: impl Fn() -> bool, mut found: impl FnMut(Scanned)) -> io::Result<()> {
        for shard in fs::read_dir(&self.files)? {
            let shard = shard?.path();
            let mut sums = self.sums_of(&shard);
            each(&shard, &stop, EntryKey::parse, |path, key, metadata| {
                match sums.remove(&key).zip(content_blocks(&key, metadata)) {
                    Some((sums, content)) => {
                        found(Scanned {
                            item: Item::Content(key),
                            blocks: content + sums,
                            used: last_use(metadata),
                            is_durable: is_marked(metadata.mode()),
                        });
                        Ok(())
                    }
                    None => self.delete(path).and_then(|()| self.delete(&self.sums_path(&key))),
                }
            })?;
            // Left by a process that ended between the two.
            for key in sums.into_keys().filter(|_| !stop()) {
                if !self.complete_path(&key).exists() {
                    self.delete(&self.sums_path(&key))?;
                }
            }
        }
        for shard in fs::read_dir(&self.slabs)? {
            each(&shard?.path(), &stop, SlabKey::parse, |path, key, metadata| {
                if !metadata.is_file() {
                    return self.delete(path);
                }
                let blocks = (metadata.blocks() * 512).div_ceil(BLOCK_BYTES);
                found(Scanned { item: Item::Slab(key), blocks, used: last_use(metadata), is_durable: true });
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The blocks of the sums of a shard of contents.
    fn sums_of(&self, shard: &Path) -> HashMap<EntryKey, u64> {
        let dir = shard.file_name().map(|shard| self.sums.join(shard)).unwrap_or_default();
        let mut sums = HashMap::new();
        let _ = each(
            &dir,
            || false,
            EntryKey::parse,
            |_, key, metadata| {
                sums.insert(key, sums::file_blocks(metadata.len()));
                Ok(())
            },
        );
        sums
    }
}

/// Calls `file` for every entry of `shard` whose name `parse` knows; a shard that cannot be read has none.
fn each<K>(
    shard: &Path,
    stop: impl Fn() -> bool,
    parse: fn(&str) -> Option<K>,
    mut file: impl FnMut(&Path, K, &Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(shard) else { return Ok(()) };
    for entry in entries {
        if stop() {
            return Ok(());
        }
        let entry = entry?;
        let Some(key) = entry.file_name().to_str().and_then(parse) else { continue };
        if let Ok(metadata) = entry.metadata() {
            file(&entry.path(), key, &metadata)?;
        }
    }
    Ok(())
}

/// The blocks of a content that the scan found; `None` when it is not what its name says. A claim may have lost its end.
fn content_blocks(key: &EntryKey, metadata: &Metadata) -> Option<u64> {
    let fits = match is_marked(metadata.mode()) {
        true => metadata.len() == key.size,
        false => metadata.len() <= key.size,
    };
    (fits && metadata.is_file()).then(|| blocks_of(&(0..key.size)))
}

fn last_use(metadata: &Metadata) -> SystemTime {
    metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH)
}
