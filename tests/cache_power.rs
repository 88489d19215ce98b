//! The machine goes down without a word: what had surely reached the disk is used as it is, everything else piece by piece
//! after a look, and nobody ever reads other bytes.
//!
//! A crash image is a copy of the directory in which files are torn that no sync has covered.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use atfs::cache::{Cache, CachedFile};
use cache_support::{RUN, Source, TestMachine, content, disk_usage, file_of, files, key};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const LIMIT: u64 = 1 << 30;
const SIZE: u64 = 700_000;
const PIECE: u64 = 100_000;

fn source(i: u64) -> Arc<Source> {
    Source::new(content(i, SIZE as usize), PIECE)
}

fn file(cache: &Arc<Cache>, i: u64, source: &Arc<Source>) -> CachedFile {
    cache.file(key(i), source.size(), source.clone())
}

async fn fill(cache: &Arc<Cache>, i: u64) {
    let source = source(i);
    let file = file(cache, i, &source);
    file.fill(0..u64::MAX, RUN, 4).await.unwrap();
    assert!(file.complete_file().is_some());
}

/// Reads all of it, as a mount would, and then by the descriptor that the kernel would be given. Returns which pieces were
/// fetched.
async fn read_all(cache: &Arc<Cache>, i: u64) -> BTreeSet<u64> {
    let source = source(i);
    let file = file(cache, i, &source);
    for at in (0..SIZE).step_by(30_000) {
        let bytes = file.read(at, 30_000).await.unwrap();
        assert!(bytes == source.data[at as usize..(at + 30_000).min(SIZE) as usize], "file {i} at {at}");
    }
    let mut all = vec![0; SIZE as usize];
    let whole = file.complete_file().unwrap_or_else(|| panic!("file {i} is whole again"));
    assert_eq!(whole.metadata().unwrap().len(), SIZE);
    whole.read_exact_at(&mut all, 0).unwrap();
    assert!(all == source.data, "file {i}, by its descriptor");
    assert!(source.fetched().values().all(|&times| times == 1));
    source.fetched().into_keys().collect()
}

/// Two machines' worth of state: the directory as it was, and the image of it.
fn image(dir: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(dir.join(".")).arg(image.path()).status().unwrap();
    assert!(copied.success());
    image
}

fn content_path(image: &Path, i: u64) -> PathBuf {
    file_of(&image.join("v1/files"), i).unwrap()
}

fn sums_path(image: &Path, i: u64) -> PathBuf {
    file_of(&image.join("v1/sums"), i).unwrap()
}

/// Changes a file behind its permissions, and leaves them and its times as they were.
fn tear(path: &Path, change: impl FnOnce(&fs::File)) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    change(&OpenOptions::new().read(true).write(true).open(path).unwrap());
    fs::set_permissions(path, mode).unwrap();
}

fn swap(a: &Path, b: &Path) {
    if a == b {
        return;
    }
    let aside = a.with_extension("aside");
    fs::rename(a, &aside).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(&aside, b).unwrap();
}

fn is_marked(path: &Path) -> bool {
    fs::metadata(path).unwrap().mode() & 0o7777 == 0o1400
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sync_covered_is_used_and_torn_pieces_alone_are_fetched() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Arc::new(TestMachine::default()));
    let cache = machine.open(dir.path(), LIMIT);
    for i in [0, 1] {
        fill(&cache, i).await;
    }
    cache.make_durable();
    assert_eq!(machine.syncs.load(Ordering::SeqCst), 1);
    cache.make_durable();
    assert_eq!(machine.syncs.load(Ordering::SeqCst), 1, "nothing is new, so nothing is synced");
    for i in 2..12 {
        fill(&cache, i).await;
    }
    let half = source(12);
    file(&cache, 12, &half).read(0, 10).await.unwrap();
    drop(cache);

    let image = image(dir.path());
    let image = image.path();
    tear(&content_path(image, 3), |file| file.set_len(350_000).unwrap());
    tear(&content_path(image, 4), |file| file.write_all_at(&[0; 10_000], 200_000).unwrap());
    fs::remove_file(sums_path(image, 5)).unwrap();
    swap(&content_path(image, 6), &content_path(image, 7));
    swap(&content_path(image, 8), &content_path(image, 9));
    swap(&sums_path(image, 8), &sums_path(image, 9));
    fs::remove_file(content_path(image, 10)).unwrap();
    tear(&sums_path(image, 11), |file| file.set_len(100).unwrap());

    machine.boot_again();
    let cache = machine.open(image, LIMIT);
    let whole = |i: u64| cache.contains(key(i), SIZE);
    assert!(whole(0) && whole(1) && !(2..13).any(whole), "only what is marked is believed");
    let all = source(0).pieces_in(0..SIZE);
    let none = BTreeSet::new();
    let expected = [
        (0, none.clone()),
        (1, none.clone()),
        (2, none.clone()),
        (3, source(3).pieces_in(350_000..SIZE)),
        (4, source(4).pieces_in(200_000..210_000)),
        (5, all.clone()),
        (6, all.clone()),
        (7, all.clone()),
        (8, all.clone()),
        (9, all.clone()),
        (10, all.clone()),
        (11, all.clone()),
        (12, all.clone()),
    ];
    for (i, fetched) in &expected {
        assert_eq!(read_all(&cache, *i).await, *fetched, "file {i}");
    }
    assert_eq!(
        cache.stats().disk_errors,
        3,
        "5, 8, 9 and 11 less one that the scan has seen: {:?}",
        cache.stats()
    );
    let counted = cache.stats().bytes_on_disk;
    assert_eq!(counted, 13 * (SIZE.div_ceil(4096) + 1) * 4096, "counted once each, with their sums");
    assert!(disk_usage(&image.join("v1/files")) <= counted + (1 << 20));
    drop(cache);
    // They are what they were said to be: of this boot, and after the next one all that is needed is a look.
    let cache = machine.open(image, LIMIT);
    assert!((0..13).all(|i| cache.contains(key(i), SIZE)));
    assert_eq!(cache.stats().bytes_on_disk, counted);
    drop(cache);
    machine.boot_again();
    let cache = machine.open(image, LIMIT);
    for i in 0..13 {
        assert_eq!(cache.contains(key(i), SIZE), i < 2);
        assert_eq!(read_all(&cache, i).await, none);
    }
}

#[tokio::test]
async fn a_claim_is_looked_at_where_it_is_read_and_stays_one_until_all_of_it_was() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Arc::new(TestMachine::default()));
    fill(&machine.open(dir.path(), LIMIT), 1).await;
    tear(&content_path(dir.path(), 1), |file| file.write_all_at(&[0; 10], 620_000).unwrap());
    for round in 0..2 {
        if round == 0 {
            machine.boot_again();
        }
        // The second round is another process in the same boot: the claim is none of it.
        let cache = machine.open(dir.path(), LIMIT);
        let source = source(1);
        let file = file(&cache, 1, &source);
        let mut buf = [0; 10];
        assert_eq!(file.try_read(0, &mut buf), None, "nobody who must not wait is made to look");
        assert_eq!(file.read(0, 10).await.unwrap(), source.data[..10]);
        assert_eq!(file.try_read(99_000, &mut buf), Some(10), "the piece was looked at");
        assert_eq!(file.try_read(150_000, &mut buf), None, "and no other");
        assert!(!file.is_complete() && file.complete_file().is_none());
        assert_eq!(source.fetches(), 0);
        // Torn, fetched and written where it is: and the process ends before the rest was looked at.
        assert_eq!(file.read(620_000, 10).await.unwrap(), source.data[620_000..620_010]);
        assert_eq!(source.fetches(), usize::from(round == 0), "what was mended stays mended");
    }
    let cache = machine.open(dir.path(), LIMIT);
    assert_eq!(read_all(&cache, 1).await, BTreeSet::new());
    // A whole one that is filled from memory, over a claim.
    drop(cache);
    machine.boot_again();
    let cache = machine.open(dir.path(), LIMIT);
    assert!(!cache.contains(key(1), SIZE));
    assert!(cache.insert(key(1), &source(1).data));
    assert!(cache.contains(key(1), SIZE));
    assert_eq!(read_all(&cache, 1).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_a_claim_look_once() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Arc::new(TestMachine::default()));
    fill(&machine.open(dir.path(), LIMIT), 1).await;
    tear(&content_path(dir.path(), 1), |file| file.set_len(SIZE / 2).unwrap());
    machine.boot_again();
    let cache = machine.open(dir.path(), LIMIT);
    let source = source(1);
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let (file, source) = (file(&cache, 1, &source), source.clone());
            tokio::spawn(async move { assert!(file.read(0, usize::MAX).await.unwrap() == source.data) })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    let torn: BTreeSet<u64> = source.pieces_in(SIZE / 2..SIZE);
    assert_eq!(source.fetched().into_keys().collect::<BTreeSet<_>>(), torn);
    assert!(source.fetched().values().all(|&times| times == 1));
    assert!(cache.contains(key(1), SIZE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mark_is_for_what_was_there_before_the_sync() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Arc::new(TestMachine::default()));
    let cache = machine.open(dir.path(), LIMIT);
    for i in [0, 1] {
        fill(&cache, i).await;
    }
    // While the disk writes, one is evicted and put in anew, and another one comes.
    let during = cache.clone();
    *machine.meanwhile.lock().unwrap() = Some(Box::new(move || {
        during.prune(0);
        assert!(during.insert(key(1), &source(1).data));
        assert!(during.insert(key(2), &source(2).data));
    }));
    cache.make_durable();
    assert!(file_of(&dir.path().join("v1/files"), 0).is_none());
    let marked = |i| is_marked(&content_path(dir.path(), i));
    assert!(!marked(1) && !marked(2), "their bytes may not be on the disk");
    cache.make_durable();
    assert!(marked(1) && marked(2));
    // What another process left without a mark gets one, in the same boot; a claim does not.
    fill(&cache, 3).await;
    drop(cache);
    let cache = machine.open(dir.path(), LIMIT);
    cache.make_durable();
    assert!(marked(3));
    fill(&cache, 4).await;
    drop(cache);
    machine.boot_again();
    let cache = machine.open(dir.path(), LIMIT);
    let syncs = machine.syncs.load(Ordering::SeqCst);
    cache.make_durable();
    assert!(!marked(4) && machine.syncs.load(Ordering::SeqCst) == syncs);
    read_all(&cache, 4).await;
    cache.make_durable();
    assert!(marked(4), "every piece of it was looked at");
}

#[tokio::test]
async fn a_sync_that_fails_costs_all_that_it_should_have_covered() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Arc::new(TestMachine::default()));
    let cache = machine.open(dir.path(), LIMIT);
    fill(&cache, 0).await;
    cache.make_durable();
    fill(&cache, 1).await;
    fill(&cache, 2).await;
    let sources: Vec<_> = (0..5).map(source).collect();
    let open: Vec<_> = [0, 2, 3].map(|i: u64| file(&cache, i, &sources[i as usize])).into();
    open[2].read(0, 10).await.unwrap();
    file(&cache, 4, &sources[4]).read(0, 10).await.unwrap();
    machine.fails.store(true, Ordering::SeqCst);
    cache.make_durable();
    machine.fails.store(false, Ordering::SeqCst);
    assert!(cache.stats().disk_errors > 0);
    assert!(cache.contains(key(0), SIZE), "it was on the disk before");
    assert!((1..5).all(|i| !cache.contains(key(i), SIZE)));
    assert!(open[0].complete_file().is_some() && open[1].complete_file().is_none());
    assert_eq!(files(&dir.path().join("v1/partial")).len(), 0);
    assert_eq!(files(&dir.path().join("v1/files")).len(), 1);
    // Who has them open reads on.
    assert!(open[1].read(0, usize::MAX).await.unwrap() == sources[2].data);
    assert!(open[2].read(0, usize::MAX).await.unwrap() == sources[3].data);
    drop(open);
    for i in 1..5 {
        fill(&cache, i).await;
    }
    cache.make_durable();
    assert!((0..5).all(|i| is_marked(&content_path(dir.path(), i))));
}

#[tokio::test]
async fn a_boot_without_a_name_trusts_marks_alone() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Arc::new(TestMachine::default()));
    machine.nameless.store(true, Ordering::SeqCst);
    let cache = machine.open(dir.path(), LIMIT);
    fill(&cache, 0).await;
    drop(cache);
    let cache = machine.open(dir.path(), LIMIT);
    assert!(!cache.contains(key(0), SIZE));
    assert_eq!(read_all(&cache, 0).await, BTreeSet::new(), "a look is enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_power_cut_leaves_no_other_byte_is_read() {
    const FILES: u64 = 6;
    let (dir, machine) = (tempfile::tempdir().unwrap(), Arc::new(TestMachine::default()));
    let cache = machine.open(dir.path(), LIMIT);
    for i in 0..FILES {
        fill(&cache, i).await;
    }
    drop(cache);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for round in 0..30 {
        let image = image(dir.path());
        let image = image.path();
        let mut below = |n: u64| random.next_u64() % n;
        for i in 0..FILES {
            let content = content_path(image, i);
            for _ in 0..below(3) {
                match below(7) {
                    0 => tear(&content, |file| file.set_len(below(SIZE)).unwrap()),
                    1 => {
                        let zeros = vec![0; 1 + below(50_000) as usize];
                        tear(&content, |file| file.write_all_at(&zeros, below(SIZE - 50_001)).unwrap());
                    }
                    2 => tear(&content, |file| {
                        let at = below(SIZE);
                        file.write_all_at(&[below(256) as u8], at).unwrap();
                    }),
                    3 => swap(&content, &content_path(image, below(FILES))),
                    4 => swap(&sums_path(image, i), &sums_path(image, below(FILES))),
                    5 => tear(&sums_path(image, i), |file| file.set_len(below(200)).unwrap()),
                    _ => tear(&sums_path(image, i), |file| {
                        let at = below(200);
                        file.write_all_at(&[below(256) as u8], at).unwrap();
                    }),
                }
            }
        }
        machine.boot_again();
        let cache = machine.open(image, LIMIT);
        let sources: Vec<_> = (0..FILES).map(source).collect();
        for _ in 0..20 {
            let i = below(FILES);
            let (at, len) = (below(SIZE), below(200_000));
            let handle = file(&cache, i, &sources[i as usize]);
            let bytes = handle.read(at, len as usize).await.unwrap();
            let end = (at + len).min(SIZE);
            assert!(bytes == sources[i as usize].data[at as usize..end as usize], "round {round}, file {i}");
        }
        for i in 0..FILES {
            read_all(&cache, i).await;
        }
    }
}
