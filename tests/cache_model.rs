//! Whatever is read, closed, opened again, put in, evicted or restarted, in whatever order: the bytes are
//! those of a plain `Vec<u8>`.
#![allow(clippy::unwrap_used)]

mod cache_support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atfs::cache::CachedFile;
use cache_support::{SmallDisk, Source, content, key, open};
use proptest::prelude::*;

/// With the limit of 64 blocks below: small ones, some that fill a quarter of the cache, and one that is
/// larger than it.
const SIZES: [usize; 8] = [1, 4096, 5000, 30_000, 65_536, 70_000, 100_000, 400_000];
const LIMIT: u64 = 64 * 4096;
/// The lock and how far the scrub is: of a limit as low as this they are more than the part set aside for
/// them.
const OWN: u64 = 2 * 4096;

#[derive(Debug, Clone)]
enum Step {
    Read { file: usize, at: f64, len: usize },
    TryRead { file: usize, at: f64, len: usize },
    Fill { file: usize, from: f64, run: u64, at_once: usize },
    Insert { file: usize },
    Close { file: usize },
    Refuse { file: usize, times: usize },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let file = || 0..SIZES.len();
    let len = || prop_oneof![0..100usize, 1000..20_000usize, Just(500_000usize)];
    prop_oneof![
        8 => (file(), 0.0..1.05f64, len()).prop_map(|(file, at, len)| Step::Read { file, at, len }),
        4 => (file(), 0.0..1.05f64, len()).prop_map(|(file, at, len)| Step::TryRead { file, at, len }),
        2 => (file(), 0.0..1.0f64, 1..400_000u64, 1..5usize)
            .prop_map(|(file, from, run, at_once)| Step::Fill { file, from, run, at_once }),
        1 => file().prop_map(|file| Step::Insert { file }),
        6 => file().prop_map(|file| Step::Close { file }),
        1 => (file(), 1..4usize).prop_map(|(file, times)| Step::Refuse { file, times }),
        1 => Just(Step::Restart),
    ]
}

async fn run(steps: &[Step]) {
    let disk = SmallDisk::new(16 << 20);
    let sources: Vec<Arc<Source>> =
        SIZES.iter().enumerate().map(|(i, &size)| Source::new(content(i as u64, size), 9000)).collect();
    let mut cache = open(disk.path(), LIMIT);
    let mut handles: HashMap<usize, CachedFile> = HashMap::new();
    for step in steps {
        let mut handle = |i: usize| {
            let source = &sources[i];
            let file = handles.entry(i);
            file.or_insert_with(|| cache.file(key(i as u64), source.size(), source.clone())).clone()
        };
        let offset = |i: usize, at: f64| (SIZES[i] as f64 * at) as usize;
        let model = |i: usize, at: usize, len: usize| {
            let data = &sources[i].data;
            data.slice(at.min(data.len())..(at + len).min(data.len()))
        };
        match *step {
            Step::Read { file, at, len } => {
                let at = offset(file, at);
                match handle(file).read(at as u64, len).await {
                    Ok(bytes) => assert!(bytes == model(file, at, len), "{step:?}"),
                    Err(error) => assert!(error.to_string().contains("said no"), "{error}"),
                }
            }
            Step::TryRead { file, at, len } => {
                let at = offset(file, at);
                let mut buf = vec![0xEE; len];
                if let Some(n) = handle(file).try_read(at as u64, &mut buf) {
                    assert!(buf[..n] == model(file, at, len), "{step:?}");
                }
            }
            Step::Fill { file, from, run, at_once } => {
                let _ = handle(file).fill(offset(file, from) as u64..u64::MAX, run, at_once).await;
            }
            Step::Insert { file } => {
                cache.insert(key(file as u64), &sources[file].data);
            }
            Step::Close { file } => {
                handles.remove(&file);
            }
            Step::Refuse { file, times } => {
                sources[file].refuse.store(times, std::sync::atomic::Ordering::SeqCst)
            }
            Step::Restart => {
                handles.clear();
                drop(cache);
                cache = open(disk.path(), LIMIT);
            }
        }
        assert!(disk.used() <= LIMIT + OWN, "{} bytes on disk after {step:?}", disk.used());
        // A read that failed leaves fetches behind that still go on: the two numbers are not of one moment.
        let deadline = Instant::now() + Duration::from_secs(10);
        while disk.used() > cache.stats().bytes_on_disk + OWN {
            assert!(Instant::now() < deadline, "{:?} and {} on disk", cache.stats(), disk.used());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(cache.stats().disk_errors, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_is_a_vec_of_bytes(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(run(&steps));
    }
}
