//! `atfs cache`: what the cache of this machine holds, making it smaller, and comparing it with what was written.
//!
//! One process has a cache at a time. Where a daemon runs it is asked; where none does the command opens the cache itself,
//! for as long as it takes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::{Cache, CacheError, CacheInfo, Holding, Pruned, Verified};
use crate::daemon::{DaemonError, Folder, cache_options, client};
use crate::types::{ByteSize, Progress, RepoUrl, Stage};

use super::app::App;
use super::args::FormatArgs;
use super::daemon::space;
use super::error::{CliError, Exit};
use super::hint::Explain;

/// Look at the cache of this machine, shrink it, check it
#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
The cache holds only what can be fetched again: nothing that is done to it loses anything.

Examples:
  atfs cache info
  atfs cache prune --to 100GiB
  atfs cache prune --all
  atfs cache verify"
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show where it is, what it holds, its limit, and what its disk has
    Info {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Evict what was not used for the longest time; what is open stays
    #[command(group(clap::ArgGroup::new("how far").required(true)))]
    Prune {
        /// Until it takes at most so much, such as 100GiB
        #[arg(long, value_name = "SIZE", group = "how far")]
        to: Option<ByteSize>,

        /// Everything
        #[arg(long, group = "how far")]
        all: bool,

        #[command(flatten)]
        format: FormatArgs,
    },
    /// Read all of it and compare it with what was written; what is wrong is taken off the disk
    Verify {
        #[command(flatten)]
        format: FormatArgs,
    },
}

#[derive(Debug, serde::Serialize)]
struct JsonInfo {
    dir: PathBuf,
    /// Whether a daemon has it.
    served: bool,
    bytes: u64,
    limit_bytes: u64,
    floor_bytes: u64,
    free_bytes: Option<u64>,
    disk_bytes: Option<u64>,
    open_bytes: u64,
    open_entries: u64,
    /// Held by `atfs prefetch --pin`, and not open.
    pinned_bytes: u64,
    whole: Holding,
    partial: Holding,
    small: Holding,
    /// Since the daemon was started; none without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    counters: Option<JsonCounters>,
}

#[derive(Debug, serde::Serialize)]
struct JsonCounters {
    hits: u64,
    misses: u64,
    pieces_fetched: u64,
    bytes_fetched: u64,
    bytes_lent: u64,
    pieces_not_kept: u64,
    evictions: u64,
    disk_errors: u64,
    wrong_on_disk: u64,
}

/// Runs the command.
pub(super) fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let dir = app.config()?.cache_dir()?;
    match &args.action {
        Action::Info { format } => info(app, &dir, format),
        Action::Prune { to, format, .. } => prune(app, &dir, to.unwrap_or_default(), format),
        Action::Verify { format } => verify(app, &dir, format),
    }
}

fn info(app: &App, dir: &Path, format: &FormatArgs) -> Result<(), CliError> {
    let by_daemon = explained(client::cache_info(dir))?;
    let served = by_daemon.is_some();
    let info = match by_daemon {
        Some(info) => info,
        None => open(app, dir)?.info(),
    };
    if format.is_json() {
        return app.out.json(&json(dir, served, &info));
    }
    let out = &app.out;
    let line = |name: &str, text: String| out.line(format!("{name:<10} {text}"));
    let held = |holding: Holding, what: &str| {
        format!("{} in {} {what}{}", ByteSize(holding.bytes), holding.entries, plural(holding.entries))
    };
    let stats = &info.stats;
    line("place", dir.display().to_string())?;
    line("on disk", format!("{} of {}", ByteSize(stats.bytes_on_disk), ByteSize(stats.bytes_limit)))?;
    line("  whole", held(info.whole, "file"))?;
    line("  partial", held(info.partial, "file"))?;
    line("  small", held(info.small, "slab"))?;
    if let (Some(free), Some(disk)) = (info.free_bytes, info.disk_bytes) {
        let (free, disk, floor) = (ByteSize(free), ByteSize(disk), ByteSize(info.floor_bytes));
        line("its disk", format!("{free} of {disk} free; {floor} stay free"))?;
    }
    if !served {
        return line("daemon", "none runs".into());
    }
    line("open", format!("{} in {} of them", ByteSize(stats.bytes_open), stats.entries_open))?;
    if stats.bytes_held > 0 {
        line("pinned", format!("{}, by `atfs prefetch --pin`", ByteSize(stats.bytes_held)))?;
    }
    line("reads", format!("{} from the disk, {} that fetched", stats.hits, stats.misses))?;
    if stats.disk_errors > 0 || stats.wrong_on_disk > 0 {
        let (failed, wrong) = (stats.disk_errors, stats.wrong_on_disk);
        line(
            "trouble",
            format!(
                "the disk failed {failed} time{}, and {wrong} content{} had changed on it",
                plural(failed),
                plural(wrong)
            ),
        )?;
    }
    Ok(())
}

fn json(dir: &Path, served: bool, info: &CacheInfo) -> JsonInfo {
    let stats = info.stats;
    JsonInfo {
        dir: dir.to_path_buf(),
        served,
        bytes: stats.bytes_on_disk,
        limit_bytes: stats.bytes_limit,
        floor_bytes: info.floor_bytes,
        free_bytes: info.free_bytes,
        disk_bytes: info.disk_bytes,
        open_bytes: stats.bytes_open,
        open_entries: stats.entries_open,
        pinned_bytes: stats.bytes_held,
        whole: info.whole,
        partial: info.partial,
        small: info.small,
        counters: served.then_some(JsonCounters {
            hits: stats.hits,
            misses: stats.misses,
            pieces_fetched: stats.pieces_fetched,
            bytes_fetched: stats.bytes_fetched,
            bytes_lent: stats.bytes_lent,
            pieces_not_kept: stats.pieces_not_kept,
            evictions: stats.evictions,
            disk_errors: stats.disk_errors,
            wrong_on_disk: stats.wrong_on_disk,
        }),
    }
}

fn prune(app: &App, dir: &Path, to: ByteSize, format: &FormatArgs) -> Result<(), CliError> {
    let pruned = match explained(client::prune_cache(dir, to.0))? {
        Some(pruned) => pruned,
        None => open(app, dir)?.prune(to.0),
    };
    if format.is_json() {
        return app.out.json(&pruned);
    }
    let Pruned { bytes_before, bytes_on_disk, bytes_open, bytes_held, .. } = pruned;
    let gone = ByteSize(bytes_before.saturating_sub(bytes_on_disk));
    app.out.line(format!("{gone} evicted, {} left", ByteSize(bytes_on_disk)))?;
    if bytes_on_disk > to.0 && bytes_open > 0 {
        app.out.note(format!("{} of it are open and stay until they are closed", ByteSize(bytes_open)));
    }
    if bytes_on_disk > to.0 && bytes_held > 0 {
        app.out.note(format!("{} of it are pinned (`atfs prefetch DIR --unpin`)", ByteSize(bytes_held)));
    }
    Ok(())
}

fn verify(app: &App, dir: &Path, format: &FormatArgs) -> Result<(), CliError> {
    let meter = app.meter();
    let mut told = None;
    let mut progress = |seen: &Verified| {
        let Some(meter) = &meter else { return };
        let before: Verified = told.replace(*seen).unwrap_or_else(|| {
            meter.begin(Stage::Hash, None, Some(seen.bytes_total));
            Verified::default()
        });
        let count = |seen: &Verified| seen.right + seen.wrong + seen.slabs + seen.slabs_unreadable;
        meter.advance(Stage::Hash, count(seen) - count(&before), seen.bytes_read - before.bytes_read);
    };
    let seen = match explained(client::verify_cache(dir, &mut progress))? {
        Some(seen) => seen,
        None => open(app, dir)?.verify(|seen| {
            progress(seen);
            ControlFlow::Continue(())
        }),
    };
    drop(meter);
    if format.is_json() {
        app.out.json(&seen)?;
    } else {
        summary(app, &seen)?;
    }
    match seen.wrong + seen.slabs_unreadable {
        0 => Ok(()),
        bad => Err(CliError::new(
            Exit::Conflict,
            format!("{bad} of them were not what was written: the disk of {} is failing", dir.display()),
        )
        .hint("they were taken off it and are fetched again when they are read; replace the disk")),
    }
}

fn summary(app: &App, seen: &Verified) -> Result<(), CliError> {
    let (files, slabs) = (seen.right + seen.wrong, seen.slabs + seen.slabs_unreadable);
    app.out.line(format!(
        "{} read: {files} file{}, {} wrong; {slabs} slab{}, {} unreadable",
        ByteSize(seen.bytes_read),
        plural(files),
        seen.wrong,
        plural(slabs),
        seen.slabs_unreadable
    ))?;
    if seen.unproven > 0 {
        let n = seen.unproven;
        app.out.note(format!(
            "{n} more file{} from before the machine was started: each piece is checked before it is used",
            plural(n)
        ));
    }
    Ok(())
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// The cache, which no daemon has, all of it counted.
fn open(app: &App, dir: &Path) -> Result<Arc<Cache>, CliError> {
    let config = app.config()?;
    // As a daemon would make it.
    let folder = explained(Folder::create(dir))?;
    let dir = folder.cache_dir();
    let options = cache_options(dir, space(config.cache_size()), config.cache_floor().map(space));
    let options = options.map_err(|e| {
        CliError::failed(format!("cannot look at the disk of {}", dir.display())).caused_by(e)
    })?;
    let cache = Cache::open(dir, &options).map_err(|error| {
        let is_in_use = matches!(error, CacheError::InUse { .. });
        let explained = CliError::failed(error.to_string()).caused_by(error);
        if is_in_use { explained.hint("it has just been taken; run the command again") } else { explained }
    })?;
    cache.wait_until_ready();
    Ok(cache)
}

fn explained<T>(result: Result<T, DaemonError>) -> Result<T, CliError> {
    result.explain(&RepoUrl::Local(PathBuf::new()))
}
