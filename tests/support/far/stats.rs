//! What has passed: requests and bytes, by kind.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

use super::http::Head;
use super::lock;

/// What a request asks for, as S3 bills and limits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A whole object.
    Get,
    /// A range of an object.
    GetRange,
    /// Keys.
    List,
    /// The properties of an object or a bucket.
    Head,
    /// An object, or a bucket.
    Put,
    /// A part of an object.
    PutPart,
    /// Beginning and ending an upload in parts, deleting many.
    Post,
    /// An object, a bucket, an upload.
    Delete,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of a request.
    pub fn of(head: &Head) -> Self {
        let [method, target, _] = head.words();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let asks = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
        // `/bucket` or `/bucket/`: no key.
        let is_bucket = path.trim_matches('/').split_once('/').is_none();
        match method {
            "GET" if is_bucket => Self::List,
            "GET" if head.field("range").is_some() => Self::GetRange,
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" if asks("partNumber") => Self::PutPart,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetRange => "get_range",
            Self::List => "list",
            Self::Head => "head",
            Self::Put => "put",
            Self::PutPart => "put_part",
            Self::Post => "post",
            Self::Delete => "delete",
            Self::Other => "other",
        }
    }
}

/// The counts of one kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests that came.
    pub requests: u64,
    /// Those among them that were answered with an error by the server or by a fault, or not at all.
    pub failed: u64,
    /// Bytes of bodies from clients.
    pub up: u64,
    /// Bytes of bodies to clients.
    pub down: u64,
}

/// Counters of a proxy.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kinds: BTreeMap<Kind, Counts>,
    connections: u64,
    in_flight: u64,
    most_in_flight: u64,
}

impl Stats {
    /// The counts of a kind.
    pub fn of(&self, kind: Kind) -> Counts {
        lock(&self.0).kinds.get(&kind).copied().unwrap_or_default()
    }

    /// Of all kinds together.
    pub fn total(&self) -> Counts {
        lock(&self.0).kinds.values().fold(Counts::default(), |sum, c| Counts {
            requests: sum.requests + c.requests,
            failed: sum.failed + c.failed,
            up: sum.up + c.up,
            down: sum.down + c.down,
        })
    }

    /// Begins anew. What is under way stays counted as under way.
    pub fn reset(&self) {
        let mut inner = lock(&self.0);
        *inner = Inner { in_flight: inner.in_flight, most_in_flight: inner.in_flight, ..Inner::default() };
    }

    /// As a JSON document.
    pub fn to_json(&self) -> String {
        let total = self.total();
        let inner = lock(&self.0);
        let mut text = String::from("{");
        let mut put = |name: &str, c: &Counts| {
            let Counts { requests, failed, up, down } = c;
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\"{name}\":{{\"requests\":{requests},\"failed\":{failed},\"up\":{up},\"down\":{down}}},"
            );
        };
        put("total", &total);
        inner.kinds.iter().for_each(|(kind, counts)| put(kind.name(), counts));
        let _ = write!(
            text,
            "\"connections\":{},\"in_flight\":{},\"most_in_flight\":{}}}",
            inner.connections, inner.in_flight, inner.most_in_flight
        );
        text
    }

    pub(super) fn connected(&self) {
        lock(&self.0).connections += 1;
    }

    pub(super) fn began(&self, kind: Kind) {
        let mut inner = lock(&self.0);
        inner.kinds.entry(kind).or_default().requests += 1;
        inner.in_flight += 1;
        inner.most_in_flight = inner.most_in_flight.max(inner.in_flight);
    }

    pub(super) fn ended(&self, kind: Kind, outcome: Outcome) {
        let mut inner = lock(&self.0);
        inner.in_flight = inner.in_flight.saturating_sub(1);
        if outcome == Outcome::Failed {
            inner.kinds.entry(kind).or_default().failed += 1;
        }
    }

    pub(super) fn sent_up(&self, kind: Kind, bytes: u64) {
        lock(&self.0).kinds.entry(kind).or_default().up += bytes;
    }

    pub(super) fn sent_down(&self, kind: Kind, bytes: u64) {
        lock(&self.0).kinds.entry(kind).or_default().down += bytes;
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With an answer that is no error.
    Done,
    /// With an error, or without an answer.
    Failed,
}
