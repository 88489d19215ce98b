//! Commits, records and `format.json`: round trips, one spelling, and what is refused.

use super::*;
use crate::types::{
    CommitId, Location, NodeId, Nonce, PackId, RecordHash, RefKind, RefName, RepoUuid, Span, Timestamp,
};

fn commit() -> StoredCommit {
    let pack = PackId::from_bytes([7; 16]);
    StoredCommit {
        commit: Commit {
            tree: NodeId::of(b"tree"),
            parents: vec![CommitId::of(b"2"), CommitId::of(b"1")],
            author: "Ada <ada@example.org>".into(),
            time: Timestamp::from_micros(1_795_000_000_123_456),
            message: "first line\nsecond \"line\"\u{7f}\u{2028}\u{1f600}\0".into(),
            metadata: [("job".into(), "42".into()), ("".into(), "é".into())].into(),
            totals: Totals { entries: 12, files: 10, bytes: 1 << 40 },
            nonce: Nonce::from_bytes([1; 16]),
        },
        place: CommitPlace {
            root: Location { pack, offset: 4000, len: 300 },
            interior: Span { pack, offset: 3000, len: 1300 },
        },
    }
}

fn record() -> Record {
    let stored = commit();
    Record {
        repository: RepoUuid::from_random([9; 16]),
        name: RecordName::Ref(RefKind::Branch, RefName::new("ingest/x").expect("valid")),
        kind: RecordKind::Move,
        seq: 3,
        head: Some((stored.commit.id(), stored)),
        previous_commit: Some(CommitId::of(b"2")),
        previous_record: Some(RecordHash::of(b"r2")),
        who: "ada@node7".into(),
        when: Timestamp::from_micros(0),
        operation: Operation { name: "commit".into(), reason: String::new() },
        checks: vec![CheckResult { name: "rows".into(), passed: true, detail: "log/1".into() }],
        settings_seq: 0,
        gc_epoch: 5,
        settings: [].into(),
        moves: 2,
        nonce: Nonce::from_bytes([2; 16]),
    }
}

fn format() -> RepositoryFormat {
    RepositoryFormat {
        uuid: RepoUuid::from_random([9; 16]),
        created: Timestamp::from_micros(1_795_000_000_000_000),
        default_branch: RefName::new("main").expect("valid"),
        chunker: ChunkerParameters::DEFAULT,
        cut_seed: [0xab; 32],
    }
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = str::from_utf8(bytes).expect("UTF-8");
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replace(from, to).into_bytes()
}

#[test]
fn commits_come_back_under_their_id() {
    let stored = commit();
    let (id, bytes) = (stored.commit.id(), stored.encode());
    assert_eq!(StoredCommit::decode(id, &bytes), Ok(stored.clone()));
    assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 2);
    // The place is not hashed: it may change, but not into nonsense.
    let moved = replaced(&bytes, "\"offset\":4000", "\"offset\":25");
    assert_eq!(StoredCommit::decode(id, &moved).expect("valid").place.root.offset, 25);
    for (from, to) in [
        ("\"offset\":4000", "\"offset\":18446744073709551615"),
        ("\"len\":300", "\"len\":0"),
        ("\"len\":300", "\"len\":99999999"),
        ("\"len\":1300", "\"len\":0"),
        ("\"root\"", "\"boot\""),
    ] {
        assert!(StoredCommit::decode(id, &replaced(&bytes, from, to)).is_err(), "{to}");
    }
    for len in 0..bytes.len() {
        assert!(StoredCommit::decode(id, &bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(StoredCommit::decode(id, &[&bytes[..], b"\n"].concat()).is_err());
    let other = replaced(&bytes, "\"job\":\"42\"", "\"job\":\"43\"");
    assert!(matches!(StoredCommit::decode(id, &other), Err(FormatError::WrongHash { .. })));
}

#[test]
fn commits_that_break_a_rule_are_refused_under_their_own_hash() {
    let bytes = commit().encode();
    for (from, to) in [
        ("\"author\":\"Ada <ada@example.org>\"", "\"author\":\"\""),
        ("\"nonce\":\"01", "\"nonce\":\"0A"),
        (".123456Z", ".123456+00:00"),
        ("\"bytes\":1099511627776", "\"bytes\":-1"),
        ("\"files\":10", "\"files\":13"),
        ("\"files\":10", "\"files\":10.0"),
        ("\"files\":10", "\"files\":\"10\""),
        ("\"files\":10", "\"files\":10,\"links\":1"),
        ("\"job\":\"42\"", "\"job\":42"),
        ("\"version\":1", "\"version\":0"),
        ("\"version\":1", "\"version\":1,\"zeal\":1"),
        (",\"version\":1", ""),
        ("{\"author\"", "{ \"author\""),
        (&CommitId::of(b"1").to_hex(), &CommitId::of(b"2").to_hex()),
    ] {
        let bad = replaced(&bytes, from, to);
        let body_end = bad.iter().position(|b| *b == b'\n').expect("two lines");
        let error = StoredCommit::decode(CommitId::of(&bad[..body_end]), &bad).expect_err(to);
        assert!(matches!(error, FormatError::Malformed { .. }), "{error}");
    }
    type Edit = fn(&mut Commit);
    let edits: [(Edit, bool); 10] = [
        (|c| c.author = "a".repeat(1024), true),
        (|c| c.author = "a".repeat(1025), false),
        (|c| c.message = "\0".repeat(1 << 20), true),
        (|c| c.message = "a".repeat((1 << 20) + 1), false),
        (|c| c.parents = (0..16u8).map(|n| CommitId::of(&[n])).collect(), true),
        (|c| c.parents = (0..17u8).map(|n| CommitId::of(&[n])).collect(), false),
        (|c| c.metadata = (0..256).map(|n| (format!("{n}"), String::new())).collect(), true),
        (|c| c.metadata = (0..257).map(|n| (format!("{n}"), String::new())).collect(), false),
        (|c| c.metadata = [("k".into(), "v".repeat(65_536))].into(), false),
        (|c| c.totals = Totals { entries: 1, files: 0, bytes: 1 }, false),
    ];
    for (n, (edit, ok)) in edits.iter().enumerate() {
        let mut stored = commit();
        edit(&mut stored.commit);
        assert_eq!(stored.commit.check().is_ok(), *ok, "{n}");
        assert_eq!(StoredCommit::decode(stored.commit.id(), &stored.encode()).is_ok(), *ok, "{n}");
    }
}

#[test]
fn records_come_back_and_hold_their_commit() {
    let record = record();
    let bytes = record.encode();
    assert_eq!(Record::decode(&bytes), Ok(record.clone()));
    assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 1);
    let settings = Record {
        name: RecordName::Settings,
        kind: RecordKind::Settings,
        seq: 1,
        head: None,
        previous_commit: None,
        previous_record: None,
        settings: [
            ("hooks".into(), JsonValue::List(vec![JsonValue::Null, JsonValue::Bool(false)])),
            ("protect".into(), JsonValue::Object([("main".into(), JsonValue::Integer(-1))].into())),
        ]
        .into(),
        moves: 0,
        ..record
    };
    assert_eq!(Record::decode(&settings.encode()), Ok(settings));
    for (from, to) in [
        ("\"job\":\"42\"", "\"job\":\"43\""), // the commit no longer has its id
        ("\"log\":\"refs/heads/ingest/x\"", "\"log\":\"refs/heads/ingest_2Fx\""),
        ("\"log\":\"refs/heads/ingest/x\"", "\"log\":\"heads/x\""),
        ("\"kind\":\"move\"", "\"kind\":\"Move\""),
        ("\"seq\":3", "\"seq\":0"),
        ("\"passed\":true", "\"passed\":1"),
        ("\"gc_epoch\":5", "\"gc_epoch\":-5"),
        ("\"settings\":{}", "\"settings\":null"),
        ("\"who\":\"ada@node7\"", "\"who\":\"\""),
        ("1970-01-01T00:00:00.000000Z", "1970-01-01T00:00:00Z"),
    ] {
        let error = Record::decode(&replaced(&bytes, from, to)).expect_err(to);
        assert!(!matches!(error, FormatError::Newer { .. }), "{error}");
    }
    let uuid = record_uuid_in_capitals(&bytes);
    assert!(Record::decode(&uuid).is_err());
    for len in 0..bytes.len() {
        assert!(Record::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
}

fn record_uuid_in_capitals(bytes: &[u8]) -> Vec<u8> {
    let uuid = RepoUuid::from_random([9; 16]).to_string();
    assert_ne!(uuid.to_uppercase(), "0".repeat(36));
    replaced(bytes, &uuid, &format!("{{{uuid}}}"))
}

#[test]
fn a_kind_of_record_has_its_fields_and_no_others() {
    type Edit = fn(&mut Record);
    let head = |r: &mut Record| r.previous_commit = r.head.as_ref().map(|(id, _)| *id);
    assert!({
        let mut fence = Record { kind: RecordKind::Fence, ..record() };
        head(&mut fence);
        fence.check().is_ok()
    });
    let edits: [(Edit, bool); 19] = [
        (|r| r.seq = 999_999_999_999, true),
        (|r| r.seq = 1_000_000_000_000, false),
        (|r| r.previous_record = None, false),
        (|r| (r.seq, r.previous_record) = (1, None), false),
        (|r| r.moves = 3, false),
        (|r| r.moves = 0, false),
        (|r| r.head = None, false),
        (|r| r.previous_commit = None, true),
        (|r| r.kind = RecordKind::Fence, false),
        (|r| r.kind = RecordKind::Birth, false),
        (|r| r.kind = RecordKind::Delete, false),
        (|r| (r.kind, r.head) = (RecordKind::Delete, None), true),
        (|r| (r.kind, r.head, r.previous_commit) = (RecordKind::Birth, None, None), true),
        (|r| (r.kind, r.head, r.previous_commit) = (RecordKind::Fence, None, None), true),
        (|r| r.settings = [("a".into(), JsonValue::Null)].into(), false),
        (|r| r.name = RecordName::Settings, false),
        (|r| r.operation.name.clear(), false),
        (|r| r.operation.reason = "x".repeat(65_537), false),
        (|r| r.checks = vec![r.checks[0].clone(); 257], false),
    ];
    for (n, (edit, ok)) in edits.iter().enumerate() {
        let mut record = record();
        edit(&mut record);
        assert_eq!(record.check().is_ok(), *ok, "{n}: {:?}", record.check());
        assert_eq!(Record::decode(&record.encode()).is_ok(), *ok, "{n}");
    }
    let mut first = Record { kind: RecordKind::Birth, seq: 1, head: None, moves: 0, ..record() };
    (first.previous_commit, first.previous_record) = (None, None);
    assert_eq!(Record::decode(&first.encode()), Ok(first));
}

#[test]
fn a_repository_describes_itself() {
    let bytes = format().encode();
    assert_eq!(RepositoryFormat::decode(&bytes), Ok(format()));
    for (from, to) in [
        ("\"hash\":\"blake3\"", "\"hash\":\"sha256\""),
        ("\"average\":524288", "\"average\":262144"),
        ("\"max\":4194304", "\"max\":4194305"),
        ("\"min\":262144", "\"min\":0"),
        ("\"min\":262144", "\"min\":262143"),
        ("\"cut_seed\":\"ab", "\"cut_seed\":\"AB"),
        ("\"cut_seed\":\"ab", "\"cut_seed\":\""),
        ("\"default_branch\":\"main\"", "\"default_branch\":\"a b\""),
        ("\"version\":1", "\"extra\":0,\"version\":1"),
        ("\"version\":1", "\"version\":1,\"xtra\":0"),
        ("}\n", "}"),
    ] {
        let error = RepositoryFormat::decode(&replaced(&bytes, from, to)).expect_err(to);
        assert!(!matches!(error, FormatError::Newer { .. }), "{error}");
    }
}

#[test]
fn newer_versions_are_told_apart_from_damage() {
    let newer = |result: Result<(), FormatError>| matches!(result, Err(FormatError::Newer { found: 2, .. }));
    let bytes = format().encode();
    let v2 = replaced(&bytes, "\"version\":1", "\"version\":2");
    assert!(newer(RepositoryFormat::decode(&v2).map(drop)));
    assert!(newer(RepositoryFormat::decode(b"{ \"hash\": 1.5, \"version\": 2 }").map(drop)));
    let v2 = replaced(&record().encode(), "\"version\":1,\"when\"", "\"version\":2,\"when\"");
    assert!(newer(Record::decode(&v2).map(drop)));
    let v2 = b"{\"new\":1e9,\"version\":2}\n{}\n";
    assert!(newer(StoredCommit::decode(CommitId::of(&v2[..23]), v2).map(drop)));
}
