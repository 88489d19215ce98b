//! Blobs in the wrong place, damaged, lost; requests shared and counted.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::*;
use crate::format::{BlobKind, Compression, FinishedPack, MovedPack, PackBuilder, PackIndex};
use crate::repo::tree::reference::repository;
use crate::store::fault::{Fault, FaultRule, FaultStore};
use crate::store::{MemoryStore, Operation, RecordStore};
use crate::types::{ChunkId, PackId};

fn raw(i: u8) -> Vec<u8> {
    let mut bytes = vec![i; 1000];
    blake3::Hasher::new().update(&[i]).finalize_xof().fill(&mut bytes);
    bytes
}

fn pack(id: u8, chunks: impl IntoIterator<Item = u8>) -> (FinishedPack, Vec<Wanted<RawChunk>>) {
    let mut builder = PackBuilder::new(PackId::from_bytes([id; 16]), PackKind::Data);
    let wanted = chunks
        .into_iter()
        .map(|i| {
            let id = ChunkId::of(&raw(i));
            let at =
                builder.push(&StoredBlob::pack(BlobKind::Chunk, *id.as_bytes(), &raw(i), Compression::Never));
            Wanted::new(id, Some(at))
        })
        .collect();
    (builder.finish(), wanted)
}

async fn put(store: &dyn Store, pack: &FinishedPack) {
    store.put(&layout::pack(pack.kind, pack.id), pack.bytes.clone()).await.unwrap();
    store.put(&layout::index(pack.id), pack.index.clone()).await.unwrap();
}

fn recorded() -> (Arc<RecordStore>, Blobs) {
    let store = Arc::new(RecordStore::new(Arc::new(MemoryStore::new())));
    let blobs = repository(store.clone(), None).blobs().clone();
    (store, blobs)
}

#[tokio::test]
async fn neighbours_come_in_one_request_and_only_once() {
    let (store, blobs) = recorded();
    let (pack, wanted) = pack(1, 0..10);
    put(&*store, &pack).await;
    store.reset();
    let got = blobs.get_all(&wanted).await.unwrap();
    for (i, chunk) in got.iter().enumerate() {
        assert_eq!(chunk.0, raw(i as u8));
    }
    assert_eq!(store.calls().len(), 1);
    blobs.get::<RawChunk>(wanted[3].id, None).await.unwrap();
    assert_eq!(store.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn callers_at_the_same_time_share_a_request() {
    let fault = Arc::new(FaultStore::new(Arc::new(MemoryStore::new()), 1));
    let store = Arc::new(RecordStore::new(fault.clone()));
    let blobs = repository(store.clone(), None).blobs().clone();
    let (pack, wanted) = pack(1, 0..4);
    put(&*store, &pack).await;
    fault.set_rules([FaultRule::always(Fault::SlowFirstByte(Duration::from_secs(1)))]);
    store.reset();
    let (one, all) = (wanted[2], wanted.clone());
    let many = join_all((0..20).map(|_| blobs.get_all(&all)));
    let single = join_all((0..20).map(|_| blobs.get::<RawChunk>(one.id, one.hint)));
    let (many, single) = tokio::join!(many, single);
    assert!(many.iter().all(Result::is_ok) && single.iter().all(Result::is_ok));
    assert_eq!(store.calls().len(), 1);
    // One who gives up takes nothing from the others.
    let (pack, wanted) = super::tests::pack(2, 10..11);
    fault.set_rules([]);
    put(&*store, &pack).await;
    fault.set_rules([FaultRule::always(Fault::SlowFirstByte(Duration::from_secs(1)))]);
    let impatient = tokio::time::timeout(Duration::from_millis(10), blobs.get_all(&wanted));
    let (impatient, patient) = tokio::join!(impatient, blobs.get_all(&wanted));
    assert!(impatient.is_err() && patient.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_is_asked_for_at_once_however_many_neighbours_are_under_way() {
    let fault = Arc::new(FaultStore::new(Arc::new(MemoryStore::new()), 1));
    let blobs = repository(fault.clone(), None).blobs().clone();
    let packs: Vec<_> = (0..30).map(|i| pack(i, i..i + 1)).collect();
    for (pack, _) in &packs {
        put(&*fault, pack).await;
    }
    let wanted: Vec<_> = packs.iter().map(|(_, wanted)| wanted[0]).collect();
    let (others, one) = (wanted[..29].to_vec(), wanted[29]);
    fault.set_rules([FaultRule::always(Fault::SlowFirstByte(Duration::from_secs(60)))]);
    // Others wait for each of the neighbours; nobody waits for this one yet.
    let (others, begun) = (&others, tokio::time::Instant::now());
    let neighbours = join_all(others.iter().map(|other| blobs.get::<RawChunk>(other.id, other.hint)));
    let took = async { blobs.get_with(one, others).await.map(|_| begun.elapsed()).unwrap() };
    let (_, took) = tokio::join!(neighbours, took);
    assert!(took < Duration::from_secs(61), "{took:?}");
}

#[tokio::test]
async fn flipped_bits_are_fetched_once_more_and_then_named() {
    let (store, blobs) = recorded();
    let (pack, wanted) = pack(1, 0..2);
    put(&*store, &pack).await;
    let mut damaged = pack.bytes.to_vec();
    damaged[wanted[1].hint.unwrap().offset as usize + 500] ^= 1;
    store.put(&layout::pack(PackKind::Data, pack.id), Bytes::from(damaged)).await.unwrap();
    store.reset();
    assert!(blobs.get_all(&wanted[..1]).await.is_ok(), "its neighbour is whole");
    let error = blobs.get_all(&wanted).await.unwrap_err();
    assert!(matches!(error, RepoError::Damaged { .. }));
    let text = error.to_string();
    for part in [layout::pack(PackKind::Data, pack.id).as_str(), "at byte 1026", &wanted[1].id.to_hex()] {
        assert!(text.contains(part), "{text}");
    }
    let ranges = store.calls().iter().filter(|call| call.operation == Operation::GetRange).count();
    assert_eq!(ranges, 3, "{:?}", store.calls());
    let each = blobs.get_each(&wanted).await;
    assert!(each[0].is_ok() && matches!(each[1], Err(RepoError::Damaged { .. })), "each by itself: {each:?}");
    // Healed, it reads at once: nothing remembers the damage.
    put(&*store, &pack).await;
    assert!(blobs.get_all(&wanted).await.is_ok());
}

#[tokio::test]
async fn a_bit_flipped_on_the_way_costs_one_more_request() {
    let fault = Arc::new(FaultStore::new(Arc::new(MemoryStore::new()), 1));
    let blobs = repository(fault.clone(), None).blobs().clone();
    let (pack, wanted) = pack(1, 0..1);
    put(&*fault, &pack).await;
    fault.set_rules([FaultRule::first(1, Fault::FlippedBit)]);
    assert!(blobs.get_all(&wanted).await.is_ok());
}

#[tokio::test]
async fn moved_blobs_are_found_where_they_went() {
    let (store, blobs) = recorded();
    let (old, wanted) = pack(1, 0..3);
    let (middle, _) = pack(2, [2, 1]);
    let (new, _) = pack(3, [1, 5]);
    for (from, to) in [(&old, &middle), (&middle, &new)] {
        let moved = MovedPack { old: from.id, new: vec![PackIndex::decode(&to.index).unwrap()] };
        store.put(&layout::moved(from.id), moved.encode().into()).await.unwrap();
    }
    put(&*store, &new).await;
    store.reset();
    assert_eq!(blobs.get_all(&wanted[1..2]).await.unwrap()[0].0, raw(1));
    assert_eq!(store.count(Operation::List), 0, "no search");
    // The next one of that pack asks for less.
    let before = store.calls().len();
    assert!(blobs.get_all(&wanted[..1]).await.is_err(), "not kept by the move, and in no pack");
    let moved_gets = store.calls()[before..].iter().filter(|call| call.key.starts_with("moved/")).count();
    assert_eq!(moved_gets, 0);
}

#[tokio::test]
async fn a_wrong_hint_or_none_ends_in_a_search() {
    let (store, blobs) = recorded();
    for i in 0..5 {
        put(&*store, &pack(i, i * 10..i * 10 + 10).0).await;
    }
    let id = ChunkId::of(&raw(33));
    assert_eq!(blobs.get::<RawChunk>(id, None).await.unwrap().0, raw(33));
    // A hint to another blob, and one behind the end of the pack.
    let (_, first) = pack(0, 0..10);
    let at = first[0].hint.unwrap();
    assert!(blobs.get::<RawChunk>(ChunkId::of(&raw(34)), Some(at)).await.is_ok());
    let beyond = Location { offset: 1 << 40, ..at };
    assert!(blobs.get::<RawChunk>(ChunkId::of(&raw(35)), Some(beyond)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_not_searched_for_again_and_again() {
    let (store, blobs) = recorded();
    put(&*store, &pack(1, 0..3).0).await;
    let (_, lost) = pack(9, 50..51);
    for (searches, wait) in [(1, 10), (1, 10), (1, 60), (2, 0)] {
        let error = blobs.get_all(&lost).await.unwrap_err();
        assert!(matches!(error, RepoError::Missing { .. }), "{error}");
        assert!(
            error.to_string().contains(layout::pack(PackKind::Data, PackId::from_bytes([9; 16])).as_str())
        );
        assert_eq!(store.count(Operation::List), searches);
        tokio::time::advance(Duration::from_secs(wait)).await;
    }
}

#[tokio::test]
async fn a_store_that_fails_is_not_mistaken_for_loss() {
    let fault = Arc::new(FaultStore::new(Arc::new(MemoryStore::new()), 1));
    let store = Arc::new(RecordStore::new(fault.clone()));
    let blobs = repository(store.clone(), None).blobs().clone();
    let (pack, wanted) = pack(1, 0..3);
    put(&*store, &pack).await;
    fault.set_rules([FaultRule::always(Fault::Throttled)]);
    store.reset();
    let error = blobs.get_all(&wanted).await.unwrap_err();
    assert!(matches!(error, RepoError::Store(_)), "{error}");
    assert_eq!(store.calls().len(), 1, "the store retries by itself");
}
