//! The cache's disk: small, and now and then full or rotten. A tmpfs, so that it takes root and no block device.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::dice::Dice;

pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one on the folder of a cache.
    pub fn on(folder: &Path, bytes: u64) -> Self {
        let options = format!("size={bytes},mode=700");
        mount(Some("atfs-test"), folder, Some("tmpfs"), MsFlags::empty(), Some(&*options))
            .expect("mounting a tmpfs (run the tests as root)");
        Self(folder.to_owned())
    }

    /// Fills it with what is not the cache's.
    pub fn fill(&self) {
        let mut foreign = File::create(self.0.join("foreign")).unwrap();
        while foreign.write_all(&[1; 64 << 10]).is_ok() {}
    }

    pub fn free(&self) {
        let _ = fs::remove_file(self.0.join("foreign"));
    }

    /// Turns bits all over one of the files of small contents; whether there was one.
    pub fn rot(&self, dice: &mut Dice) -> bool {
        let Some(path) = self.pick("v1/slabs", dice) else { return false };
        // It may be evicted at this moment.
        let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else { return false };
        let len = file.metadata().unwrap().len();
        let mut turned = false;
        for at in (0..len).step_by(2048) {
            let mut byte = [0];
            // Holes stay holes.
            if file.read_at(&mut byte, at).is_ok_and(|n| n == 1) && byte[0] != 0 {
                turned |= file.write_all_at(&[byte[0] ^ 1], at).is_ok();
            }
        }
        turned
    }

    /// Takes a long file away.
    pub fn take(&self, dice: &mut Dice) -> bool {
        self.pick("v1/files", dice).is_some_and(|path| fs::remove_file(path).is_ok())
    }

    /// Empties the files of small contents. (One that is only taken away is read on by who has it open.)
    pub fn empty_small(&self) {
        let all = walkdir::WalkDir::new(self.0.join("v1/slabs")).into_iter().flatten();
        for entry in all.filter(|entry| entry.file_type().is_file()) {
            // One that is evicted at this moment is gone as well.
            let _ = OpenOptions::new().write(true).open(entry.path()).and_then(|file| file.set_len(0));
        }
    }

    fn pick(&self, below: &str, dice: &mut Dice) -> Option<PathBuf> {
        let all = walkdir::WalkDir::new(self.0.join(below)).sort_by_file_name().into_iter().flatten();
        let mut files: Vec<_> = all.filter(|entry| entry.file_type().is_file()).collect();
        if files.is_empty() {
            return None;
        }
        let at = dice.below(files.len());
        Some(files.swap_remove(at).into_path())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
