//! `atfs stats`: what a mount has done, once or again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::daemon::MountStatus;
use crate::daemon::client;
use crate::daemon::mount::canonical;
use crate::types::{ByteSize, RepoUrl};

use super::app::App;
use super::args::FormatArgs;
use super::error::CliError;
use super::hint::Explain;
use super::mounts::troubles;

/// What each counter counts, in the order in which they are shown; one that is not here is shown by its name.
const MEANINGS: [(&str, &str); 21] = [
    ("lookups", "names looked up"),
    ("listings", "buffers of listings"),
    ("opens_passthrough", "opens that the kernel then reads by itself"),
    ("opens_cached", "opens whose reads come to the daemon"),
    ("reads", "reads that came to the daemon"),
    ("bytes_read", "their bytes"),
    ("waited", "requests that waited for disk or network"),
    ("errors", "requests answered with EIO"),
    ("moves", "moves with the branch"),
    ("moves_unknown", "times the branch could not be asked"),
    ("commits_held", "commits held for what is open"),
    ("store_requests", "requests to the store, of all mounts of the repository"),
    ("store_reads", "those for objects and parts of them"),
    ("store_lists", "those for names"),
    ("store_bytes_received", "bytes that reads returned"),
    ("store_retries", "attempts after the first"),
    ("store_hedges_sent", "second requests for slow reads"),
    ("store_hedges_won", "those that answered first"),
    ("store_slow_downs", "times the store said that it is busy"),
    (PACE, "requests that may run at once now"),
    (PACE_LIMIT, "requests that may when the store never complains"),
];

/// These are no counts, so they have no rate.
const PACE: &str = "store_pace";
const PACE_LIMIT: &str = "store_pace_limit";

/// Show what a mount has done
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What a mount has done stands in DIR/.atfs/stats as well, for scripts. What the kernel answers by
itself (its page cache, files that it passes through, names that it knows) is not counted: the
fewer, the better. The numbers of the store are those of all mounts that share the repository,
since the first of them.

Examples:
  atfs stats /data/slides
  atfs stats /data/slides --watch        every two seconds, with the change in each second
  atfs stats /data/slides --json")]
pub(super) struct Args {
    /// Where it is mounted
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,

    /// Show it again every so many seconds, with the rates, until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,

    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub(super) async fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let cache_dir = app.config()?.cache_dir()?;
    let dir = canonical(&args.dir).map_err(|e| CliError::failed(e.to_string()))?;
    let mut status = served(&cache_dir, &dir)?;
    let mut then = Instant::now();
    if args.watch.is_none() {
        return print(args, app, status, None);
    }
    loop {
        tokio::time::sleep(Duration::from_secs(args.watch.unwrap_or(2))).await;
        let before = std::mem::replace(&mut status, served(&cache_dir, &dir)?);
        let passed = then.elapsed();
        then = Instant::now();
        let before = counters(before);
        print(args, app, status.clone(), Some((&before, passed)))?;
        app.out.flush()?;
    }
}

fn served(cache_dir: &Path, dir: &Path) -> Result<MountStatus, CliError> {
    let running = client::running(cache_dir).explain(&RepoUrl::Local(PathBuf::new()))?;
    let mounts = running.map(|running| running.mounts).unwrap_or_default();
    mounts.into_iter().find(|mount| mount.mount_point == dir).ok_or_else(|| {
        CliError::failed(format!("no mount of this cache folder's daemon is on {}", dir.display()))
            .hint("`atfs mounts` lists all")
    })
}

/// Those of the mount and those of its store: no name is in both.
fn counters(status: MountStatus) -> BTreeMap<String, u64> {
    let mut counters = status.counters;
    counters.extend(status.store.counters);
    counters
}

fn print(
    args: &Args,
    app: &App,
    status: MountStatus,
    before: Option<(&BTreeMap<String, u64>, Duration)>,
) -> Result<(), CliError> {
    let trouble = troubles(&status);
    let counters = counters(status);
    if args.format.is_json() {
        return app.out.json(&counters);
    }
    if before.is_some() {
        app.out.line(format!("-- {}", crate::types::Clock::now(&crate::types::SystemClock)))?;
    }
    let known = MEANINGS.iter().filter_map(|(name, meaning)| {
        counters.get_key_value(*name).map(|(name, count)| (name, *count, *meaning))
    });
    let is_new = |name: &str| !MEANINGS.iter().any(|(known, _)| *known == name);
    let new = counters.iter().filter(|(name, _)| is_new(name)).map(|(name, count)| (name, *count, ""));
    for (name, count, meaning) in known.chain(new) {
        let shown = |n: u64| if name.contains("bytes") { ByteSize(n).to_string() } else { n.to_string() };
        let rate = before.map_or_else(String::new, |(before, passed)| {
            if [PACE, PACE_LIMIT].contains(&name.as_str()) {
                return " ".repeat(16);
            }
            let change = count.saturating_sub(before.get(name).copied().unwrap_or(0));
            let per_second = change as f64 / passed.as_secs_f64().max(0.001);
            format!("{:>14}/s", shown(per_second.round() as u64))
        });
        let line = format!("{name:<22}{:>14}{rate}  {meaning}", shown(count));
        app.out.line(line.trim_end())?;
    }
    trouble.into_iter().for_each(|trouble| app.out.warn(trouble));
    Ok(())
}
