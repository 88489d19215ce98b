//! A repository's store: can it be reached, may we read and write, does it keep its conditions, what does it hold.

use std::time::Instant;

use bytes::Bytes;

use super::super::app::App;
use super::super::config::Config;
use super::super::hint::Explain;
use super::super::open;
use super::{Check, clock};
use crate::repo::Repository;
use crate::store::{Grouping, Key, ListRequest, Store, probe};
use crate::types::{Clock, OsRandom, Random, RefKind, RepoUrl, SystemClock};

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
    let begun = Instant::now();
    let request =
        ListRequest { prefix: String::new(), start_after: None, grouping: Grouping::Flat, max_keys: 1 };
    match store.list(&request).await.explain(url) {
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
        write(&*store, url, checks).await;
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

/// Writes an object to see rights and clocks, then runs the probe that `atfs init` runs: does a name go to one writer only?
async fn write(store: &dyn Store, url: &RepoUrl, checks: &mut Vec<Check>) {
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
    let request =
        ListRequest { prefix: key.to_string(), start_after: None, grouping: Grouping::Flat, max_keys: 1 };
    if let Ok(page) = store.list(&request).await
        && let Some(object) = page.objects.first()
    {
        checks.push(clock::against_store(SystemClock.now(), object.modified_seconds));
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
