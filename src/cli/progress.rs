//! What a long operation shows on stderr: one line per stage with files, bytes, rate and time left.
//!
//! Nothing is shown for the first [`PATIENCE`], so that a quick command stays silent. A terminal then sees one line per
//! stage that is redrawn; anything else (a log, CI) sees a plain line now and then. The engine only counts
//! ([`Progress`]); a thread of our own looks at the counters, so drawing never slows the work down.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::types::{ByteSize, Progress, Stage};

/// A command that ends sooner shows nothing: below a second nobody has begun to wonder.
const PATIENCE: Duration = Duration::from_millis(700);

/// Redraws on a terminal: fast enough to look alive, slow enough to cost nothing.
const REDRAW: Duration = Duration::from_millis(200);

/// Lines in a log: a job of an hour leaves some 100 of them.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// The rate shown is that of the last so many seconds: long enough to be calm, short enough to notice a stall.
const RATE_WINDOW: Duration = Duration::from_secs(8);

/// In the order in which they are drawn.
const STAGES: [Stage; 5] = [Stage::Scan, Stage::Hash, Stage::Upload, Stage::Tree, Stage::Download];

/// No total is known.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Counters {
    running: AtomicBool,
    files: AtomicU64,
    bytes: AtomicU64,
    total_files: AtomicU64,
    total_bytes: AtomicU64,
}

/// Shows progress until it is dropped or [`Meter::finish`]ed.
pub(super) struct Meter {
    counters: Arc<[Counters; 5]>,
    stop: Mutex<Option<(mpsc::Sender<()>, JoinHandle<()>)>>,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Meter {
    /// Begins to watch; shows the first line after [`PATIENCE`]. Where threads cannot be had, nothing is shown.
    pub(super) fn start() -> Self {
        let counters = Arc::<[Counters; 5]>::default();
        let (stop, stopped) = mpsc::channel();
        let watched = Arc::clone(&counters);
        let thread =
            std::thread::Builder::new().name("progress".into()).spawn(move || watch(&watched, &stopped));
        Self { counters, stop: Mutex::new(thread.ok().map(|thread| (stop, thread))) }
    }

    /// Takes the lines off the screen, so that the result can be printed.
    pub(super) fn finish(&self) {
        let running = self.stop.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some((stop, thread)) = running {
            drop(stop);
            let _ = thread.join();
        }
    }

    fn of(&self, stage: Stage) -> &Counters {
        &self.counters[STAGES.iter().position(|s| *s == stage).unwrap_or(0)]
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Progress for Meter {
    fn begin(&self, stage: Stage, total_files: Option<u64>, total_bytes: Option<u64>) {
        let counters = self.of(stage);
        counters.total_files.store(total_files.unwrap_or(UNKNOWN), Ordering::Relaxed);
        counters.total_bytes.store(total_bytes.unwrap_or(UNKNOWN), Ordering::Relaxed);
        counters.running.store(true, Ordering::Relaxed);
    }

    fn advance(&self, stage: Stage, files: u64, bytes: u64) {
        let counters = self.of(stage);
        counters.files.fetch_add(files, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn end(&self, stage: Stage) {
        self.of(stage).running.store(false, Ordering::Relaxed);
    }
}

fn watch(counters: &[Counters; 5], stopped: &mpsc::Receiver<()>) {
    let wait = |time| stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    if !wait(PATIENCE) {
        return;
    }
    let mut rates = [(); 5].map(|()| Rate::default());
    let terminal = std::io::stderr().is_terminal();
    let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    let mut bars: [Option<ProgressBar>; 5] = Default::default();
    loop {
        for (at, stage) in STAGES.into_iter().enumerate() {
            let Some(state) = State::of(stage, &counters[at], &mut rates[at]) else {
                if let Some(bar) = bars[at].take() {
                    bar.finish_and_clear();
                }
                continue;
            };
            if terminal {
                let bar = bars[at].get_or_insert_with(|| screen.add(spinner()));
                bar.set_message(state.to_string());
                bar.tick();
            } else {
                let _ = writeln!(std::io::stderr().lock(), "{state}");
            }
        }
        if !wait(if terminal { REDRAW } else { LOG_EVERY }) {
            break;
        }
    }
    for bar in bars.into_iter().flatten() {
        bar.finish_and_clear();
    }
}

fn spinner() -> ProgressBar {
    // `wide_msg` is cut at the terminal's width: a line that wraps cannot be redrawn.
    let style = ProgressStyle::with_template("{spinner} {wide_msg}");
    let bar = ProgressBar::new_spinner();
    style.map(|style| bar.clone().with_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "))).unwrap_or(bar)
}

/// Bytes per second over the last [`RATE_WINDOW`].
#[derive(Debug, Default)]
struct Rate {
    samples: std::collections::VecDeque<(Instant, u64)>,
}

impl Rate {
    fn update(&mut self, now: Instant, bytes: u64) -> Option<f64> {
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) >= RATE_WINDOW {
            self.samples.pop_front();
        }
        let (then, before) = self.samples[0];
        let seconds = now.duration_since(then).as_secs_f64();
        (seconds > 0.1).then(|| bytes.saturating_sub(before) as f64 / seconds)
    }
}

/// One stage at one instant.
#[derive(Debug)]
struct State {
    stage: Stage,
    files: u64,
    bytes: u64,
    total_files: Option<u64>,
    total_bytes: Option<u64>,
    rate: Option<f64>,
}

impl State {
    fn of(stage: Stage, counters: &Counters, rate: &mut Rate) -> Option<Self> {
        if !counters.running.load(Ordering::Relaxed) {
            return None;
        }
        let bytes = counters.bytes.load(Ordering::Relaxed);
        let known = |total: &AtomicU64| Some(total.load(Ordering::Relaxed)).filter(|n| *n != UNKNOWN);
        Some(Self {
            stage,
            files: counters.files.load(Ordering::Relaxed),
            bytes,
            total_files: known(&counters.total_files),
            total_bytes: known(&counters.total_bytes),
            rate: rate.update(Instant::now(), bytes),
        })
    }
}

impl fmt::Display for State {
    /// `uploading   1.2 GiB of 4.0 GiB (30%), 310 of 2000 files, 120.0 MiB/s, 24 s left`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.stage {
            Stage::Scan => "scanning",
            Stage::Hash => "hashing",
            Stage::Upload => "uploading",
            Stage::Download => "downloading",
            Stage::Tree => "writing tree",
        };
        write!(f, "{verb:<12}")?;
        let mut separator = "";
        if self.bytes > 0 || self.total_bytes.is_some() {
            write!(f, "{}", ByteSize(self.bytes))?;
            if let Some(total) = self.total_bytes.filter(|t| *t > 0) {
                let percent = self.bytes.min(total) as f64 / total as f64 * 100.0;
                write!(f, " of {} ({percent:.0}%)", ByteSize(total))?;
            }
            separator = ", ";
        }
        if self.files > 0 || self.total_files.is_some() {
            write!(f, "{separator}{}", self.files)?;
            if let Some(total) = self.total_files {
                write!(f, " of {total}")?;
            }
            f.write_str(" files")?;
        }
        let Some(rate) = self.rate.filter(|rate| *rate >= 1.0) else { return Ok(()) };
        write!(f, ", {}/s", ByteSize(rate as u64))?;
        if let Some(left) =
            self.total_bytes.and_then(|total| total.checked_sub(self.bytes)).filter(|l| *l > 0)
        {
            write!(f, ", {} left", duration(left as f64 / rate))?;
        }
        Ok(())
    }
}

/// `24 s`, `3 min 5 s`, `2 h 10 min`: two units at most.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.ceil().clamp(0.0, 1e9) as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(total: Option<u64>, rate: Option<f64>) -> State {
        let (files, bytes) = (310, 1288490188);
        State {
            stage: Stage::Upload,
            files,
            bytes,
            total_files: total.map(|_| 2000),
            total_bytes: total,
            rate,
        }
    }

    #[test]
    fn a_line_says_what_is_known_and_no_more() {
        let rate = Some(125829120.0);
        assert_eq!(
            state(Some(4 << 30), rate).to_string(),
            "uploading   1.2 GiB of 4.0 GiB (30%), 310 of 2000 files, 120.0 MiB/s, 24 s left"
        );
        assert_eq!(state(None, rate).to_string(), "uploading   1.2 GiB, 310 files, 120.0 MiB/s");
        assert_eq!(
            state(Some(4 << 30), Some(0.0)).to_string(),
            "uploading   1.2 GiB of 4.0 GiB (30%), 310 of 2000 files"
        );
        let scan = State { stage: Stage::Scan, bytes: 0, ..state(None, None) };
        assert_eq!(scan.to_string(), "scanning    310 files");
    }

    #[test]
    fn times_have_two_units() {
        let shown: Vec<_> = [0.0, 59.2, 61.0, 7800.0, 93_600.0].map(duration).into();
        assert_eq!(shown, ["0 s", "1 min 0 s", "1 min 1 s", "2 h 10 min", "1 d 2 h"]);
    }

    #[test]
    fn the_rate_forgets() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.update(start, 0), None);
        for second in 1..=20 {
            // 100 bytes a second, then a stall.
            rate.update(start + Duration::from_secs(second), 100 * second.min(10));
        }
        assert_eq!(rate.update(start + Duration::from_secs(20), 1000), Some(0.0));
        assert!(rate.samples.len() < 12);
    }

    #[test]
    fn a_quick_command_ends_without_waiting_for_the_thread() {
        let begun = Instant::now();
        let meter = Meter::start();
        meter.begin(Stage::Hash, None, Some(10));
        meter.advance(Stage::Hash, 1, 10);
        meter.finish();
        meter.finish();
        assert!(begun.elapsed() < PATIENCE);
    }
}
