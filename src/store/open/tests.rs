use super::super::fault::{Fault, FaultRule, FaultStore, When};
use super::super::{Key, MemoryStore, Operation, StoreErrorKind, StoreStats};
use super::*;
use crate::types::{ManualClock, SeededRandom, Timestamp};
use bytes::Bytes;
use tokio::time::Instant;

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Everything over faults over memory.
fn stack(rules: impl IntoIterator<Item = FaultRule>) -> (Arc<FaultStore>, Arc<ManualClock>, OpenStore) {
    let fault = Arc::new(FaultStore::new(Arc::new(MemoryStore::new()), 11));
    fault.set_rules(rules);
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000)));
    let (options, random) = (StoreOptions::default(), Arc::new(SeededRandom::new(11)));
    let open = decorate(fault.clone(), Tail::Hedged, &options, random, clock.clone());
    (fault, clock, open)
}

/// 64 clients of a store that refuses what is above eight at once: they settle there, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn many_clients_settle_at_what_the_store_can_do() {
    const CLIENTS: usize = 64;
    const EACH: usize = 200;
    let busy = FaultRule::new(When::Above(8), Fault::Throttled);
    let (_fault, _clock, open) = stack([busy, FaultRule::always(Fault::SlowBody(millis(20)))]);
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (store, monitor) = (open.store.clone(), open.monitor.clone());
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for number in 0..EACH {
                    let key = Key::new(format!("{client}/{number}"));
                    store.put(&key, Bytes::from_static(b"body")).await.expect("never lost");
                    seen.push(monitor.stats().concurrency);
                }
                // What a client sees after its first quarter.
                seen.split_off(EACH / 4)
            })
        })
        .collect();
    let mut seen = Vec::new();
    for client in clients {
        seen.extend(client.await.expect("no panic"));
    }
    let stats = open.monitor.stats();
    let mean = seen.iter().sum::<usize>() as f64 / seen.len() as f64;
    let most = seen.iter().max().copied().unwrap_or_default();
    let (total, ideal) = ((CLIENTS * EACH) as u64, (CLIENTS * EACH) as f64 * 0.02 / 8.0);
    let spent = began.elapsed().as_secs_f64();
    println!(
        "concurrency {mean:.1}, at most {most}; {} refused of {}; {spent:.1} s, ideal {ideal:.1} s",
        stats.slow_downs,
        stats.count(Operation::Put)
    );
    assert!((4.0..=9.0).contains(&mean) && most <= 12, "{mean:.1}, at most {most}");
    assert_eq!(stats.count(Operation::Put), total + stats.retries);
    assert_eq!(stats.slow_downs, stats.retries);
    assert!(stats.slow_downs * 20 <= total, "{} of {total} were refused", stats.slow_downs);
    assert!(spent < ideal * 2.0, "{spent:.1} s instead of {ideal:.1} s");
}

/// When the store has recovered, so do they.
#[tokio::test(start_paused = true)]
async fn full_speed_comes_back() {
    let (fault, _clock, open) = stack([FaultRule::first(40, Fault::Throttled)]);
    let work = async |count: usize| {
        let puts = (0..count).map(|number| {
            let store = open.store.clone();
            async move { store.put(&Key::new(format!("{number}")), Bytes::new()).await.expect("put") }
        });
        futures_util::future::join_all(puts).await;
    };
    work(64).await;
    let low = open.monitor.stats();
    assert!(low.concurrency < 64 && low.slow_downs == 40, "{low:?}");
    fault.set_rules([FaultRule::always(Fault::SlowBody(millis(20)))]);
    work(5000).await;
    let high = open.monitor.stats();
    assert_eq!((high.concurrency, high.most_concurrency, high.slow_downs), (64, 64, 40));
}

#[tokio::test(start_paused = true)]
async fn a_person_sees_how_the_store_is_doing() {
    let (fault, clock, open) = stack([]);
    let (store, at) = (&open.store, Timestamp::from_micros);
    let requests = |stats: &StoreStats| stats.requests.map(|(_, count)| count);
    let fresh = open.monitor.stats();
    assert_eq!((requests(&fresh), fresh.last_success, fresh.last_error), ([0; 6], None, None));

    let key = Key::new("k");
    store.put(&key, Bytes::from_static(b"12345")).await.expect("put");
    store.put_new(&Key::new("n"), Bytes::from_static(b"123")).await.expect("create");
    assert_eq!(store.get(&key).await.expect("get").len(), 5);
    assert_eq!(store.get_range(&key, 1..3).await.expect("range").len(), 2);
    store.list(&super::super::ListRequest::all("")).await.expect("list");
    let stats = open.monitor.stats();
    assert_eq!(requests(&stats), [1, 1, 1, 1, 1, 0]);
    assert_eq!((stats.bytes_sent, stats.bytes_received, stats.retries), (8, 7, 0));
    assert_eq!((stats.last_success, stats.last_error), (Some(at(1_000_000)), None));

    // An absent object is an answer.
    clock.set(at(2_000_000));
    store.get(&Key::new("absent")).await.expect_err("absent");
    let stats = open.monitor.stats();
    assert_eq!((stats.last_success, stats.last_error), (Some(at(2_000_000)), None));

    // Trouble that the retries got over is told.
    clock.set(at(3_000_000));
    fault.set_rules([FaultRule::first(2, Fault::Server)]);
    store.get(&key).await.expect("the third attempt");
    let stats = open.monitor.stats();
    assert_eq!((stats.retries, stats.count(Operation::Get)), (2, 5));
    let trouble = stats.last_error.expect("two errors");
    assert_eq!((trouble.when, trouble.kind), (at(3_000_000), StoreErrorKind::Server));
    assert!(trouble.text.contains("\"k\"") && trouble.text.contains("500"), "{}", trouble.text);
    assert_eq!(stats.last_success, Some(at(3_000_000)));
}

/// A request that hangs for ever costs a reader what two requests take.
#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_is_overtaken() {
    let (fault, _clock, open) = stack([FaultRule::always(Fault::SlowBody(millis(20)))]);
    let key = Key::new("k");
    open.store.put(&key, Bytes::from(vec![3; 1000])).await.expect("put");
    for _ in 0..200 {
        open.store.get_range(&key, 0..1000).await.expect("a read");
    }
    fault.set_rules([FaultRule::nth(1, Fault::SlowBody(Duration::from_secs(1_000_000)))]);
    let began = Instant::now();
    open.store.get_range(&key, 0..1000).await.expect("the second request");
    assert!(began.elapsed() < millis(200), "{:?}", began.elapsed());
    let stats = open.monitor.stats();
    assert_eq!((stats.hedges_sent, stats.hedges_won, stats.retries), (1, 1, 0));
}
