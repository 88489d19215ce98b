//! Opening a cache of a million entries. Numbers for `docs/`, not an assertion about time: run it with
//! `cargo test --release --test cache_million -- --ignored --nocapture` on a disk with a million free
//! inodes. (The first read of the later rounds also pays for the memory of the round before: moka frees it
//! at its next use.)
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::fs;
use std::time::Instant;

use atfs::cache::Cache;
use cache_support::{Source, content, key, options};

const ENTRIES: u64 = 1_000_000;
const SIZE: u64 = 100_000;

fn resident_mib() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096 / (1 << 20)
}

#[tokio::test]
#[ignore = "makes a million files and measures"]
async fn a_million_entries() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(1 << 50);
    drop(Cache::open(dir.path(), &options).unwrap());
    for i in 0..ENTRIES {
        let hex = blake3::hash(&i.to_le_bytes()).to_hex();
        // Sparse, and marked as durable: what is measured is names and inodes.
        for (kind, size) in [("v1/files", SIZE), ("v1/sums", 104)] {
            let shard = dir.path().join(kind).join(&hex[..2]);
            if i < 100_000 {
                fs::create_dir_all(&shard).unwrap();
            }
            let file = fs::File::create(shard.join(format!("{hex}-{SIZE:x}"))).unwrap();
            file.set_len(size).unwrap();
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o1400)).unwrap();
        }
    }
    for state in ["inodes in memory", "inodes in memory", "kernel caches dropped"] {
        if state == "kernel caches dropped" {
            nix::unistd::sync();
            fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
        }
        let before = resident_mib();
        let start = Instant::now();
        let cache = Cache::open(dir.path(), &options).unwrap();
        let open = start.elapsed();
        let source = Source::new(content(1, SIZE as usize), SIZE);
        let file = cache.file(key(1), SIZE, source.clone());
        assert!(file.is_complete(), "found before the scan has ended");
        file.read(0, 10).await.unwrap();
        let first_read = start.elapsed();
        assert_eq!(source.fetches(), 0);
        cache.wait_until_ready();
        let ready = start.elapsed();
        assert_eq!(cache.stats().bytes_on_disk, ENTRIES * (SIZE.div_ceil(4096) + 1) * 4096);
        let resident = resident_mib().saturating_sub(before);
        println!(
            "{state}: opened in {open:.0?}, first read after {first_read:.0?}, all counted after {ready:.1?}, \
             {resident} MiB of memory"
        );
    }
}
