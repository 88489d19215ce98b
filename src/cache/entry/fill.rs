//! Filling an entry: a piece is written, then marked, and the last mark gives the file its name.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::blocks::blocks_of;
use super::super::order::{Extent, Idle};
use super::super::room::Room;
use super::super::sums::Sum;
use super::{Access, Disk, Entry, Stage};

impl Entry {
    /// Writes a verified piece to disk and marks it; the last one completes the file. `false`: it is not
    /// kept. Blocks.
    pub(in crate::cache) fn store(&self, room: &Room, range: &Range<u64>, bytes: &[u8]) -> bool {
        let blocks = match self.disk().stage {
            Stage::Off(_) => return false,
            // It has been counted with all of it.
            Stage::Claim(_) => 0,
            _ => blocks_of(range),
        };
        if !room.reserve(self.item(), blocks) {
            return false;
        }
        match room.with_room_made(blocks, || self.write(room, range.start, bytes)) {
            Ok(true) => self.mark(room, range, Sum::of(bytes), blocks),
            Ok(false) => {
                room.release(self.item(), blocks);
                self.disk().spans.covers(range)
            }
            Err(error) => {
                room.release(self.item(), blocks);
                room.report("write", self.key, &error);
                false
            }
        }
    }

    /// Marks bytes that are on disk; the last mark completes the file. `false` if it was given up meanwhile.
    pub(super) fn mark(&self, room: &Room, range: &Range<u64>, sum: Sum, blocks: u64) -> bool {
        let is_last = {
            let mut disk = self.disk_mut();
            if !matches!(disk.stage, Stage::Partial(_) | Stage::Claim(_)) {
                let there = disk.spans.covers(range);
                drop(disk);
                room.release(self.item(), blocks);
                return there;
            }
            disk.blocks += blocks;
            disk.sums.note(range, sum);
            // Only the mark that makes it whole completes it.
            let was_whole = disk.spans.covers(&self.whole());
            disk.spans.insert(range.clone());
            !was_whole && disk.spans.covers(&self.whole())
        };
        if is_last {
            self.complete(room);
        }
        true
    }

    /// Writes into the partial file. `false`: there is none any more; the file was completed or given up.
    fn write(&self, room: &Room, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let Some(file) = self.partial_file(room)? else { return Ok(false) };
        file.write_all_at(bytes, offset)?;
        Ok(true)
    }

    /// The writable file, made at the first piece.
    fn partial_file(&self, room: &Room) -> io::Result<Option<Arc<File>>> {
        if let Disk { stage: Stage::Partial(_), file, .. } = &*self.disk() {
            return Ok(file.clone());
        }
        let mut disk = self.disk_mut();
        match disk.stage {
            Stage::Empty => {
                let (number, file) = room.layout.create_partial(self.key.size)?;
                disk.stage = Stage::Partial(number);
                disk.file = Some(Arc::new(file));
                Ok(disk.file.clone())
            }
            Stage::Claim(Access::Read) => {
                let Some(file) = &disk.file else { return Ok(None) };
                disk.file = Some(Arc::new(room.layout.open_claim(&self.key, file)?));
                disk.stage = Stage::Claim(Access::Write);
                Ok(disk.file.clone())
            }
            Stage::Partial(_) | Stage::Claim(Access::Write) => Ok(disk.file.clone()),
            Stage::Complete | Stage::Off(_) => Ok(None),
        }
    }

    /// Gives the file its sums and its name. Only the thread that marked the last byte comes here.
    fn complete(&self, room: &Room) {
        let (number, file, sums, before) = {
            let mut disk = self.disk_mut();
            let number = match disk.stage {
                Stage::Partial(number) => Some(number),
                Stage::Claim(_) => None,
                _ => return,
            };
            let Some(file) = disk.file.clone() else { return };
            (number, file, std::mem::take(&mut disk.sums), disk.blocks)
        };
        let exact = blocks_of(&self.whole()) + sums.blocks();
        // Neighbouring pieces that share a block were both counted with it, which mostly leaves enough for the sums.
        let more = exact.saturating_sub(before);
        if more > 0 && !room.reserve(self.item(), more) {
            return;
        }
        let completed = match number {
            Some(number) => room.layout.complete(number, &file, &self.key, &sums),
            None => room.layout.complete_claim(&file, &self.key, &sums),
        };
        let read_only = match completed {
            Ok(read_only) => read_only,
            // Every byte is there and is read from the nameless file; only the next process will not find it.
            Err(error) => {
                room.release(self.item(), more);
                return room.report("keep", self.key, &error);
            }
        };
        let before = {
            let mut disk = self.disk_mut();
            if matches!(disk.stage, Stage::Partial(_) | Stage::Claim(_)) {
                disk.stage = Stage::Complete;
                disk.file = Some(Arc::new(read_only));
                Some(std::mem::replace(&mut disk.blocks, exact) + more)
            } else {
                None
            }
        };
        match before {
            Some(before) => {
                room.release(self.item(), before.saturating_sub(exact));
                room.fresh.add(self.key);
            }
            // Given up meanwhile, under the name that it had then.
            None => room.discard(self.item(), &Idle { blocks: more, extent: Extent::Complete }),
        }
    }
}
