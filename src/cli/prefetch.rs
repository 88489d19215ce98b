//! `atfs prefetch`: bring files into the cache before they are read.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::daemon::client::{self, PrefetchOf, PrefetchOrder};
use crate::daemon::mount::{FS_TYPE, MountTable};
use crate::fs::Pattern;
use crate::types::{Address, ByteSize, NoProgress, Progress, RepoUrl, Stage};

use super::app::App;
use super::args::{FormatArgs, revision_or_main};
use super::config::Config;
use super::daemon;
use super::error::CliError;
use super::hint::Explain;

/// Bring files into the cache before they are read
#[derive(Debug, clap::Args)]
#[command(after_help = "\
PATTERN is a path in the version (a file, or everything below a directory) or a glob, in which * and
? stay within a directory and ** does not. Without one, everything is brought. What is in the cache
already is not fetched again. Ctrl-C ends it; what was brought stays until room is needed for
other files, with --pin as long as the mount, or until `atfs prefetch DIR --unpin`. What all
mounts have pinned may take three quarters of the cache.

Examples:
  atfs prefetch /data/slides                          all of what is mounted there
  atfs prefetch /data/slides/2026 '*.csv'             below a directory of it
  atfs prefetch s3://pathology/slides@v1 'train/**/*.png' -j 16
  atfs prefetch /data/slides validation --pin         keep it while others come and go
  atfs prefetch /data/slides --from-file epoch-1.txt  one path in each line; - reads them from stdin")]
pub(super) struct Args {
    /// A mount, or a directory in it; or a version: REPOSITORY[@REVISION]
    #[arg(value_name = "DIR|ADDRESS", value_hint = clap::ValueHint::DirPath)]
    of: OsString,

    /// Paths and globs; below the directory, where one is given
    #[arg(value_name = "PATTERN")]
    patterns: Vec<OsString>,

    /// A file with one path or glob in each line
    #[arg(long, value_name = "LIST", value_hint = clap::ValueHint::FilePath)]
    from_file: Option<PathBuf>,

    /// How many requests at once
    #[arg(short, long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,

    /// Keep what is brought in the cache as long as the mount
    #[arg(long)]
    pin: bool,

    /// Let go of all that the mount has pinned, and bring nothing
    #[arg(long, conflicts_with_all = ["pin", "patterns", "from_file", "jobs"])]
    unpin: bool,

    #[command(flatten)]
    format: FormatArgs,
}

/// What `--unpin` has done, for scripts.
#[derive(serde::Serialize)]
struct Unpinned {
    /// Entries of the cache: files, or stretches of packs with small ones.
    entries: usize,
}

/// Runs the command.
pub(super) fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let config = app.config()?;
    let cache_dir = config.cache_dir()?;
    let (of, below) = target(&args.of, &config)?;
    match &of {
        PrefetchOf::Mount(mount_point) if args.unpin => return unpin(args, app, &cache_dir, mount_point),
        PrefetchOf::Version { .. } if args.pin || args.unpin => {
            return Err(CliError::usage("pins belong to a mount: name its directory"));
        }
        _ => {}
    }
    let mut patterns: Vec<Vec<u8>> = args.patterns.iter().map(|p| p.as_bytes().to_vec()).collect();
    if let Some(list) = &args.from_file {
        patterns.extend(lines(list)?);
    }
    if patterns.is_empty() && !below.is_empty() {
        patterns.push(Vec::new());
    }
    let order =
        PrefetchOrder { of, patterns: all_below(patterns, &below)?, jobs: args.jobs.into(), pin: args.pin };
    let meter = app.meter();
    let progress: &dyn Progress = meter.as_ref().map_or(&NoProgress, |meter| meter);
    progress.begin(Stage::Download, None, None);
    let done = client::prefetch(&cache_dir, &daemon::launch(&config)?, &order, progress);
    progress.end(Stage::Download);
    if let Some(meter) = &meter {
        meter.finish();
    }
    let url = match &order.of {
        PrefetchOf::Version { url, .. } => url.parse().unwrap_or(RepoUrl::Local(PathBuf::new())),
        PrefetchOf::Mount(_) => RepoUrl::Local(PathBuf::new()),
    };
    let done = done.explain(&url)?;
    if args.format.is_json() {
        return app.out.json(&done);
    }
    app.out.note(format!("{} files ({}) are in the cache", done.files, ByteSize(done.bytes)));
    if done.full {
        app.out.warn(match args.pin {
            true => "no more of the cache may be pinned: the rest was not fetched",
            false => "the cache is full: the rest was not fetched",
        });
        app.out.hint("a larger `cache_size`, or fewer files");
    }
    Ok(())
}

fn unpin(args: &Args, app: &App, cache_dir: &Path, mount_point: &Path) -> Result<(), CliError> {
    let entries = client::unpin(cache_dir, mount_point).explain(&RepoUrl::Local(PathBuf::new()))?;
    if args.format.is_json() {
        return app.out.json(&Unpinned { entries });
    }
    app.out.note(match entries {
        0 => "nothing was pinned",
        _ => "nothing is pinned any more: it stays until room is needed",
    });
    Ok(())
}

/// What is meant, and for a directory in a mount its path there.
fn target(of: &OsString, config: &Config) -> Result<(PrefetchOf, Vec<u8>), CliError> {
    if let Ok(dir) = Path::new(of).canonicalize() {
        let table = MountTable::read()
            .map_err(|e| CliError::failed("the mount table cannot be read").caused_by(e))?;
        let ours = table.entries().filter(|entry| entry.fs_type == FS_TYPE);
        let around = ours.filter_map(|e| Some((&e.mount_point, dir.strip_prefix(&e.mount_point).ok()?)));
        if let Some((mount_point, below)) =
            around.max_by_key(|(mount_point, _)| mount_point.components().count())
        {
            return Ok((PrefetchOf::Mount(mount_point.clone()), below.as_os_str().as_bytes().to_vec()));
        }
    }
    let text = of.to_str().ok_or_else(|| CliError::usage("an address is UTF-8"))?;
    let address: Address = text.parse().map_err(|e| {
        CliError::usage(format!("{text}: no atfs is mounted there, and it is no address: {e}"))
    })?;
    if let Some(path) = address.path.as_ref().filter(|path| !path.is_root()) {
        let whole = Address { path: None, ..address.clone() };
        return Err(CliError::usage(format!("the path is an argument of its own: `{whole} {path}`")));
    }
    let here = std::env::current_dir()
        .map_err(|e| CliError::failed("the working directory cannot be told").caused_by(e))?;
    let url = address.url.absolute(&here).to_string();
    let revision = revision_or_main(&address).to_string();
    Ok((PrefetchOf::Version { url, revision, store: daemon::store_access(config) }, Vec::new()))
}

/// The lines of a file, or of standard input for `-`.
fn lines(list: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    let failed = |e| CliError::failed(format!("{} cannot be read", list.display())).caused_by(e);
    let mut text = Vec::new();
    match list.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut text).map_err(failed)?,
        false => File::open(list).and_then(|mut file| file.read_to_end(&mut text)).map_err(failed)?,
    };
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
}

/// The patterns as paths of the version. Checked here, so that a mistyped one costs nothing.
fn all_below(patterns: Vec<Vec<u8>>, below: &[u8]) -> Result<Vec<Vec<u8>>, CliError> {
    let mut whole = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        let pattern = match below {
            b"" => pattern,
            below => [below, b"/", pattern.as_slice()].concat(),
        };
        Pattern::parse(&pattern).map_err(|e| CliError::usage(e.to_string()))?;
        whole.push(pattern);
    }
    Ok(whole)
}

/// The order that `atfs mount --prefetch` gives.
pub(super) fn of_mount(mount_point: &Path, pattern: &str) -> PrefetchOrder {
    let patterns = vec![OsString::from(pattern).into_vec()];
    PrefetchOrder { of: PrefetchOf::Mount(mount_point.to_owned()), patterns, jobs: 8, pin: false }
}
