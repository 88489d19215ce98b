//! Many writers move one branch through bad weather, and some are killed: what each was told must be true.
//!
//! Every try of a writer makes a commit of its own on top of the head that it read. The ledger holds what the writer was
//! told about each: at the end, with the weather calm and every late request arrived,
//!
//! - what was acknowledged is in the log exactly once, what was refused or lost is not in it;
//! - an unknown outcome, settled from the machine's notes, is what the log says;
//! - the log holds nothing else, each commit's parent is the head before it, and the chain verifies.

#![allow(clippy::unwrap_used)]

mod sim_common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atfs::format::{Commit, CommitPlace, Operation, RecordKind, StoredCommit, Totals};
use atfs::repo::refs::{Appended, Draft, Log, forget_settled, settle_attempts};
use atfs::repo::{RepoError, Repository};
use atfs::store::MemoryStore;
use atfs::types::{CommitId, Location, NodeId, Nonce, PackId, RefKind, RefName, SeededRandom};
use sim_common::ledger::{Ledger, Told};
use sim_common::mistake::Mistake;
use sim_common::{Process, Weather, pick, run, seeds};

fn main_log(repository: &Repository) -> Log {
    Log::of_ref(repository, RefKind::Branch, &RefName::new("main").unwrap())
}

/// A commit whose tree nobody reads.
fn commit(repository: &Repository, parent: CommitId) -> (CommitId, StoredCommit) {
    let services = repository.services();
    let commit = Commit {
        tree: NodeId::of(b""),
        parents: vec![parent],
        author: services.who.clone(),
        time: services.clock.now(),
        message: String::new(),
        metadata: BTreeMap::new(),
        totals: Totals::default(),
        nonce: Nonce::from_bytes(services.random.bytes16()),
    };
    let root = Location { pack: PackId::from_bytes([0; 16]), offset: 32, len: 1 };
    (commit.id(), StoredCommit { commit, place: CommitPlace { root, interior: root.span() } })
}

/// Tries until one commit is in the log, or the writer must give up on it.
async fn one_commit(
    repository: &Repository,
    writer: u64,
    ledger: &Ledger<CommitId>,
) -> Result<(), RepoError> {
    let log = main_log(repository);
    loop {
        let newest = log.newest().await?.link.unwrap();
        let head = newest.record.head.as_ref().unwrap().0;
        let (id, stored) = commit(repository, head);
        let rules = repository.rules().await?;
        let draft = Draft {
            kind: RecordKind::Move,
            head: Some((id, stored)),
            operation: Operation { name: "simulate".into(), reason: String::new() },
            checks: Vec::new(),
            settings: BTreeMap::new(),
            settings_seq: rules.settings_seq,
            gc_epoch: rules.gc_epoch,
        };
        ledger.set(writer, id, Told::Nothing);
        match log.append(Some(&newest), draft).await {
            Ok(Appended::Won(_)) => {
                ledger.set(writer, id, Told::Done);
                return Ok(());
            }
            Ok(Appended::Lost) => ledger.set(writer, id, Told::NotDone),
            Err(error) => {
                ledger.set(writer, id, &error);
                return Err(error);
            }
        }
    }
}

/// What a writer does after each start: settle what an earlier life left, then commit.
async fn life(process: &Process, commits: u64, ledger: &Ledger<CommitId>) -> Result<(), RepoError> {
    let repository = process.open().await?;
    settle(process, &repository, ledger).await?;
    for _ in 0..commits {
        // A failure is the user's to see; the next command tries anew.
        let _ = one_commit(&repository, process.number, ledger).await;
    }
    Ok(())
}

async fn settle(
    process: &Process,
    repository: &Repository,
    ledger: &Ledger<CommitId>,
) -> Result<(), RepoError> {
    let settled = settle_attempts(repository).await?;
    ledger.settle(process.number);
    for (attempt, outcome) in &settled {
        ledger.set(process.number, attempt.commit.unwrap(), *outcome);
    }
    forget_settled(repository, &settled).await;
    Ok(())
}

/// One world. What is wrong in it, and how much happened: records in the log, and a digest of all of it.
fn simulate(seed: u64, mistake: Option<Mistake>) -> (Result<(), String>, usize, blake3::Hash) {
    run(async {
        let random = SeededRandom::new(seed);
        let memory = Arc::new(MemoryStore::new());
        let calm = Process::new(99, seed, &memory, &Weather::calm(), None);
        let repository = calm.init().await;
        let first =
            main_log(&repository).newest().await.unwrap().link.unwrap().record.head.clone().unwrap().0;

        let ledger = Arc::new(Ledger::new());
        let weather = Weather::new(&random);
        let writers = 2 + pick(&random, 5);
        let processes: Vec<Arc<Process>> = (0..writers)
            .map(|number| Arc::new(Process::new(number, seed, &memory, &weather, mistake)))
            .collect();
        let tasks: Vec<_> = processes
            .iter()
            .map(|process| {
                let (process, ledger) = (Arc::clone(process), Arc::clone(&ledger));
                let (lives, commits) = (1 + pick(&random, 3), 1 + pick(&random, 3));
                tokio::spawn(async move {
                    for _ in 1..lives {
                        let patience = Duration::from_millis(pick(&*process.random, 2_000));
                        let _ = tokio::time::timeout(patience, life(&process, commits, &ledger)).await;
                    }
                    let _ = life(&process, commits, &ledger).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for process in &processes {
            process.calm().await;
        }
        for process in &processes {
            let repository = process.open().await.unwrap();
            settle(process, &repository, &ledger).await.unwrap();
        }
        let fresh = calm.open().await.unwrap();
        let (result, records, digest) = judge(&fresh, first, &ledger).await;
        (result, records, digest)
    })
}

async fn judge(
    repository: &Repository,
    first: CommitId,
    ledger: &Ledger<CommitId>,
) -> (Result<(), String>, usize, blake3::Hash) {
    let mut digest = blake3::Hasher::new();
    let log = main_log(repository);
    let mut history = match log.verify().await {
        Ok(_) => log.history().await.unwrap(),
        Err(error) => return (Err(format!("the chain does not verify: {error}")), 0, digest.finalize()),
    };
    let mut seen: BTreeMap<CommitId, u32> = BTreeMap::new();
    let mut records = 0;
    while let Some(link) = history.next().await.unwrap() {
        records += 1;
        digest.update(link.hash.as_bytes());
        if let (RecordKind::Move, Some((id, stored))) = (link.record.kind, &link.record.head) {
            *seen.entry(*id).or_default() += 1;
            if *id != first && stored.commit.parents.first() != link.record.previous_commit.as_ref() {
                return (
                    Err(format!("{id} does not stand on the head before it")),
                    records,
                    digest.finalize(),
                );
            }
        }
    }
    seen.remove(&first);
    let mut wrong = Vec::new();
    for ((writer, id), told) in ledger.entries().iter() {
        let times = seen.remove(id).unwrap_or(0);
        let expected = u32::from(*told == Told::Done);
        if times != expected || *told == Told::Nothing {
            wrong.push(format!(
                "writer {writer} was told {told:?} about {}, which is there {times} times",
                id.short()
            ));
        }
    }
    wrong.extend(seen.keys().map(|id| format!("{} is nobody's", id.short())));
    let result = if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) };
    (result, records, digest.finalize())
}

#[test]
fn nothing_is_lost_doubled_or_misreported() {
    let (seeds, talk) = seeds(300);
    let (mut records, count) = (0, seeds.end - seeds.start);
    for seed in seeds {
        let (result, more, digest) = simulate(seed, None);
        records += more;
        if talk {
            println!("seed {seed}: {more} records, {digest}");
        }
        if let Err(wrong) = result {
            panic!("seed {seed}: {wrong}\nrun it again with ATFS_SIM_SEED={seed}");
        }
    }
    println!("{count} worlds, {records} records");
    assert!(records as u64 >= 4 * count, "so little happened that nothing was shown");
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..20 {
        assert_eq!(simulate(seed, None).2, simulate(seed, None).2, "seed {seed}");
    }
}

#[test]
fn the_simulator_catches_mistakes() {
    for mistake in [
        Mistake::NoAnswerMeansFailure,
        Mistake::NotFoundMeansFailure,
        Mistake::ExistsMeansLost,
        Mistake::ConditionIgnored,
    ] {
        let caught =
            (0..100).find_map(|seed| simulate(seed, Some(mistake)).0.err().map(|wrong| (seed, wrong)));
        let (seed, wrong) = caught.unwrap_or_else(|| panic!("{mistake:?} was not caught by 100 seeds"));
        println!("{mistake:?}: caught by seed {seed}: {wrong}");
    }
}
