use super::*;
use crate::store::{MemoryStore, list_all};

fn store(rules: impl IntoIterator<Item = FaultRule>) -> (Arc<MemoryStore>, FaultStore) {
    let memory = Arc::new(MemoryStore::new());
    let fault = FaultStore::new(memory.clone(), 42);
    fault.set_rules(rules);
    (memory, fault)
}

fn body(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// What a `put_new` under `fault` answers, and what is there at once.
async fn create(fault: Fault) -> (Result<(), StoreErrorKind>, bool) {
    let (memory, store) = store([FaultRule::always(fault)]);
    let key = Key::new("k");
    let answer = store.put_new(&key, body("x")).await.map_err(|e| e.kind());
    (answer, memory.get(&key).await.is_ok())
}

#[tokio::test(start_paused = true)]
async fn answer_and_effect_of_each_fault() {
    use StoreErrorKind::*;
    for (fault, kind, effect) in [
        (Fault::Server, Server, false),
        (Fault::ServerAfterSuccess, Server, true),
        (Fault::Throttled, Throttled, false),
        (Fault::Conflict, Conflict, false),
        (Fault::Denied, Denied, false),
        (Fault::Unreachable, Unreachable, false),
        (Fault::LostAnswer, Timeout, true),
        (Fault::ExistsAfterSuccess, AlreadyExists, true),
        (Fault::LateArrival(Duration::from_secs(9)), Timeout, false),
        (Fault::CutBody, CutBody, false),
    ] {
        assert_eq!(create(fault.clone()).await, (Err(kind), effect), "{fault:?}");
    }
    assert_eq!(create(Fault::IgnoredCondition).await, (Ok(()), true));
}

#[tokio::test(start_paused = true)]
async fn a_late_request_meets_what_happened_meanwhile() {
    let rules = [FaultRule::first(2, Fault::LateArrival(Duration::from_secs(30)))];
    let (memory, store) = store(rules);
    let (a, b) = (Key::new("a"), Key::new("b"));
    store.put_new(&a, body("late")).await.expect_err("believed lost");
    store.put(&b, body("late")).await.expect_err("believed lost");
    store.put_new(&a, body("mine")).await.expect("the name is free");
    store.put(&b, body("mine")).await.expect("put");
    store.settle().await;
    assert_eq!(memory.get(&a).await.expect("get"), "mine");
    assert_eq!(memory.get(&b).await.expect("get"), "late");
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_one_bit() {
    let (memory, store) = store([FaultRule::always(Fault::FlippedBit)]);
    let key = Key::new("k");
    store.put(&key, Bytes::from(vec![0; 1000])).await.expect("put");
    assert_eq!(memory.get(&key).await.expect("get"), vec![0; 1000]);
    for got in [store.get(&key).await.expect("get"), store.get_range(&key, 10..20).await.expect("range")] {
        assert_eq!(got.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn conditions_ignored_and_racy() {
    let (memory, store) = store([FaultRule::always(Fault::IgnoredCondition)]);
    let key = Key::new("k");
    store.put_new(&key, body("1")).await.expect("create");
    store.put_new(&key, body("2")).await.expect("ignored");
    assert_eq!(memory.get(&key).await.expect("get"), "2");

    store.set_rules([FaultRule::always(Fault::RacyCondition(Duration::from_millis(1)))]);
    let key = Key::new("r");
    let (one, two) = tokio::join!(store.put_new(&key, body("1")), store.put_new(&key, body("2")));
    assert!(one.is_ok() && two.is_ok(), "two winners");
    assert!(store.put_new(&key, body("3")).await.expect_err("one after the other").is_already_exists());
}

#[tokio::test(start_paused = true)]
async fn rules_choose_by_kind_key_and_count() {
    let (_, store) = store([
        FaultRule::nth(2, Fault::Server).on(Operation::Put).under("a/"),
        FaultRule::always(Fault::Throttled).on(Operation::Get).on(Operation::List).under("b/"),
    ]);
    for (key, passes) in [("a/1", true), ("b/1", true), ("a/2", false), ("a/3", true)] {
        assert_eq!(store.put(&Key::new(key), Bytes::new()).await.is_ok(), passes, "{key}");
    }
    store.get(&Key::new("a/1")).await.expect("not about it");
    store.get(&Key::new("b/1")).await.expect_err("struck");
    store.list(&ListRequest::all("b/")).await.expect_err("struck");
    list_all(&store, ListRequest::all("")).await.expect("another prefix");
    let injected = store.injected();
    assert_eq!(injected.len(), 3);
    assert_eq!(injected[0], (Operation::Put, "a/2".to_owned(), Fault::Server));
}

#[tokio::test(start_paused = true)]
async fn waits_add_up_and_cost_no_time() {
    let (_, store) = store([
        FaultRule::always(Fault::SlowFirstByte(Duration::from_secs(1000))),
        FaultRule::always(Fault::SlowBody(Duration::from_secs(10))),
        FaultRule::always(Fault::Server).on(Operation::Get),
    ]);
    let (real, began) = (std::time::Instant::now(), tokio::time::Instant::now());
    store.get(&Key::new("k")).await.expect_err("500");
    assert_eq!(began.elapsed(), Duration::from_secs(1010));
    assert!(real.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_are_equal_runs() {
    async fn run(seed: u64) -> (Vec<bool>, Vec<(Operation, String, Fault)>) {
        let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new()), seed));
        store.set_rules([
            FaultRule::always(Fault::Jitter(Duration::from_secs(1))),
            FaultRule::sometimes(0.3, Fault::LateArrival(Duration::from_secs(2))),
        ]);
        let puts: Vec<_> = (0..40)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move {
                    store.put_new(&Key::new(format!("{}", n % 8)), body("x")).await.is_ok()
                })
            })
            .collect();
        let mut results = Vec::new();
        for put in puts {
            results.push(put.await.expect("no panic"));
        }
        store.settle().await;
        (results, store.injected())
    }
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
}

/// A store that does eight things at once and refuses the ninth.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_refuses_what_is_too_much() {
    let (_, store) = store([
        FaultRule::new(When::Above(8), Fault::Throttled),
        FaultRule::always(Fault::SlowBody(Duration::from_secs(1))),
    ]);
    for _ in 0..2 {
        let puts = (0..20).map(|n| {
            let store = &store;
            async move { store.put(&Key::new(format!("{n}")), Bytes::new()).await }
        });
        let results = futures_util::future::join_all(puts).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 8);
    }
    // Those that are given up are not under way.
    let (key, second) = (Key::new("k"), Duration::from_secs(1));
    for _ in 0..20 {
        tokio::time::timeout(second / 2, store.get(&key)).await.expect_err("given up");
    }
    assert!(store.get(&key).await.expect_err("absent").is_not_found());
}
