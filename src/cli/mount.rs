//! `atfs mount`: show a version of a repository, or all of them, as a directory.

use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::client::{self, MountOrder, Mounted};
use crate::daemon::mount::{Access, MountFlags, NonEmpty};
use crate::fs::{ProfileChoice, UnknownProfile};
use crate::types::{Address, CommitId};

use super::app::App;
use super::args::address_parser;
use super::attend;
use super::config::{Config, Setting};
use super::daemon;
use super::error::CliError;
use super::hint::{Explain, quoted};
use super::prefetch;

/// Mount a version of a repository, or all of them, as a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A mount is read-only and shows one commit for as long as it lives: a branch is pinned to its head of
now, unless the mount is told to --follow it. Without @REVISION the whole repository is mounted:
<DIR>/NAME@REVISION/ exists for every branch, tag and commit; NAME is the repository's
(`atfs init --name`), or how its address ends.

The command returns when the mount answers; a daemon in the background serves it. `atfs mounts`
lists mounts, `atfs umount DIR` takes one away.

Examples:
  atfs mount s3://pathology/slides@main /data/slides
  atfs mount s3://pathology/slides@3fa9c1d2e4b5 /data/release
  atfs mount s3://pathology/slides /data/all && ls /data/all/slides@main
  atfs mount /srv/repos/slides@main /data/slides --allow-other")]
pub(super) struct Args {
    /// What to mount: REPOSITORY[@REVISION]
    #[arg(value_parser = address_parser())]
    address: Address,

    /// Where: an empty directory
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,

    /// Serve in this process, until Ctrl-C
    #[arg(short, long)]
    foreground: bool,

    /// Stay until the mount is gone; SIGTERM and Ctrl-C unmount it (for service managers)
    #[arg(long, conflicts_with = "foreground")]
    wait: bool,

    /// Let other users in, as the modes of the files say
    #[arg(long)]
    allow_other: bool,

    /// Show this user as the owner of everything
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,

    /// Show this group as the group of everything
    #[arg(long, value_name = "GID")]
    gid: Option<u32>,

    /// Mount over a directory that holds files, which are hidden meanwhile
    #[arg(long)]
    nonempty: bool,

    /// Move with the branch: look-ups see its head of at most SECONDS ago; open files keep their bytes
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "10",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    follow: Option<u64>,

    /// Bring files into the cache in the background, those that match GLOB, or all
    #[arg(long, value_name = "GLOB", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    prefetch: Option<String>,

    /// How files are opened: bulk (large files by kernel passthrough), smallfiles (opens never leave the kernel), or auto
    /// (as the files of the commit are, on average)
    #[arg(long, value_name = "PROFILE", default_value = "auto", hide_default_value = true)]
    profile: ProfileChoice,

    /// Limit of the cache, such as 500GiB or 80% of its disk (when this starts the daemon)
    #[arg(long, value_name = "SIZE")]
    cache_size: Option<String>,

    /// Options as mount(8) takes them: ro, allow_other, nonempty, uid=N, gid=N, profile=PROFILE, follow[=SECONDS],
    /// prefetch[=GLOB], cache_size=SIZE
    #[arg(short = 'o', value_name = "OPTIONS", value_delimiter = ',', hide_short_help = true)]
    options: Vec<String>,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,

    /// Not there yet
    #[arg(long, hide = true)]
    rw: bool,
}

/// What `--follow` alone means.
const FOLLOW_SECONDS: u64 = 10;

#[derive(serde::Serialize)]
struct JsonMounted {
    mount_point: String,
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<CommitId>,
}

/// Runs the command.
pub(super) fn run(mut args: Args, app: &App) -> Result<(), CliError> {
    args.apply_options()?;
    if args.rw {
        return Err(CliError::usage("writable mounts are not there yet").hint(format!(
            "`atfs add {} FILE... -m MESSAGE` commits without a mount",
            quoted(&target(&args))
        )));
    }
    if let Some(path) = args.address.path.as_ref().filter(|path| !path.is_root()) {
        let whole = Address { path: None, ..args.address.clone() }.to_string();
        let dir = args.dir.display().to_string();
        return Err(CliError::usage(format!("only a whole version can be mounted, not {path} in it"))
            .hint(format!("`atfs mount {} {}`", quoted(&whole), quoted(&dir))));
    }
    let config = app.config_with(Setting::CacheSize, "--cache-size", args.cache_size.as_deref())?;
    let order = order(&args, &config)?;
    let address = args.address.to_string();
    if args.foreground {
        let daemon = daemon::foreground(&config)?;
        let said = address.clone();
        let (json, quiet) = (args.json, app.out.is_quiet());
        return client::mount_in_foreground(daemon, order, move |mounted| {
            // The process goes on serving: what there is to say is said now, from the thread that mounted.
            let text = if json { json_line(&said, mounted) } else { describe(&said, mounted) };
            match (json, quiet) {
                (true, _) => print_now(&text),
                (false, false) => eprintln!("{text}; Ctrl-C unmounts"),
                (false, true) => {}
            }
        })
        .explain(&args.address.url);
    }
    let launch = daemon::launch(&config)?;
    let mounted = client::mount(&config.cache_dir()?, &launch, &order).explain(&args.address.url)?;
    if let Some(pattern) = &args.prefetch {
        let order = prefetch::of_mount(&mounted.mount_point, pattern);
        let started = client::prefetch_in_background(&config.cache_dir()?, &launch, &order);
        // The mount is there all the same.
        if let Err(error) = started {
            app.out.warn(format!("nothing is fetched ahead: {error}"));
        }
    }
    if args.json {
        app.out.line(json_line(&address, &mounted))?;
        app.out.flush()?;
    } else {
        app.out.note(describe(&address, &mounted));
    }
    if args.wait {
        return app.block_on_until_done(attend::attend(&config.cache_dir()?, &mounted.mount_point, app));
    }
    Ok(())
}

impl Args {
    /// `-o` says the same as the long flags, for those who come from mount(8).
    fn apply_options(&mut self) -> Result<(), CliError> {
        for option in std::mem::take(&mut self.options) {
            let (name, value) = option.split_once('=').unwrap_or((&option, ""));
            let number = || {
                value.parse().map_err(|_| CliError::usage(format!("-o {option}: {value:?} is not a number")))
            };
            match name {
                "" | "ro" | "nosuid" | "nodev" | "defaults" | "_netdev" => {}
                "rw" => self.rw = true,
                "allow_other" => self.allow_other = true,
                "nonempty" => self.nonempty = true,
                "uid" => self.uid = Some(number()?),
                "gid" => self.gid = Some(number()?),
                "follow" if value.is_empty() => self.follow = Some(FOLLOW_SECONDS),
                "follow" => self.follow = Some(number()?.max(1).into()),
                "prefetch" => self.prefetch = Some(value.to_owned()),
                "profile" => {
                    self.profile =
                        value.parse().map_err(|e: UnknownProfile| CliError::usage(e.to_string()))?;
                }
                "cache_size" => self.cache_size = Some(value.to_owned()),
                _ => {
                    return Err(CliError::usage(format!("-o {name}: no such option"))
                        .hint("the options are ro, allow_other, nonempty, uid=N, gid=N, profile=PROFILE, follow[=SECONDS], prefetch[=GLOB], cache_size=SIZE"));
                }
            }
        }
        Ok(())
    }
}

fn order(args: &Args, config: &Config) -> Result<MountOrder, CliError> {
    let here = std::env::current_dir()
        .map_err(|e| CliError::failed("the working directory cannot be told").caused_by(e))?;
    Ok(MountOrder {
        url: args.address.url.absolute(&here).to_string(),
        revision: args.address.revision.as_ref().map(ToString::to_string),
        mount_point: here.join(&args.dir),
        non_empty: if args.nonempty { NonEmpty::Allow } else { NonEmpty::Refuse },
        access: if args.allow_other { Access::Everybody } else { Access::Owner },
        uid: args.uid,
        gid: args.gid,
        profile: args.profile,
        follow: args.follow.map(Duration::from_secs),
        store: daemon::store_access(config),
        device: MountFlags::DEVICE.into(),
    })
}

fn target(args: &Args) -> String {
    let branch = args.address.revision.as_ref().map_or_else(|| "main".to_owned(), ToString::to_string);
    format!("{}@{branch}:", args.address.url)
}

fn describe(address: &str, mounted: &Mounted) -> String {
    let place = mounted.mount_point.display();
    match mounted.commit {
        Some(commit) => format!("{address} is mounted on {place}, read-only, at commit {}", commit.short()),
        None => format!("{address} is mounted on {place}, read-only: every version is a directory in it"),
    }
}

fn json_line(address: &str, mounted: &Mounted) -> String {
    let (repository, revision) = match address.split_once('@') {
        Some((url, revision)) => (url.to_owned(), Some(revision.to_owned())),
        None => (address.to_owned(), None),
    };
    let mount_point = mounted.mount_point.display().to_string();
    let json = JsonMounted { mount_point, repository, revision, commit: mounted.commit };
    serde_json::to_string_pretty(&json).unwrap_or_default()
}

fn print_now(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: the mount is there all the same.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
