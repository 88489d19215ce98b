//! `atfs mounts`: what is mounted, of which version, and whether it answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cache::CacheHealth;
use crate::daemon::client;
use crate::daemon::mount::{FS_TYPE, MountEntry, MountTable, is_dead};
use crate::daemon::{MountStatus, StoreCondition, StoreTrouble};
use crate::fs::Profile;
use crate::types::{CommitId, RepoUrl, Timestamp};

use super::app::App;
use super::args::FormatArgs;
use super::error::CliError;
use super::hint::{Explain, quoted};
use super::names::escape;
use super::output::Paint;
use super::text::{minute, pad, subject, time};

/// List what is mounted, and how it is doing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atfs mounts
  atfs mounts -v                      with what each has done so far
  atfs mounts --json | jq -r '.[].mount_point'")]
pub(super) struct Args {
    #[command(flatten)]
    format: FormatArgs,
}

/// Whether a mount is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    /// By the daemon of this cache folder.
    Served,
    /// By a daemon that we cannot ask: of another cache folder or another user.
    Elsewhere,
    /// By nobody: its daemon died.
    Dead,
}

#[derive(Debug, serde::Serialize)]
struct JsonMount {
    mount_point: PathBuf,
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<CommitId>,
    mode: &'static str,
    health: Health,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon: Option<u32>,
    /// What is wrong; nothing: all is well, as far as it is known.
    trouble: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<CacheHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<StoreCondition>,
    counters: BTreeMap<String, u64>,
}

/// Runs the command.
pub(super) fn run(args: &Args, app: &App) -> Result<(), CliError> {
    let cache_dir = app.config()?.cache_dir()?;
    let running = client::running(&cache_dir).explain(&RepoUrl::Local(PathBuf::new()))?;
    let (pid, served) = running.map_or((None, Vec::new()), |r| (Some(r.pid), r.mounts));
    let table =
        MountTable::read().map_err(|e| CliError::failed("the mount table cannot be read").caused_by(e))?;
    let mut mounts: Vec<JsonMount> = Vec::new();
    for entry in table.entries().filter(|entry| entry.fs_type == FS_TYPE) {
        let known = served.iter().find(|status| status.device == entry.device);
        mounts.push(known.map_or_else(|| foreign(entry), |status| ours(status, &entry.mount_point, pid)));
    }
    if args.format.is_json() {
        let mut array = app.out.json_array();
        for mount in &mounts {
            array.push(mount)?;
        }
        return array.end();
    }
    print(app, &mounts)
}

fn ours(status: &MountStatus, mount_point: &Path, daemon: Option<u32>) -> JsonMount {
    JsonMount {
        mount_point: mount_point.to_owned(),
        repository: status.url.clone(),
        revision: status.revision.clone(),
        commit: status.commit,
        mode: "ro",
        health: Health::Served,
        profile: Some(status.profile),
        since: Some(status.since),
        daemon,
        trouble: troubles(status),
        cache: status.cache.clone(),
        store: Some(status.store.clone()),
        counters: status.counters.clone(),
    }
}

/// What is wrong with a mount that is served: sentences that fit into a line.
pub(super) fn troubles(status: &MountStatus) -> Vec<String> {
    let of_store = status.store.trouble.as_ref().map(|trouble| {
        let StoreTrouble { what, when, last_success, error } = trouble;
        let before = last_success.map_or_else(String::new, |at| format!(", which went well at {}", time(at)));
        format!("{what} (asked at {}{before}): {}", time(*when), subject(error))
    });
    let of_cache = match &status.cache {
        Some(CacheHealth::Ok) => None,
        Some(CacheHealth::Full { since }) => Some(format!("the cache has no room since {}", time(*since))),
        Some(CacheHealth::Failing { since, reason }) => {
            Some(format!("the cache keeps nothing since {}: {}", time(*since), subject(reason)))
        }
        None => Some("the daemon runs without a cache; its log says why".to_owned()),
    };
    of_store.into_iter().chain(of_cache).collect()
}

fn foreign(entry: &MountEntry) -> JsonMount {
    let (repository, revision) = match entry.source.split_once('@') {
        Some((url, revision)) => (url.to_owned(), Some(revision.to_owned())),
        None => (entry.source.clone(), None),
    };
    let health = if is_dead(&entry.mount_point) { Health::Dead } else { Health::Elsewhere };
    JsonMount {
        mount_point: entry.mount_point.clone(),
        repository,
        revision,
        commit: None,
        mode: "ro",
        health,
        profile: None,
        since: None,
        daemon: None,
        trouble: Vec::new(),
        cache: None,
        store: None,
        counters: BTreeMap::new(),
    }
}

fn print(app: &App, mounts: &[JsonMount]) -> Result<(), CliError> {
    let out = &app.out;
    if mounts.is_empty() {
        out.note("nothing is mounted");
        out.detail("hint: `atfs mount REPOSITORY@REVISION DIR`");
        return Ok(());
    }
    let place = |mount: &JsonMount| escape(mount.mount_point.as_os_str().as_encoded_bytes()).into_owned();
    let address = |mount: &JsonMount| match &mount.revision {
        Some(revision) => format!("{}@{revision}", mount.repository),
        None => mount.repository.clone(),
    };
    let widest = |text: &dyn Fn(&JsonMount) -> String| {
        mounts.iter().map(|mount| text(mount).chars().count()).max().unwrap_or(0)
    };
    let (place_width, address_width) = (widest(&place), widest(&address));
    for mount in mounts {
        let commit = mount.commit.map_or_else(|| "all versions".to_owned(), |id| id.short());
        let state = match (mount.health, mount.profile, mount.since) {
            (Health::Served, Some(profile), Some(since)) => {
                let well = match mount.trouble.is_empty() {
                    true => out.paint(Paint::Good, "ok"),
                    false => out.paint(Paint::Bad, "in trouble"),
                };
                format!("{}, {profile}, since {}, {well}", mount.mode, minute(since))
            }
            (Health::Served, ..) => mount.mode.to_owned(),
            (Health::Elsewhere, ..) => "served by the daemon of another cache folder or user".to_owned(),
            (Health::Dead, ..) => out.paint(Paint::Bad, "dead: its daemon is gone"),
        };
        let shown = if mount.health == Health::Served { commit } else { "-".to_owned() };
        out.line(format!(
            "{}  {}  {}  {state}",
            pad(&place(mount), place_width),
            out.paint(Paint::Ref, pad(&address(mount), address_width)),
            out.paint(Paint::Id, pad(&shown, 12)),
        ))?;
        for trouble in &mount.trouble {
            out.line(format!("    {}", out.paint(Paint::Bad, trouble)))?;
        }
        if out.is_verbose() {
            let of_store = mount.store.iter().flat_map(|store| &store.counters);
            for (name, value) in mount.counters.iter().chain(of_store) {
                out.line(format!("    {name:<24}{value:>16}"))?;
            }
        }
    }
    if let Some(dead) = mounts.iter().find(|mount| mount.health == Health::Dead) {
        out.hint(format!("`atfs umount {}`, then mount it again", quoted(&place(dead))));
    }
    Ok(())
}
