//! What a conditional write is said to have done, whatever became of its answer.

#![allow(clippy::unwrap_used)]

mod refs_common;

use std::sync::Arc;

use atfs::format::RecordKind;
use atfs::repo::refs::{
    Appended, Attempt, Log, MemoryNotebook, Notebook, Outcome, forget_settled, settle_attempts,
};
use atfs::repo::{RepoError, Repository};
use atfs::store::fault::{Fault, FaultRule, FaultStore};
use atfs::store::{RecordStore, Store, StoreErrorKind};
use atfs::types::RefKind;
use refs_common::scripted::{Fate, Scripted};
use refs_common::*;

struct Bench {
    world: World,
    store: Arc<Scripted>,
    repository: Repository,
    notebook: Arc<MemoryNotebook>,
}

impl Bench {
    async fn new(fates: &[Fate]) -> Self {
        let world = world().await;
        let store = Scripted::new(Arc::clone(&world.store) as _);
        let notebook = Arc::new(MemoryNotebook::default());
        let repository = Repository::open_with(
            Arc::clone(&store) as _,
            services(&world.clock, 7),
            Arc::clone(&notebook) as _,
        )
        .await
        .unwrap();
        store.script(fates.iter().copied());
        Self { world, store, repository, notebook }
    }

    fn log(&self) -> Log {
        Log::of_ref(&self.repository, RefKind::Branch, &name("main"))
    }

    /// Tries to move `main` behind its newest record.
    async fn try_move(&self) -> Result<Appended, RepoError> {
        let log = self.log();
        let newest = log.newest().await?.link.unwrap();
        let head = newest.record.head.clone().unwrap();
        let next = commit("ours", &[head.0], 77);
        self.store.take_calls();
        log.append(Some(&newest), draft(RecordKind::Move, Some(next))).await
    }

    async fn notes(&self) -> usize {
        self.notebook.attempts(self.repository.format().uuid).await.unwrap().len()
    }

    async fn message_of_main(&self) -> String {
        main_head(&self.world.another_machine().await).await.stored.commit.message
    }
}

const TIMEOUT: StoreErrorKind = StoreErrorKind::Timeout;
const EXISTS: StoreErrorKind = StoreErrorKind::AlreadyExists;

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_or_wrong_are_settled() {
    use StoreErrorKind::*;
    // Fates of the PUTs, and the calls that settle them.
    let cases: &[(&[Fate], &str)] = &[
        (&[], "N"),
        // The answer is lost, or says that the store failed; the write was carried out.
        (&[Fate::Done(Timeout)], "NNG"),
        (&[Fate::Done(Server)], "NNG"),
        (&[Fate::Done(Conflict)], "NNG"),
        (&[Fate::Done(BadAnswer)], "NNG"),
        // A retry inside met its own first try.
        (&[Fate::Done(AlreadyExists)], "NG"),
        // It was not carried out.
        (&[Fate::Refused(Timeout), Fate::Refused(Throttled), Fate::Refused(Conflict)], "NNNN"),
        (&[Fate::Refused(Unreachable), Fate::Done(CutBody)], "NNNG"),
    ];
    for (fates, calls) in cases {
        let bench = Bench::new(fates).await;
        let appended = bench.try_move().await.unwrap();
        assert!(matches!(appended, Appended::Won(_)), "{fates:?}");
        assert_eq!(bench.store.take_letters(), *calls, "{fates:?}");
        assert_eq!(bench.message_of_main().await, "ours");
        assert_eq!(bench.notes().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_told_apart_from_a_lost_answer() {
    for fates in [&[][..], &[Fate::Refused(TIMEOUT)], &[Fate::Refused(EXISTS)]] {
        let bench = Bench::new(fates).await;
        let log = bench.log();
        let stale = log.newest().await.unwrap().link.unwrap();
        move_branch(&bench.world.repository, "main", "theirs", 1).await;
        let next = commit("ours", &[], 77);
        let appended = log.append(Some(&stale), draft(RecordKind::Move, Some(next))).await.unwrap();
        assert!(matches!(appended, Appended::Lost), "{fates:?}");
        assert_eq!(bench.message_of_main().await, "theirs");
        assert_eq!(bench.notes().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn not_found_on_re_reading_proves_nothing() {
    // The store says "exists", then "not found": the write is sent again, and found to be ours.
    let bench = Bench::new(&[Fate::Done(EXISTS)]).await;
    let log = bench.log();
    let newest = log.newest().await.unwrap().link.unwrap();
    bench.store.blind_reads(1);
    bench.store.take_calls();
    let next = commit("ours", &[], 77);
    let appended = log.append(Some(&newest), draft(RecordKind::Move, Some(next))).await.unwrap();
    assert!(matches!(appended, Appended::Won(_)));
    assert_eq!(bench.store.take_letters(), "NGNG");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_plain_failure_only_if_nothing_can_be_travelling() {
    let denied = Fate::Refused(StoreErrorKind::Denied);
    let bench = Bench::new(&[denied]).await;
    assert!(matches!(bench.try_move().await, Err(RepoError::Store(_))));
    assert_eq!(bench.notes().await, 0);

    let bench = Bench::new(&[Fate::Refused(TIMEOUT), denied]).await;
    assert!(matches!(bench.try_move().await, Err(RepoError::OutcomeUnknown { .. })));
    assert_eq!(bench.notes().await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_noted_and_settled_by_the_next_command() {
    // Silence ends in an error, not in waiting for ever; whether it was carried out only the key can tell.
    for (fate, expected) in [(Fate::DoneInSilence, Outcome::Landed), (Fate::Silence, Outcome::Unknown)] {
        let bench = Bench::new(&[fate]).await;
        let began = tokio::time::Instant::now();
        match bench.try_move().await {
            Err(error @ RepoError::OutcomeUnknown { .. }) => {
                let RepoError::OutcomeUnknown { attempt, .. } = &error else { unreachable!() };
                assert_eq!(
                    (attempt.seq, attempt.commit),
                    (3, Some(commit("ours", &[main_parent(&bench).await], 77).0))
                );
                assert!(error.to_string().contains("branch main moved to"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed().as_secs() <= 61, "{:?}", began.elapsed());
        let settled = settle(&bench).await;
        assert!(
            settled[0].0.given_up,
            "so that the next command need not wait to see whether we are still at work"
        );
        assert_eq!(settled.iter().map(|(_, outcome)| *outcome).collect::<Vec<_>>(), [expected]);
        // An unknown one stays noted; when another record takes its number, it has failed for good.
        if expected == Outcome::Unknown {
            assert_eq!(bench.notes().await, 1);
            move_branch(&bench.world.repository, "main", "theirs", 1).await;
            let settled = settle(&bench).await;
            assert_eq!(settled[0].1, Outcome::Failed);
        }
        assert_eq!(bench.notes().await, 0);
        assert!(settle_attempts(&bench.repository).await.unwrap().is_empty());
    }
}

/// Settles; what is settled is not forgotten before it was told.
async fn settle(bench: &Bench) -> Vec<(Attempt, Outcome)> {
    let settled = settle_attempts(&bench.repository).await.unwrap();
    assert_eq!(settle_attempts(&bench.repository).await.unwrap(), settled);
    forget_settled(&bench.repository, &settled).await;
    settled
}

async fn main_parent(bench: &Bench) -> atfs::types::CommitId {
    let key = record_key(RefKind::Branch, "main", 2);
    atfs::format::Record::decode(&bench.world.object(&key).await).unwrap().head.unwrap().0
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_dropped_half_way_stays_noted() {
    let bench = Bench::new(&[Fate::DoneInSilence]).await;
    let tried = tokio::time::timeout(std::time::Duration::from_secs(1), bench.try_move()).await;
    assert!(tried.is_err());
    assert_eq!(bench.notes().await, 1);
    let settled = settle_attempts(&bench.repository).await.unwrap();
    assert_eq!(settled[0].1, Outcome::Landed);
    assert_eq!(bench.message_of_main().await, "ours");
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_before_anything_is_sent() {
    let bench = Bench::new(&[]).await;
    let log = bench.log();
    let newest = log.newest().await.unwrap().link.unwrap();
    bench.store.take_calls();
    let mut draft = draft(RecordKind::Move, Some(commit("ours", &[], 77)));
    draft.operation.reason = "x".repeat(65 << 10);
    assert!(matches!(log.append(Some(&newest), draft).await, Err(RepoError::Unstorable(_))));
    assert_eq!(bench.store.take_letters(), "");
    assert_eq!(bench.notes().await, 0);
}

#[tokio::test]
async fn a_head_costs_one_listing_and_two_reads_at_most() {
    let bench = Bench::new(&[]).await;
    move_branch(&bench.world.repository, "main", "one", 1).await;
    let head = async || main_head(&bench.repository).await;
    bench.store.take_calls();
    head().await;
    assert_eq!(bench.store.take_letters(), "LGG", "nothing known: the record and the one before it");
    head().await;
    assert_eq!(bench.store.take_letters(), "L", "not moved");
    move_branch(&bench.world.repository, "main", "two", 2).await;
    head().await;
    assert_eq!(bench.store.take_letters(), "LG", "the one before it is known");

    // Another process of the same machine knows the hash from the notes.
    let notebook: Arc<dyn Notebook> = Arc::clone(&bench.notebook) as _;
    let store: Arc<dyn Store> = Arc::clone(&bench.store) as _;
    let open = async || {
        Repository::open_with(Arc::clone(&store), services(&bench.world.clock, 8), Arc::clone(&notebook))
            .await
    };
    main_head(&open().await.unwrap()).await;
    assert_eq!(bench.store.take_letters(), "GLG", "format.json, then one record");
    move_branch(&bench.world.repository, "main", "three", 3).await;
    main_head(&open().await.unwrap()).await;
    assert_eq!(bench.store.take_letters(), "GLG");
}

#[tokio::test(start_paused = true)]
async fn the_two_reads_of_a_head_run_side_by_side() {
    let world = world().await;
    move_branch(&world.repository, "main", "one", 1).await;
    let network = FaultStore::new(Arc::clone(&world.store) as _, 1);
    network.set_rules([FaultRule::always(Fault::SlowFirstByte(std::time::Duration::from_millis(30)))]);
    let recorder = Arc::new(RecordStore::new(Arc::new(network)));
    let repository = world.through(Arc::clone(&recorder) as _).await;
    recorder.reset();
    main_head(&repository).await;
    assert_eq!((recorder.calls().len(), recorder.depth()), (3, 2));
}
