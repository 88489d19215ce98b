//! From an address to an opened repository: store, index, identity; and what earlier commands left unsettled.

use std::sync::Arc;

use crate::meta::{Index, IndexOptions};
use crate::repo::refs::{Attempt, Outcome, forget_settled, settle_attempts};
use crate::repo::{Repository, Services, Snapshot};
use crate::store::{S3Options, Store, StoreOptions};
use crate::types::{Address, OsRandom, RepoPath, RepoUrl, SystemClock};

use super::app::App;
use super::args::revision_or_main;
use super::config::{Config, Setting};
use super::error::CliError;
use super::hint::Explain;

/// An attempt younger than this may belong to a command that is still running beside us: it is settled, but not spoken
/// of. A command gives up on its own attempt after a minute.
const MAY_BE_RUNNING_MICROS: i64 = 60_000_000;

/// Whether a command only looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It looks; a state folder that cannot be written only makes it slower.
    Read,
    /// It changes something, so attempts must be noted.
    Write,
}

/// The store at `url`, as the settings say; a bucket is not asked anything yet.
///
/// # Errors
/// Settings that make no sense for it, a folder that does not exist.
pub(super) async fn store(url: &RepoUrl, config: &Config) -> Result<Arc<dyn Store>, CliError> {
    let s3 = s3_options(config);
    let options = StoreOptions { s3, ..StoreOptions::default() };
    Ok(crate::store::open(url, &options).await.explain(url)?.store)
}

/// How a bucket is reached with these settings.
pub(super) fn s3_options(config: &Config) -> S3Options {
    S3Options {
        endpoint_url: config.text(Setting::EndpointUrl),
        region: config.text(Setting::Region),
        profile: config.text(Setting::AwsProfile),
        ca_bundle: config.path(Setting::CaBundle),
        ..S3Options::default()
    }
}

/// Clock, randomness, index, identity.
///
/// # Errors
/// With [`Access::Write`], a state folder that cannot be written to.
pub(super) fn services(app: &App, config: &Config, access: Access) -> Result<Services, CliError> {
    let dir = config.state_dir()?;
    let index = match (Index::open(&dir, &IndexOptions::default()), access) {
        (Ok(index), _) => Some(index),
        (Err(error), Access::Read) => {
            app.out.detail(format!("the index is not used: {error}"));
            None
        }
        (Err(error), Access::Write) => {
            let variable = Setting::StateDir.variable();
            return Err(CliError::failed(error.to_string())
                .caused_by(error)
                .hint(format!("name a folder of your own with --state-dir or {variable}")));
        }
    };
    Ok(Services { clock: Arc::new(SystemClock), random: Arc::new(OsRandom), index, who: config.author() })
}

/// Opens the repository at `url` and settles what earlier commands of this machine left open.
///
/// # Errors
/// Not a repository, not reachable, not allowed: explained.
pub(super) async fn repository(app: &App, url: &RepoUrl, access: Access) -> Result<Repository, CliError> {
    let config = app.config()?;
    let services = services(app, &config, access)?;
    let repository = Repository::open(store(url, &config).await?, services).await.explain(url)?;
    settle(app, &repository, url).await;
    Ok(repository)
}

/// The commit that an address names, and the path in it (the root when it names none).
///
/// # Errors
/// As [`repository`]; no such revision.
pub(super) async fn snapshot(app: &App, address: &Address) -> Result<(Snapshot, RepoPath), CliError> {
    let repository = repository(app, &address.url, Access::Read).await?;
    let resolved = repository.resolve(&revision_or_main(address)).await.explain(&address.url)?;
    let path = address.path.clone().unwrap_or(RepoPath::ROOT);
    Ok((repository.snapshot(&resolved), path))
}

/// Says how attempts of earlier commands ended. A failure here must not keep a command from its work: the attempts
/// stay noted.
async fn settle(app: &App, repository: &Repository, url: &RepoUrl) {
    let settled = match settle_attempts(repository).await {
        Ok(settled) => settled,
        Err(error) => {
            app.out
                .warn(format!("what an earlier command left open in {url} cannot be settled yet: {error}"));
            return;
        }
    };
    let now = repository.services().clock.now().as_micros();
    let may_be_running = |attempt: &Attempt| {
        let age = now.saturating_sub(attempt.when.as_micros());
        !attempt.given_up && age < MAY_BE_RUNNING_MICROS
    };
    let (_, ended): (Vec<_>, Vec<_>) = settled.into_iter().partition(|(attempt, _)| may_be_running(attempt));
    for (attempt, outcome) in &ended {
        match outcome {
            Outcome::Landed => app.out.note(format!("an earlier command had succeeded after all: {attempt}")),
            Outcome::Failed => {
                app.out.warn(format!("an earlier command had failed: it is not so that {attempt}"))
            }
            Outcome::Unknown => app.out.note(format!(
                "it is still unknown whether {attempt} (an earlier command): the next change to {} settles it",
                attempt.label
            )),
        }
    }
    // Only now that it was told.
    forget_settled(repository, &ended).await;
}
