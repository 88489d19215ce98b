//! One suite for every store: what `src/store/mod.rs` promises, asked of each backend.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use std::time::Duration;

use atfs::store::fault::{Fault, FaultRule, FaultStore};
use atfs::store::{
    Grouping, HedgeStore, Key, LimitStore, ListRequest, LocalStore, MemoryStore, MeterStore, Operation, Pace,
    RecordStore, RetryPolicy, RetryStore, S3Options, S3Store, Store, StoreErrorKind, StoreOptions, list_all,
    open,
};
use atfs::types::{OsRandom, Random, RepoUrl, SeededRandom, SystemClock};
use bytes::Bytes;
use futures_util::future::join_all;

/// Every check, each under a prefix of its own, so that one store can serve them all at once.
async fn conforms(store: Arc<dyn Store>) {
    let name = store.describe();
    eprintln!("conformance of {name}");
    whole_objects(&*store).await;
    ranges(&*store).await;
    creation(&*store).await;
    races(&*store).await;
    odd_keys(&*store).await;
    listing_order_and_pages(&*store).await;
    listing_start_after(&*store).await;
    listing_many(&store).await;
    deletion(&*store).await;
    times(&*store).await;
}

fn key(text: &str) -> Key {
    Key::new(text)
}

fn noise(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    OsRandom.fill(&mut bytes);
    bytes.into()
}

async fn whole_objects(store: &dyn Store) {
    let missing = store.get(&key("whole/missing")).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    assert!(missing.to_string().contains("whole/missing"), "{missing}");
    assert!(!missing.is_transient());
    // Empty; one byte; more than any buffer on the way; a pack's size.
    for length in [0, 1, 100_001, 16 << 20] {
        let body = noise(length);
        let name = key(&format!("whole/{length}"));
        store.put(&name, body.clone()).await.unwrap();
        assert!(store.get(&name).await.unwrap() == body, "{length}");
    }
    let name = key("whole/replaced");
    store.put(&name, noise(5000)).await.unwrap();
    store.put(&name, Bytes::from_static(b"new")).await.unwrap();
    assert_eq!(store.get(&name).await.unwrap(), "new");
}

async fn ranges(store: &dyn Store) {
    let body = noise(300_000);
    let name = key("ranges/a");
    store.put(&name, body.clone()).await.unwrap();
    for range in [0..1, 0..300_000, 1..2, 299_999..300_000, 65_535..65_537, 1000..299_000] {
        let got = store.get_range(&name, range.clone()).await.unwrap();
        assert!(got == body[range.start as usize..range.end as usize], "{range:?}");
    }
    // Beyond the end, and across it: never fewer bytes than asked for.
    for range in [300_000..300_001, 400_000..500_000, 299_999..300_001, 0..300_001] {
        let error = store.get_range(&name, range.clone()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::OutOfRange, "{range:?}: {error}");
    }
    store.put(&key("ranges/empty"), Bytes::new()).await.unwrap();
    let error = store.get_range(&key("ranges/empty"), 0..1).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutOfRange, "{error}");
    assert!(store.get_range(&key("ranges/none"), 0..1).await.unwrap_err().is_not_found());
}

async fn creation(store: &dyn Store) {
    let name = key("creation/a");
    store.put_new(&name, Bytes::from_static(b"first")).await.unwrap();
    for body in ["second", "first", ""] {
        let error = store.put_new(&name, Bytes::from_static(body.as_bytes())).await.unwrap_err();
        assert!(error.is_already_exists(), "{error}");
        assert!(!error.is_ambiguous() && !error.is_transient());
    }
    assert_eq!(store.get(&name).await.unwrap(), "first");
    store.put(&name, Bytes::from_static(b"replaced")).await.unwrap();
    assert!(store.put_new(&name, Bytes::new()).await.unwrap_err().is_already_exists());
    store.delete(&name).await.unwrap();
    store.put_new(&name, Bytes::from_static(b"again")).await.unwrap();
    assert_eq!(store.get(&name).await.unwrap(), "again");
}

/// Sixteen at once, small bodies and large: one wins, and what is read is the winner's.
async fn races(store: &dyn Store) {
    for (round, length) in [20, 20, 200_000, 200_000, 20, 200_000].into_iter().enumerate() {
        let name = key(&format!("races/{round}"));
        let bodies: Vec<Bytes> = (0..16).map(|_| noise(length)).collect();
        let results = if round % 2 == 0 {
            join_all(bodies.iter().map(|body| store.put_new(&name, body.clone()))).await
        } else {
            store.put_new_at_once(&name, bodies.clone()).await
        };
        let mut winners = Vec::new();
        for (result, body) in results.into_iter().zip(bodies) {
            match result {
                Ok(()) => winners.push(body),
                Err(e) => assert!(e.is_already_exists() || e.is_ambiguous(), "{e}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(store.get(&name).await.unwrap() == winners[0], "round {round}");
    }
}

async fn odd_keys(store: &dyn Store) {
    let long = format!("odd/{}/{}", "x".repeat(250), "y".repeat(250));
    let names = ["odd/a b", "odd/a+b", "odd/a%20b", "odd/é\u{1F600}", "odd/a_2Fb", "odd/~!$&'()=;,.@", &long];
    for name in names {
        store.put_new(&key(name), Bytes::copy_from_slice(name.as_bytes())).await.unwrap();
    }
    for name in names {
        assert_eq!(store.get(&key(name)).await.unwrap(), name, "{name}");
        assert!(store.put_new(&key(name), Bytes::new()).await.unwrap_err().is_already_exists(), "{name}");
    }
    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    let page = list_all(store, ListRequest::all("odd/")).await.unwrap();
    assert_eq!(page.objects.iter().map(|o| o.key.as_str().to_owned()).collect::<Vec<_>>(), sorted);
    // Odd names as places to go on, and as prefixes.
    for (index, name) in sorted.iter().enumerate() {
        let request = ListRequest { start_after: Some(name.clone()), ..ListRequest::all("odd/") };
        let rest = list_all(store, request).await.unwrap();
        assert_eq!(rest.objects.len(), sorted.len() - index - 1, "behind {name}");
        let named = list_all(store, ListRequest::all(name.clone())).await.unwrap();
        assert_eq!(named.objects[0].key.as_str(), name);
        assert_eq!(named.objects[0].size, name.len() as u64);
        store.delete(&key(name)).await.unwrap();
    }
    assert_eq!(list_all(store, ListRequest::all("odd/")).await.unwrap().objects, []);
}

/// A small tree whose directory names sort around `/`.
const TREE: [&str; 9] = ["t/a!/1", "t/a", "t/a-b/1", "t/b/1", "t/b/2/3", "t/b/2/4", "t/b0", "t/c", "t/zz/1"];

/// The same with folded groups marked by their `/`.
const FOLDED: [&str; 7] = ["t/a", "t/a!/", "t/a-b/", "t/b/", "t/b0", "t/c", "t/zz/"];

/// Keys and groups in one order, as a page-by-page walk of `max_keys` gives them.
async fn walk(store: &dyn Store, request: ListRequest) -> Vec<String> {
    let mut request = request;
    let mut seen = Vec::new();
    for _ in 0..100 {
        let page = store.list(&request).await.unwrap();
        assert!(page.objects.len() + page.groups.len() <= request.max_keys);
        let mut items: Vec<String> = page.objects.iter().map(|o| o.key.as_str().to_owned()).collect();
        assert!(items.is_sorted() && page.groups.is_sorted());
        items.extend(page.groups);
        items.sort();
        seen.extend(items);
        match page.next {
            Some(next) => request.start_after = Some(next),
            None => return seen,
        }
    }
    panic!("the listing does not end: {seen:?}");
}

async fn listing_order_and_pages(store: &dyn Store) {
    for name in TREE {
        store.put(&key(name), Bytes::copy_from_slice(name.as_bytes())).await.unwrap();
    }
    let mut sorted = TREE;
    sorted.sort();
    for max_keys in [1, 2, 3, 1000] {
        let flat = ListRequest { max_keys, ..ListRequest::all("t/") };
        assert_eq!(walk(store, flat).await, sorted, "pages of {max_keys}");
        let folded = ListRequest { max_keys, ..ListRequest::folded("t/") };
        assert_eq!(walk(store, folded).await, FOLDED, "pages of {max_keys}");
        // A prefix that ends within a name, and one that names nothing.
        let part = ListRequest { max_keys, ..ListRequest::folded("t/b") };
        assert_eq!(walk(store, part).await, ["t/b/", "t/b0"], "pages of {max_keys}");
        let none = ListRequest { max_keys, ..ListRequest::all("t/none/") };
        assert_eq!(walk(store, none).await, [""; 0]);
    }
    let first = store.list(&ListRequest::first("t/b/")).await.unwrap();
    assert_eq!(first.objects.len(), 1);
    assert_eq!((first.objects[0].key.as_str(), first.objects[0].size), ("t/b/1", 5));
}

async fn listing_start_after(store: &dyn Store) {
    // Every key, every group, texts between and around them.
    let mut starts: Vec<String> = TREE.iter().chain(&FOLDED).map(|text| (*text).to_owned()).collect();
    starts.extend(["", "s", "t", "t/", "t/a ", "t/b/1x", "t/b/2", "t/b/2/", "t/d", "u"].map(String::from));
    let mut sorted = TREE;
    sorted.sort();
    for start in starts {
        for max_keys in [1, 1000] {
            let start_after = Some(start.clone());
            let flat = ListRequest { start_after: start_after.clone(), max_keys, ..ListRequest::all("t/") };
            let behind: Vec<_> = sorted.into_iter().filter(|k| **k > *start).collect();
            assert_eq!(walk(store, flat).await, behind, "behind {start:?}, pages of {max_keys}");
            let folded =
                ListRequest { start_after, max_keys, grouping: Grouping::BySlash, ..ListRequest::all("t/") };
            let inside = |item: &str| item.ends_with('/') && start.starts_with(item);
            let behind: Vec<_> = FOLDED.into_iter().filter(|k| **k > *start && !inside(k)).collect();
            assert_eq!(walk(store, folded).await, behind, "folded, behind {start:?}, pages of {max_keys}");
        }
    }
}

/// More than one page of the store's own, flat and folded into one group.
async fn listing_many(store: &Arc<dyn Store>) {
    let names: Vec<String> = (0..1100).map(|n| format!("many/x/{n:05}")).collect();
    for chunk in names.chunks(32) {
        let puts: Vec<_> = chunk
            .iter()
            .map(|name| {
                let (store, name) = (store.clone(), key(name));
                tokio::spawn(async move { store.put(&name, Bytes::new()).await })
            })
            .collect();
        for put in puts {
            put.await.unwrap().unwrap();
        }
    }
    store.put(&key("many/y"), Bytes::new()).await.unwrap();
    let all = list_all(&**store, ListRequest::all("many/x/")).await.unwrap();
    assert_eq!(all.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), names);
    let folded = list_all(&**store, ListRequest::folded("many/")).await.unwrap();
    assert_eq!(folded.groups, ["many/x/"]);
    assert_eq!(folded.objects.len(), 1);
}

async fn deletion(store: &dyn Store) {
    let name = key("deletion/a");
    store.delete(&name).await.unwrap();
    store.put(&name, Bytes::from_static(b"1")).await.unwrap();
    store.delete(&name).await.unwrap();
    assert!(store.get(&name).await.unwrap_err().is_not_found());
    assert_eq!(store.list(&ListRequest::all("deletion/")).await.unwrap().objects, []);
    store.delete(&name).await.unwrap();
}

/// Collectors judge age by the listing: it must be the store's present time, in seconds.
async fn times(store: &dyn Store) {
    store.put(&key("times/a"), Bytes::new()).await.unwrap();
    let page = store.list(&ListRequest::all("times/")).await.unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    assert!((now - page.objects[0].modified_seconds).abs() < 60, "{:?} at {now}", page.objects[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conforms(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local() {
    let folder = tempfile::tempdir().unwrap();
    conforms(Arc::new(LocalStore::open(folder.path()).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ministack() {
    if let Some(server) = support::servers::ministack() {
        conforms(Arc::new(server.new_store().await)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn radosgw() {
    if let Some(server) = support::servers::radosgw() {
        conforms(Arc::new(server.new_store().await)).await;
    }
}

/// A bucket's root, without a prefix.
#[tokio::test(flavor = "multi_thread")]
async fn bucket_root() {
    if let Some(server) = support::servers::ministack() {
        let bucket = server.new_bucket().await;
        conforms(Arc::new(S3Store::open(&bucket, "", &server.options()).await.unwrap())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn model() {
    let model = support::model::Model::start(support::model::Mode::Honest).await;
    conforms(Arc::new(model.store().await)).await;
}

/// As everybody opens it, through everything that stands before a bucket.
#[tokio::test(flavor = "multi_thread")]
async fn opened() {
    let model = support::model::Model::start(support::model::Mode::Honest).await;
    let url = RepoUrl::S3 { bucket: support::model::BUCKET.into(), prefix: "opened".into() };
    let options = StoreOptions { s3: model.options(), ..StoreOptions::default() };
    let opened = open(&url, &options).await.unwrap();
    conforms(opened.store).await;
    let stats = opened.monitor.stats();
    assert!(stats.requests.iter().all(|(_, count)| *count > 0), "{stats:?}");
    assert!(stats.bytes_received > 16 << 20 && stats.last_success.is_some(), "{stats:?}");
    assert!(stats.hedges_sent * 50 <= stats.count(Operation::Get) + stats.count(Operation::GetRange));
}

#[tokio::test(flavor = "multi_thread")]
async fn model_behind_tls() {
    let model = support::model::Model::start_tls().await;
    let ca = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls/ca.pem");
    let options = S3Options { ca_bundle: Some(ca), ..model.options() };
    conforms(Arc::new(S3Store::open(support::model::BUCKET, "p", &options).await.unwrap())).await;
}

/// 200 with the whole object instead of 206: the same bytes, for more traffic.
#[tokio::test(flavor = "multi_thread")]
async fn model_without_ranges() {
    let model = support::model::Model::start(support::model::Mode::IgnoresRanges).await;
    conforms(Arc::new(model.store().await)).await;
}

/// The decorators change nothing of it, and repeated failures of anything that is repeated do not show.
#[tokio::test(flavor = "multi_thread")]
async fn decorated() {
    let fault = FaultStore::new(Arc::new(MemoryStore::new()), 3);
    let failing = [Fault::Server, Fault::Throttled, Fault::LostAnswer, Fault::CutBody].map(|fault| {
        let operations =
            vec![Operation::Get, Operation::GetRange, Operation::Put, Operation::List, Operation::Delete];
        FaultRule { operations, ..FaultRule::sometimes(0.1, fault) }
    });
    fault.set_rules(failing);
    let fault = Arc::new(fault);
    let policy = RetryPolicy { first_wait: Duration::from_millis(1), ..RetryPolicy::default() };
    let record = Arc::new(RecordStore::new(fault.clone()));
    let pace = Arc::new(Pace::new(8));
    let meter = MeterStore::new(record, pace.clone(), Arc::new(SystemClock));
    let hedge = HedgeStore::new(Arc::new(meter));
    let retry = RetryStore::new(Arc::new(hedge), policy, Arc::new(SeededRandom::new(3)));
    conforms(Arc::new(LimitStore::new(Arc::new(retry), pace.clone(), Duration::from_secs(60)))).await;
    assert!(pace.slow_downs() > 20);
    assert!(fault.injected().len() > 100);
}

/// Servers end with the test program that asked for them, also when it is killed: this program runs itself, lets the
/// child start one, and kills it.
#[test]
fn servers_end_with_their_test() {
    use std::io::{BufRead, BufReader};
    const CHILD: &str = "ATFS_TEST_SERVER_CHILD";
    if std::env::var_os(CHILD).is_some() {
        if let Some(server) = support::servers::ministack() {
            println!("at {}", server.endpoint.trim_start_matches("http://"));
        }
        println!("waiting");
        loop {
            std::thread::park();
        }
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "servers_end_with_their_test", "--nocapture"])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<String> = lines.take_while(|line| line != "waiting").collect();
    let address =
        said.iter().find_map(|line| line.split_once("at 127.")).map(|(_, rest)| format!("127.{rest}"));
    let answers = |address: &str| std::net::TcpStream::connect(address).is_ok();
    if let Some(address) = &address {
        assert!(answers(address), "{address}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let Some(address) = address else {
        assert!(std::env::var_os("ATFS_REQUIRE_SERVERS").is_none(), "the child got no server: {said:?}");
        return;
    };
    let began = std::time::Instant::now();
    while answers(&address) {
        assert!(began.elapsed() < Duration::from_secs(20), "the server outlives its test");
        std::thread::sleep(Duration::from_millis(50));
    }
}
