use std::sync::Arc;

use super::super::fault::{Fault, FaultRule, FaultStore};
use super::super::{MemoryStore, Operation};
use super::*;
use crate::types::SeededRandom;

/// The probe of a store in memory that fails so, and the store's objects afterwards.
async fn probe_with(rules: Vec<FaultRule>, seed: u64) -> (Result<ProbeReport, ProbeFailure>, Vec<Key>) {
    let memory = Arc::new(MemoryStore::new());
    let store = FaultStore::new(memory.clone(), seed);
    store.set_rules(rules);
    let result = probe(&store, &SeededRandom::new(seed)).await;
    store.settle().await;
    let left = list_all(&*memory, ListRequest::all("")).await.expect("memory");
    (result, left.objects.into_iter().map(|object| object.key).collect())
}

#[tokio::test(start_paused = true)]
async fn an_honest_store_passes_and_is_left_clean() {
    for seed in 0..20 {
        let (result, left) = probe_with(vec![], seed).await;
        let report = result.expect("honest");
        assert_eq!((report.rounds, report.unclear_answers, report.left_over), (8, 0, 0));
        assert_eq!(left, []);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ignoring_store_is_refused() {
    for seed in 0..20 {
        let (result, left) = probe_with(vec![FaultRule::always(Fault::IgnoredCondition)], seed).await;
        let failure = result.expect_err("ignores");
        assert!(matches!(failure, ProbeFailure::IgnoresCondition { .. }), "{failure}");
        assert!(failure.to_string().contains("memory ignores the condition"), "{failure}");
        assert_eq!(left, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_racy_store_is_refused() {
    for seed in 0..20 {
        let racy = FaultRule::always(Fault::RacyCondition(Duration::from_millis(1)));
        let (result, left) = probe_with(vec![racy], seed).await;
        let failure = result.expect_err("racy");
        assert!(matches!(failure, ProbeFailure::Racy { winners: 2..=16, .. }), "{failure}");
        assert_eq!(left, []);
    }
}

/// Servers that keep their conditions but answer badly: nothing may be held against them but failing for good.
#[tokio::test(start_paused = true)]
async fn unclear_answers_are_settled() {
    for fault in [Fault::Server, Fault::ServerAfterSuccess, Fault::Conflict, Fault::LostAnswer] {
        for seed in 0..20 {
            let rule = FaultRule::sometimes(0.3, fault.clone()).on(Operation::PutNew);
            let (result, left) = probe_with(vec![rule], seed).await;
            let report = result.unwrap_or_else(|e| panic!("{fault:?}, seed {seed}: {e}"));
            assert!(report.unclear_answers > 0);
            assert_eq!(left, []);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_without_conditions_is_refused() {
    let always_down = FaultRule::always(Fault::Server).on(Operation::PutNew);
    let (result, _) = probe_with(vec![always_down], 1).await;
    let failure = result.expect_err("down");
    assert!(matches!(failure, ProbeFailure::Store(_)), "{failure}");
    let (result, _) = probe_with(vec![FaultRule::always(Fault::Denied)], 1).await;
    assert!(matches!(result.expect_err("denied"), ProbeFailure::Store(_)));
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_delete_it_passes() {
    let keeps = FaultRule::always(Fault::Denied).on(Operation::Delete);
    let (result, left) = probe_with(vec![keeps], 1).await;
    assert_eq!(result.expect("passes").left_over, left.len());
    assert!(left.len() >= 9);
}
