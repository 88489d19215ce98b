//! A repository's store: can it be reached, may we read and write, does it keep its conditions, what does it hold.

use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;

use super::super::app::App;
use super::super::config::Config;
use super::super::hint::Explain;
use super::super::open;
use super::{Check, State, clock};
use crate::repo::Repository;
use crate::store::{ClockReading, CredentialsFound, Key, ListRequest, S3Store, Store, probe, watch_clock};
use crate::types::{Clock, OsRandom, Random, RefKind, RepoUrl, SystemClock, Timestamp};

const TOPIC: &str = "store";

/// Whether the doctor may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// Nothing.
    None,
    /// An object of a few bytes, removed again.
    Probe,
}

/// Looks at the store at `url`.
pub(super) async fn check(
    app: &App,
    config: &Config,
    url: &RepoUrl,
    writes: Writes,
    checks: &mut Vec<Check>,
) {
    let store = match open::store(url, config).await {
        Ok(store) => store,
        Err(error) => {
            let (finding, remedy) = error.message_and_hint();
            return checks.push(Check::fail(TOPIC, "open", finding, remedy));
        }
    };
    checks.push(Check::ok(TOPIC, "address", store.describe()));
    if let RepoUrl::S3 { bucket, prefix } = url {
        let check = credentials(bucket, prefix, config, url).await;
        // Without any, every request fails with the same words.
        let none = check.state == State::Fail;
        checks.push(check);
        if none {
            return;
        }
    }
    let begun = Instant::now();
    let (listed, clocks) = watch_clock(store.list(&ListRequest::first(""))).await;
    checks.extend(clocks.map(clock::against_store));
    match listed.explain(url) {
        Ok(_) => {
            let millis = begun.elapsed().as_millis();
            checks.push(Check::ok(TOPIC, "reading", format!("can be reached and listed ({millis} ms)")));
        }
        Err(error) => {
            let (finding, remedy) = error.message_and_hint();
            return checks.push(Check::fail(TOPIC, "reading", finding, remedy));
        }
    }
    if writes == Writes::Probe {
        write(&*store, url, clocks, checks).await;
    }
    let services = match open::services(app, config, open::Access::Read) {
        Ok(services) => services,
        // Said already, under `state`.
        Err(_) => return,
    };
    match Repository::open(store, services).await {
        Ok(repository) => contents(&repository, url, checks).await,
        Err(error) => {
            let (finding, remedy) = Err::<(), _>(error)
                .explain(url)
                .map_or_else(|error| error.message_and_hint(), |()| Default::default());
            checks.push(Check::fail(TOPIC, "repository", finding, remedy));
        }
    }
}

/// Whom requests are signed as, and who says so. The secret half is never shown, the public one by its end, as AWS's tools
/// show it.
async fn credentials(bucket: &str, prefix: &str, config: &Config, url: &RepoUrl) -> Check {
    let found = match S3Store::open(bucket, prefix, &open::s3_options(config)).await {
        Ok(store) => store.credentials().await,
        Err(error) => Err(error),
    };
    match found.explain(url) {
        Ok(CredentialsFound { origin, access_key, expires }) => {
            let end: String = access_key.chars().skip(access_key.chars().count().saturating_sub(4)).collect();
            let until =
                expires.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or_else(String::new, |at| {
                    let at = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
                    format!(", until {}", super::super::text::time(Timestamp::from_micros(at)))
                });
            Check::ok(TOPIC, "credentials", format!("from {origin}: access key ...{end}{until}"))
        }
        Err(error) => {
            let (finding, remedy) = error.message_and_hint();
            Check::fail(TOPIC, "credentials", finding, remedy)
        }
    }
}

/// Writes an object to see rights and clocks, then runs the probe that `atfs init` runs: does a name go to one writer only?
async fn write(store: &dyn Store, url: &RepoUrl, clocks: Option<ClockReading>, checks: &mut Vec<Check>) {
    let name: String = OsRandom.bytes16().iter().map(|byte| format!("{byte:02x}")).collect();
    let key = Key::new(format!("probe/doctor-{name}"));
    let body = Bytes::from_static(b"atfs doctor was here\n");
    if let Err(error) = store.put(&key, body).await.explain(url) {
        let (finding, remedy) = error.message_and_hint();
        return checks.push(Check::warn(
            TOPIC,
            "writing",
            finding,
            format!("{remedy}; reading needs none of this"),
        ));
    }
    // A store whose answers do not say the time (a folder, perhaps on another machine) has dated this object.
    if clocks.is_none()
        && let Ok(page) = store.list(&ListRequest::first(key.as_str())).await
        && let Some(object) = page.objects.first()
    {
        let here = SystemClock.now().as_micros() / 1_000_000;
        checks.push(clock::against_store(ClockReading { store: object.modified_seconds, here }));
    }
    if let Err(error) = store.delete(&key).await {
        let remedy = format!("harmless: {key} stays behind; a writer needs no right to delete");
        checks.push(Check::warn(TOPIC, "deleting", error.to_string(), remedy));
    }
    checks.push(match probe(store, &OsRandom).await {
        Ok(report) => {
            let text = format!(
                "a new name goes to one writer only ({} races, {} ms)",
                report.rounds,
                report.took.as_millis()
            );
            Check::ok(TOPIC, "writing", text)
        }
        Err(failure) => Check::fail(
            TOPIC,
            "writing",
            failure.to_string(),
            "use a store with sound conditional writes; versioning of the bucket switches them off on some \
             (docs/operating.md, \"Stores\")",
        ),
    });
}

async fn contents(repository: &Repository, url: &RepoUrl, checks: &mut Vec<Check>) {
    let format = repository.format();
    let branch = &format.default_branch;
    match repository.head(RefKind::Branch, branch).await.explain(url) {
        Ok(head) => {
            let (uuid, id) = (format.uuid, head.id.short());
            let text =
                format!("{uuid}, {branch} at {id}, {}", super::super::show::totals(&head.stored.commit));
            checks.push(Check::ok(TOPIC, "repository", text));
            let ahead = head.link.record.when.as_micros() - SystemClock.now().as_micros();
            if ahead > 60_000_000 {
                let text = format!("the newest record of {branch} is {} s in our future", ahead / 1_000_000);
                checks.push(Check::warn(TOPIC, "history", text, "was this machine's clock set back?"));
            }
        }
        Err(error) => {
            let (finding, remedy) = error.message_and_hint();
            checks.push(Check::warn(TOPIC, "repository", finding, remedy));
        }
    }
}
