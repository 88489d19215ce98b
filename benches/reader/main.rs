//! Reads files as programs do and says how long it took, for `scripts/bench`. It makes the system calls that are measured
//! and no others, so that what it costs itself does not blur a ratio.
//!
//!     reader sequential FILE BLOCK                     read(2) from the beginning to the end
//!     reader random FILE BLOCK COUNT SEED              pread(2) at block boundaries
//!     reader tiles FILE BLOCK COUNT SEED               pread(2) anywhere
//!     reader files LIST READERS SEED BUDGET PASSES     open(2), read(2), close(2) of files in random order
//!     reader walk DIR                                  every name, and stat(2) of each
//!
//! LIST is a file of lines `SIZE PATH`. READERS processes share it, and read it PASSES times; after BUDGET seconds they end
//! early. Paths are relative
//! to the working directory. One line of JSON is the result.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What was done, and in which time.
#[derive(Clone, Copy, Default)]
struct Done {
    seconds: f64,
    operations: u64,
    bytes: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["sequential", file, block] => with(parse(&[block]), |[block]| sequential(file, block)),
        ["random", file, ref numbers @ ..] => {
            with(parse(numbers), |[block, count, seed]| random(file, block, block, count, seed))
        }
        ["tiles", file, ref numbers @ ..] => {
            with(parse(numbers), |[block, count, seed]| random(file, block, 1, count, seed))
        }
        ["files", list, ref numbers @ ..] => with(parse(numbers), |numbers| files(list, numbers)),
        ["share", list, ref numbers @ ..] => with(parse(numbers), |numbers| share(list, numbers)),
        ["walk", dir] => walk(Path::new(dir)),
        // `cargo bench` calls every benchmark: this one is for `scripts/bench`.
        ["--bench"] => return ExitCode::SUCCESS,
        _ => Err(io::Error::other("see the head of benches/reader/main.rs for its arguments")),
    };
    match result {
        Ok(Done { seconds, operations, bytes }) => {
            println!("{{\"seconds\":{seconds:.6},\"operations\":{operations},\"bytes\":{bytes}}}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("reader: {}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// Exactly so many numbers.
fn parse<const N: usize>(words: &[&str]) -> io::Result<[u64; N]> {
    let numbers: Result<Vec<u64>, _> = words.iter().map(|word| word.parse()).collect();
    let numbers = numbers.map_err(io::Error::other)?;
    numbers.try_into().map_err(|_| io::Error::other(format!("{N} numbers are wanted")))
}

fn with<const N: usize>(
    numbers: io::Result<[u64; N]>,
    work: impl Fn([u64; N]) -> io::Result<Done>,
) -> io::Result<Done> {
    work(numbers?)
}

fn sequential(path: &str, block: u64) -> io::Result<Done> {
    let mut buffer = vec![0; block as usize];
    let begun = Instant::now();
    let mut file = File::open(path)?;
    let mut done = Done::default();
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => done.bytes += n as u64,
        }
        done.operations += 1;
    }
    drop(file);
    Ok(Done { seconds: begun.elapsed().as_secs_f64(), ..done })
}

fn random(path: &str, block: u64, grain: u64, count: u64, seed: u64) -> io::Result<Done> {
    let length = std::fs::metadata(path)?.len();
    let places =
        length.checked_sub(block).ok_or_else(|| io::Error::other("the file is too short"))? / grain + 1;
    let mut numbers = Numbers(seed);
    let offsets: Vec<u64> = (0..count).map(|_| numbers.below(places) * grain).collect();
    let mut buffer = vec![0; block as usize];
    let begun = Instant::now();
    let file = File::open(path)?;
    for offset in offsets {
        file.read_exact_at(&mut buffer, offset)?;
    }
    drop(file);
    Ok(Done { seconds: begun.elapsed().as_secs_f64(), operations: count, bytes: count * block })
}

/// Starts the readers, lets them begin together, and waits for the last.
fn files(list: &str, [readers, seed, budget, passes]: [u64; 4]) -> io::Result<Done> {
    let program = std::env::current_exe()?;
    let mut children: Vec<Child> = (0..readers)
        .map(|part| {
            let numbers = [part, readers, seed, budget, passes].map(|number| number.to_string());
            let mut command = Command::new(&program);
            command.args(["share", list]).args(numbers).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        })
        .collect::<io::Result<_>>()?;
    let gone = || io::Error::other("a reader failed");
    let mut outputs = Vec::new();
    for child in &mut children {
        let mut output = BufReader::new(child.stdout.take().ok_or_else(gone)?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line != "ready\n" {
            return Err(gone());
        }
        outputs.push(output);
    }
    let begun = Instant::now();
    for child in &mut children {
        drop(child.stdin.take());
    }
    let mut sum = Done::default();
    for (mut child, mut output) in children.into_iter().zip(outputs) {
        let mut line = String::new();
        output.read_line(&mut line)?;
        if !child.wait()?.success() {
            return Err(gone());
        }
        sum.operations += number_after(&line, "\"operations\":").ok_or_else(gone)?;
        sum.bytes += number_after(&line, "\"bytes\":").ok_or_else(gone)?;
    }
    Ok(Done { seconds: begun.elapsed().as_secs_f64(), ..sum })
}

fn number_after(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(name)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// One of the readers: every `readers`th file of the shuffled list.
fn share(list: &str, [part, readers, seed, budget, passes]: [u64; 5]) -> io::Result<Done> {
    let text = std::fs::read_to_string(list)?;
    let mut names: Vec<(usize, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(' ').and_then(|(size, name)| Some((size.parse().ok()?, name))))
        .collect();
    Numbers(seed).shuffle(&mut names);
    let mine: Vec<_> = names.into_iter().skip(part as usize).step_by(readers as usize).collect();
    let longest = mine.iter().map(|(size, _)| *size).max().unwrap_or(0);
    let mut buffer = vec![0; longest];
    println!("ready");
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let begun = Instant::now();
    let limit = Duration::from_secs(budget);
    let mut done = Done::default();
    let all = (0..passes).flat_map(|_| mine.iter().copied());
    for (size, name) in all {
        let mut file = File::open(name)?;
        let mut filled = 0;
        while filled < size {
            match file.read(&mut buffer[filled..size])? {
                0 => return Err(io::Error::other(format!("{name}: {filled} bytes instead of {size}"))),
                n => filled += n,
            }
        }
        drop(file);
        done.operations += 1;
        done.bytes += size as u64;
        if done.operations % 16 == 0 && begun.elapsed() > limit {
            break;
        }
    }
    Ok(Done { seconds: begun.elapsed().as_secs_f64(), ..done })
}

/// In the order of `find`: a directory's names as they are listed, each subdirectory when its turn comes.
fn walk(dir: &Path) -> io::Result<Done> {
    let begun = Instant::now();
    let mut done = Done::default();
    let mut rest = vec![dir.to_owned()];
    while let Some(dir) = rest.pop() {
        let begin = rest.len();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            done.operations += 1;
            if metadata.is_dir() {
                rest.push(entry.path());
            } else {
                done.bytes += metadata.len();
            }
        }
        rest[begin..].reverse();
    }
    Ok(Done { seconds: begun.elapsed().as_secs_f64(), ..done })
}

/// SplitMix64: the same numbers for everybody who is measured.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `limit`; the bias of the remainder is far below what is measured here.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}
