use super::super::fault::{Fault, FaultRule, FaultStore};
use super::super::{MemoryStore, RecordStore};
use super::*;
use crate::types::SeededRandom;

struct Stack {
    fault: Arc<FaultStore>,
    record: Arc<RecordStore>,
    retry: RetryStore,
}

/// Retry over a recorder over faults over memory.
fn stack(rules: impl IntoIterator<Item = FaultRule>) -> Stack {
    let fault = Arc::new(FaultStore::new(Arc::new(MemoryStore::new()), 7));
    fault.set_rules(rules);
    let record = Arc::new(RecordStore::new(fault.clone()));
    let random = Arc::new(SeededRandom::new(7));
    let retry = RetryStore::new(record.clone(), RetryPolicy::default(), random);
    Stack { fault, record, retry }
}

fn key() -> Key {
    Key::new("k")
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_tried_again() {
    for fault in [Fault::Server, Fault::Throttled, Fault::Conflict, Fault::LostAnswer, Fault::CutBody] {
        let stack = stack([FaultRule::first(3, fault.clone())]);
        stack.retry.put(&key(), Bytes::from_static(b"x")).await.expect("the fourth attempt");
        assert_eq!(stack.record.count(Operation::Put), 4, "{fault:?}");
        stack.fault.set_rules([FaultRule::first(3, fault)]);
        assert_eq!(stack.retry.get(&key()).await.expect("the fourth attempt"), "x");
    }
}

#[tokio::test(start_paused = true)]
async fn a_creation_is_tried_once() {
    for fault in [Fault::Server, Fault::Throttled, Fault::Conflict, Fault::LostAnswer] {
        let stack = stack([FaultRule::always(fault.clone())]);
        let error = stack.retry.put_new(&key(), Bytes::new()).await.expect_err("as it came");
        assert!(error.is_ambiguous(), "{fault:?}: {error}");
        assert_eq!(stack.record.count(Operation::PutNew), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn final_answers_are_given_at_once() {
    let stack = stack([]);
    let began = Instant::now();
    assert!(stack.retry.get(&key()).await.expect_err("missing").is_not_found());
    assert_eq!((stack.record.calls().len(), began.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_it() {
    let stack = stack([FaultRule::always(Fault::Server)]);
    let began = Instant::now();
    let error = stack.retry.list(&ListRequest::all("")).await.expect_err("down");
    assert_eq!(error.kind(), StoreErrorKind::Server);
    assert!(error.to_string().contains("given up after"), "{error}");
    let spent = began.elapsed();
    assert!(spent <= Duration::from_secs(60) && spent > Duration::from_secs(50), "{spent:?}");
    // Jittered waits that double from 0.1 s to 5 s: some thirty attempts, neither three nor a thousand.
    assert!((15..60).contains(&stack.record.calls().len()), "{}", stack.record.calls().len());
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_ends_in_a_timeout() {
    let forever = Duration::from_secs(1_000_000);
    for fault in [Fault::SlowFirstByte(forever), Fault::SlowBody(forever)] {
        let stack = stack([FaultRule::always(fault)]);
        for result in [
            stack.retry.put_new(&key(), Bytes::new()).await.map(|()| Bytes::new()),
            stack.retry.put(&key(), Bytes::new()).await.map(|()| Bytes::new()),
            stack.retry.get(&key()).await,
            stack.retry.get_range(&key(), 0..1).await,
        ] {
            assert_eq!(result.expect_err("silent").kind(), StoreErrorKind::Timeout);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_larger_body_gets_more_time() {
    let stack = stack([FaultRule::always(Fault::SlowBody(Duration::from_secs(100)))]);
    let body = Bytes::from(vec![0; 64 << 20]);
    stack.retry.put(&key(), body.clone()).await.expect("64 MiB may take 30 s + 256 s");
    stack.retry.put(&key(), Bytes::new()).await.expect_err("an empty body may not");
    stack.retry.put_new(&Key::new("n"), body).await.expect("likewise");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_endpoint_is_reported_soon_and_an_outage_waited_for() {
    let stack = stack([FaultRule::always(Fault::Unreachable)]);
    let began = Instant::now();
    stack.retry.get(&key()).await.expect_err("nothing listens");
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    stack.fault.set_rules([]);
    stack.retry.put(&key(), Bytes::new()).await.expect("up again");
    stack.fault.set_rules([FaultRule::always(Fault::Unreachable)]);
    let began = Instant::now();
    stack.retry.get(&key()).await.expect_err("down for long");
    assert!(began.elapsed() > Duration::from_secs(50), "{:?}", began.elapsed());
}

/// What the store asks for is waited, and a little more, each a different little; not for ever.
#[tokio::test(start_paused = true)]
async fn a_store_that_names_a_time_is_left_alone_so_long() {
    for (asked, waited) in [(7, 7), (3600, 20)] {
        let stack = stack([FaultRule::first(2, Fault::ThrottledFor(Duration::from_secs(asked)))]);
        let began = Instant::now();
        stack.retry.put(&key(), Bytes::new()).await.expect("the third attempt");
        let spent = began.elapsed().saturating_sub(Duration::from_secs(2 * waited));
        assert!(spent > Duration::ZERO && spent < Duration::from_millis(300), "{asked}: {spent:?} more");
        assert_eq!(stack.retry.retries(), 2);
    }
}

/// Two runs with one seed are one run.
#[tokio::test(start_paused = true)]
async fn runs_repeat() {
    let run = || async {
        let stack = stack([FaultRule::sometimes(0.5, Fault::Server)]);
        let began = Instant::now();
        for n in 0..50 {
            stack.retry.put(&Key::new(format!("{n}")), Bytes::new()).await.expect("some attempt succeeds");
        }
        (began.elapsed(), stack.record.calls())
    };
    assert_eq!(run().await, run().await);
}
