use super::super::fault::{Fault, FaultRule, FaultStore};
use super::super::{MemoryStore, Operation, RecordStore};
use super::*;

struct Stack {
    fault: Arc<FaultStore>,
    record: Arc<RecordStore>,
    hedge: HedgeStore,
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn key() -> Key {
    Key::new("k")
}

/// What every request takes.
const USUAL: Duration = Duration::from_millis(20);

/// A hedge over a recorder over faults over an object of 100 bytes.
async fn stack() -> Stack {
    let memory = Arc::new(MemoryStore::new());
    memory.put(&key(), Bytes::from(vec![1; 100])).await.expect("put");
    let fault = Arc::new(FaultStore::new(memory, 5));
    let record = Arc::new(RecordStore::new(fault.clone()));
    let hedge = HedgeStore::new(record.clone());
    Stack { fault, record, hedge }
}

impl Stack {
    fn rules(&self, more: impl IntoIterator<Item = FaultRule>) {
        let usual = FaultRule::always(Fault::SlowBody(USUAL));
        self.fault.set_rules(std::iter::once(usual).chain(more));
    }

    /// One ranged read and the time it takes.
    async fn read(&self) -> (Result<Bytes, StoreError>, Duration) {
        let began = Instant::now();
        let result = self.hedge.get_range(&key(), 0..10).await;
        (result, began.elapsed())
    }

    /// A store that has answered `count` reads in the usual time.
    async fn warm(self, count: usize) -> Self {
        self.rules([]);
        for _ in 0..count {
            self.read().await.0.expect("a read");
        }
        assert_eq!(self.hedge.sent(), 0);
        self.record.reset();
        self
    }
}

/// The times of 10,000 reads of which a hundredth takes a second, sorted.
async fn ten_thousand(stack: &Stack, store: &dyn Store) -> Vec<Duration> {
    stack.rules([
        FaultRule::always(Fault::Jitter(millis(5))),
        FaultRule::sometimes(0.01, Fault::SlowFirstByte(millis(1000))),
    ]);
    let mut times = Vec::new();
    for _ in 0..10_000 {
        let began = Instant::now();
        assert_eq!(store.get_range(&key(), 0..10).await.expect("a read").len(), 10);
        times.push(began.elapsed());
    }
    times.sort();
    times
}

#[tokio::test(start_paused = true)]
async fn the_slow_hundredth_is_overtaken_within_the_budget() {
    let bare = stack().await;
    let without = ten_thousand(&bare, &*bare.fault).await;
    let hedged = stack().await;
    let with = ten_thousand(&hedged, &hedged.hedge).await;
    let slow = |stack: &Stack| {
        stack.fault.injected().iter().filter(|(_, _, fault)| matches!(fault, Fault::SlowFirstByte(_))).count()
    };
    let (sent, won) = (hedged.hedge.sent(), hedged.hedge.won());
    let late = with.iter().filter(|time| **time > millis(1000)).count();
    println!(
        "p99 {:?} -> {:?}, p99.9 {:?} -> {:?}; {} slow of 10,000 bare, {} hedged; sent {sent}, won {won}, {late} late",
        without[9_900],
        with[9_900],
        without[9_990],
        with[9_990],
        slow(&bare),
        slow(&hedged),
    );
    assert!(sent <= 200, "{sent} of 10,000 were sent twice");
    assert!(won * 10 >= sent * 9, "{won} of {sent} were worth it");
    assert!(without[9_900] > millis(1000), "{:?}", without[9_900]);
    assert!(with[9_900] < millis(120), "{:?}", with[9_900]);
    assert!(without[9_990] > millis(1000) && with[9_990] < millis(120), "{:?}", with[9_990]);
    // Slow ones that were not overtaken: those before enough was known, and second requests that were slow themselves.
    assert!(late <= 10, "{late}");
}

/// Half of all slow: that is what the store is like now, and no second request would help.
#[tokio::test(start_paused = true)]
async fn a_slow_store_gets_no_more_than_the_budget() {
    let stack = stack().await.warm(1000).await;
    stack.rules([FaultRule::sometimes(0.5, Fault::SlowFirstByte(millis(1000)))]);
    for read in 1..=1000_u64 {
        stack.read().await.0.expect("a read");
        assert!(stack.hedge.sent() <= BURST + read / ONE_IN, "{} after {read}", stack.hedge.sent());
    }
    assert!(stack.hedge.sent() > 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_unusual_before_enough_is_known() {
    let one_slow = || [FaultRule::nth(1, Fault::SlowFirstByte(millis(5000)))];
    for (known, hedged) in [(ENOUGH - 1, 0), (ENOUGH, 1)] {
        let stack = stack().await.warm(known).await;
        stack.rules(one_slow());
        let (result, time) = stack.read().await;
        assert_eq!(result.expect("a read").len(), 10);
        assert_eq!((stack.hedge.sent(), stack.hedge.won()), (hedged, hedged), "after {known}");
        assert_eq!(time < millis(100), hedged == 1, "{time:?} after {known}");
        // Other sizes and whole objects are not similar: nothing is known of them.
        stack.rules(one_slow());
        stack.hedge.get(&key()).await.expect("a get");
        assert_eq!(stack.hedge.sent(), hedged);
    }
}

#[tokio::test(start_paused = true)]
async fn whole_objects_are_hedged_likewise() {
    let stack = stack().await;
    stack.rules([]);
    for _ in 0..ENOUGH {
        stack.hedge.get(&key()).await.expect("a get");
    }
    stack.rules([FaultRule::nth(1, Fault::SlowBody(millis(5000)))]);
    let began = Instant::now();
    stack.hedge.get(&key()).await.expect("a get");
    assert!(began.elapsed() < millis(100), "{:?}", began.elapsed());
    assert_eq!(stack.hedge.won(), 1);
}

#[tokio::test(start_paused = true)]
async fn never_below_the_floor() {
    let stack = stack().await.warm(200).await;
    // 20 + 29 ms: unusual, but sooner over than the network might need.
    for (extra, sent) in [(29, 0), (200, 1)] {
        stack.rules([FaultRule::nth(1, Fault::SlowFirstByte(millis(extra)))]);
        stack.read().await.0.expect("a read");
        assert_eq!(stack.hedge.sent(), sent, "{extra} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn writes_and_listings_are_sent_once() {
    let stack = stack().await.warm(1000).await;
    let store = &stack.hedge;
    let request = ListRequest::all("");
    for round in 0..=200 {
        if round == 200 {
            stack.rules([FaultRule::always(Fault::SlowFirstByte(Duration::from_secs(100)))]);
        }
        store.put(&Key::new("put"), Bytes::new()).await.expect("put");
        store.put_new(&Key::new(format!("new {round}")), Bytes::new()).await.expect("create");
        store.delete(&Key::new("put")).await.expect("delete");
        store.list(&request).await.expect("list");
    }
    for operation in [Operation::Put, Operation::PutNew, Operation::Delete, Operation::List] {
        assert_eq!(stack.record.count(operation), 201, "{operation}");
    }
    assert_eq!(store.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn there_are_none_for_a_store_that_is_busy() {
    let stack = stack().await.warm(1000).await;
    stack.rules([FaultRule::nth(1, Fault::Throttled)]);
    assert_eq!(stack.read().await.0.expect_err("busy").kind(), StoreErrorKind::Throttled);
    // Two fiftieths of a hundred requests, and the first only after fifty.
    for (reads, sent) in [(40, 0), (60, 1), (60, 2)] {
        stack.rules([]);
        for _ in 0..reads - 1 {
            stack.read().await.0.expect("a read");
        }
        stack.rules([FaultRule::nth(1, Fault::SlowFirstByte(millis(500)))]);
        stack.read().await.0.expect("a read");
        assert_eq!(stack.hedge.sent(), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn whichever_succeeds_counts_and_two_failures_are_one() {
    let slow = |number, time| FaultRule::nth(number, Fault::SlowFirstByte(millis(time)));
    let fails = |number| FaultRule::nth(number, Fault::Server);
    // The first fails while the second is under way, the second fails under way, both fail.
    for (rules, ok, won, time) in [
        (vec![slow(1, 200), fails(1), slow(2, 400)], true, 1, 470),
        (vec![slow(1, 400), fails(2)], true, 0, 420),
        (vec![slow(1, 400), fails(1), fails(2)], false, 0, 420),
    ] {
        let stack = stack().await.warm(200).await;
        stack.rules(rules);
        let (result, spent) = stack.read().await;
        assert_eq!((result.is_ok(), stack.hedge.sent(), stack.hedge.won()), (ok, 1, won));
        assert!(spent >= millis(time) && spent < millis(time + 30), "{spent:?}");
    }
    // An answer that is no success is an answer.
    let stack = stack().await.warm(200).await;
    stack.rules([slow(1, 5000)]);
    let began = Instant::now();
    let error = stack.hedge.get_range(&Key::new("missing"), 0..10).await.expect_err("absent");
    assert!(error.is_not_found() && began.elapsed() < millis(100), "{error}");
    assert_eq!(stack.hedge.won(), 1);
}
