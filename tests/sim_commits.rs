//! As `sim_refs`, one layer up: writers add files with real commits, merged onto each other, through bad weather and kills.
//!
//! Every job adds one file of its own in a directory that all share; its commit's message is its name. In the end, for
//! every job: acknowledged means that exactly one commit of the history is its and the file is there; refused, or settled as
//! failed, means that neither is.

#![allow(clippy::unwrap_used)]

#[path = "refs_common/mod.rs"]
mod refs_common;
mod sim_common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atfs::repo::change::{Change, NewCommit, Referenced};
use atfs::repo::refs::{Log, forget_settled, settle_attempts};
use atfs::repo::{RepoError, Repository};
use atfs::store::MemoryStore;
use atfs::types::{RefKind, RefName, SeededRandom};
use refs_common::tree::{contents_of, edits};
use sim_common::ledger::{Ledger, Told};
use sim_common::mistake::Mistake;
use sim_common::{Process, Weather, pick, run, seeds};

fn main_branch() -> RefName {
    RefName::new("main").unwrap()
}

async fn job(
    repository: &Repository,
    writer: u64,
    job: &str,
    ledger: &Ledger<String>,
) -> Result<(), RepoError> {
    ledger.set(writer, job.to_owned(), Told::Nothing);
    let made = async {
        let change = Change::begin(repository, &main_branch()).await?;
        let edits = edits(&[("all", Some("")), (&format!("all/{job}"), Some(job))]);
        change.commit(&edits, &Referenced::default(), &NewCommit::new("simulate", job)).await
    };
    let made = made.await;
    ledger.set(writer, job.to_owned(), made.as_ref().map_or_else(Told::from, |_| Told::Done));
    made.map(drop)
}

async fn life(process: &Process, number: u64, jobs: u64, ledger: &Ledger<String>) -> Result<(), RepoError> {
    let repository = process.open().await?;
    settle(process, &repository, ledger).await?;
    for n in 0..jobs {
        let name = format!("{}-{number}-{n}", process.number);
        let _ = job(&repository, process.number, &name, ledger).await;
    }
    Ok(())
}

async fn settle(
    process: &Process,
    repository: &Repository,
    ledger: &Ledger<String>,
) -> Result<(), RepoError> {
    let settled = settle_attempts(repository).await?;
    let mut jobs = Vec::new();
    for (attempt, outcome) in &settled {
        let commit = repository.commit(attempt.commit.unwrap()).await?;
        jobs.push((commit.commit.message, *outcome));
    }
    ledger.settle(process.number);
    for (job, outcome) in jobs {
        ledger.set(process.number, job, outcome);
    }
    forget_settled(repository, &settled).await;
    Ok(())
}

fn simulate(seed: u64, mistake: Option<Mistake>) -> Result<usize, String> {
    run(async {
        let random = SeededRandom::new(seed);
        let memory = Arc::new(MemoryStore::new());
        let calm = Process::new(99, seed, &memory, &Weather::calm(), None);
        calm.init().await;
        let ledger = Arc::new(Ledger::new());
        let weather = Weather::new(&random);
        let processes: Vec<Arc<Process>> = (0..2 + pick(&random, 15))
            .map(|number| Arc::new(Process::new(number, seed, &memory, &weather, mistake)))
            .collect();
        let mut tasks = Vec::new();
        for process in &processes {
            let (process, ledger) = (Arc::clone(process), Arc::clone(&ledger));
            let (lives, jobs) = (1 + pick(&random, 3), 1 + pick(&random, 2));
            tasks.push(tokio::spawn(async move {
                for number in 1..lives {
                    let patience = Duration::from_millis(pick(&*process.random, 3_000));
                    let _ = tokio::time::timeout(patience, life(&process, number, jobs, &ledger)).await;
                }
                let _ = life(&process, 0, jobs, &ledger).await;
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        for process in &processes {
            process.calm().await;
        }
        for process in &processes {
            settle(process, &process.open().await.unwrap(), &ledger).await.unwrap();
        }
        judge(&calm.open().await.unwrap(), &ledger).await
    })
}

async fn judge(repository: &Repository, ledger: &Ledger<String>) -> Result<usize, String> {
    let verified = Log::of_ref(repository, RefKind::Branch, &main_branch()).verify().await;
    let verified = verified.map_err(|error| format!("the chain does not verify: {error}"))?;
    let head = repository.resolve(&"main".parse().unwrap()).await.unwrap();
    let mut walk = repository.first_parents(&head);
    let mut commits: BTreeMap<String, usize> = BTreeMap::new();
    while let Some((_, stored)) = walk.next().await.unwrap() {
        *commits.entry(stored.commit.message).or_default() += 1;
    }
    let files = contents_of(repository, "main").await;
    let mut wrong = Vec::new();
    for ((_, job), told) in ledger.entries().iter() {
        let times = commits.remove(job).unwrap_or(0);
        let there = files.contains_key(&format!("all/{job}"));
        if *told == Told::Nothing || times != usize::from(*told == Told::Done) || there != (times > 0) {
            wrong.push(format!("{job}: told {told:?}, {times} commits, file there: {there}"));
        }
    }
    // Only the first commit is nobody's job.
    if commits.len() != 1 {
        wrong.push(format!("commits of no job: {commits:?}"));
    }
    if wrong.is_empty() { Ok(verified.moves as usize) } else { Err(wrong.join("; ")) }
}

#[test]
fn every_acknowledged_file_is_there_once() {
    let (seeds, talk) = seeds(60);
    let (mut commits, count) = (0, seeds.end - seeds.start);
    for seed in seeds {
        match simulate(seed, None) {
            Ok(made) => commits += made,
            Err(wrong) => panic!("seed {seed}: {wrong}\nrun it again with ATFS_SIM_SEED={seed}"),
        }
        if talk {
            println!("seed {seed}: {commits} commits");
        }
    }
    println!("{count} worlds, {commits} commits");
    assert!(commits as u64 >= 4 * count, "so little happened that nothing was shown");
}

#[test]
fn the_simulator_catches_mistakes() {
    for mistake in [Mistake::NoAnswerMeansFailure, Mistake::NotFoundMeansFailure, Mistake::ConditionIgnored] {
        let caught = (0..60).find_map(|seed| simulate(seed, Some(mistake)).err().map(|wrong| (seed, wrong)));
        let (seed, wrong) = caught.unwrap_or_else(|| panic!("{mistake:?} was not caught by 60 seeds"));
        println!("{mistake:?}: caught by seed {seed}: {wrong}");
    }
}
