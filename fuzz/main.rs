//! Fuzzing of every decoder, on stable Rust and short enough for CI: seeded mutations of valid objects, hashes put
//! right again so that damage reaches the parser behind the hash check.
//!
//! ```text
//! cargo test --test format_fuzz                                         two seconds, a fixed seed
//! ATFS_FUZZ_SECONDS=3600 ATFS_FUZZ_SEED=7 cargo test --test format_fuzz -- --nocapture
//! ATFS_FUZZ_REPLAY=fuzz/artifacts/tree_node-1234 cargo test --test format_fuzz
//! ```
//! What must hold for every input is said in `targets.rs`. A failing input is written to `fuzz/artifacts/`.

#![allow(clippy::unwrap_used)]

mod allocation;
mod mutate;
mod seeds;
mod targets;

use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use mutate::Mutator;
use targets::{TARGETS, Target};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs one input; true when the decoder accepted it.
fn run(target: &Target, input: &[u8]) -> bool {
    let outcome = catch_unwind(|| allocation::peak_of(|| (target.run)(input)));
    let problem = match outcome {
        Ok((accepted, peak)) => {
            // Entries are some ten times larger in memory than on disk; vectors double; a text may be kept thrice.
            let bound = (1 << 20) + 64 * input.len() + target.announced;
            if peak <= bound {
                return accepted;
            }
            format!("{peak} bytes of memory for {} of input, at most {bound} expected", input.len())
        }
        Err(_) => "it panicked, see above".to_owned(),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(
        "fuzz/artifacts/{}-{}",
        target.name,
        blake3::hash(input).to_hex().split_at(12).0
    ));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, input).unwrap();
    panic!("{}: {problem}; replay with ATFS_FUZZ_REPLAY={}", target.name, path.display());
}

#[test]
fn decoders_are_total() {
    if let Ok(path) = std::env::var("ATFS_FUZZ_REPLAY") {
        let name = Path::new(&path).file_name().unwrap().to_string_lossy().into_owned();
        let target = TARGETS.iter().find(|t| name.starts_with(t.name)).expect("a file named after a target");
        println!("accepted: {}", run(target, &std::fs::read(&path).unwrap()));
        return;
    }
    let seed = number("ATFS_FUZZ_SEED", 1);
    let time = Duration::from_secs(number("ATFS_FUZZ_SECONDS", 2)) / TARGETS.len() as u32;
    for target in &TARGETS {
        let mut corpus = (target.seeds)();
        for input in &corpus {
            assert!(run(target, input), "{}: a seed is refused", target.name);
        }
        let valid = corpus.len();
        let mut mutator = Mutator::new(seed);
        let (start, mut rounds, mut accepted) = (Instant::now(), 0u64, 0u64);
        while start.elapsed() < time || rounds < 1_000 {
            let input = mutator.input(&corpus);
            rounds += 1;
            if run(target, &input) {
                accepted += 1;
                // What was accepted is a step away from other things that may be: it joins the corpus for a while.
                if corpus.len() < valid + 200 {
                    corpus.push(input);
                } else {
                    let at = valid + mutator.below(200);
                    corpus[at] = input;
                }
            }
        }
        println!("{}: {rounds} inputs, {accepted} accepted (seed {seed})", target.name);
        assert!(accepted > 0 && accepted < rounds, "{}: mutations hit nothing", target.name);
    }
}
