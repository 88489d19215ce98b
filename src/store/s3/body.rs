//! Bodies of answers: whole, within bounds and within time, or an error.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout};

use super::error::{Failure, chain};
use super::patience::Patience;
use crate::store::{MAX_OBJECT, StoreErrorKind};

/// What a body must show to be waited for.
#[derive(Debug)]
pub(super) struct Pulse<'a> {
    /// How long it may stand still,
    pub(super) patience: &'a Patience,
    /// but never longer than this.
    pub(super) most: Duration,
    /// Bytes per second below which it is as good as standing still.
    pub(super) min_rate: u64,
}

/// The whole body of an answer to a GET without a range.
pub(super) async fn whole(answer: GetObjectOutput, pulse: &Pulse<'_>) -> Result<Bytes, Failure> {
    let size = size(&answer)?;
    if size > MAX_OBJECT {
        let detail = format!("it has {size} bytes; no object of a repository is larger than {MAX_OBJECT}");
        return Err(Failure::new(StoreErrorKind::BadAnswer, detail));
    }
    collect(answer, 0..size, size, pulse).await
}

/// The bytes of `range` from an answer to a GET with that range.
pub(super) async fn part(
    answer: GetObjectOutput,
    range: Range<u64>,
    pulse: &Pulse<'_>,
) -> Result<Bytes, Failure> {
    let size = size(&answer)?;
    let wanted = range.end - range.start;
    let ends_early = |detail: String| Err(Failure::new(StoreErrorKind::OutOfRange, detail));
    match answer.content_range().map(str::to_owned) {
        Some(text) => {
            let Some((start, end)) = parse_content_range(&text) else {
                return Err(Failure::new(
                    StoreErrorKind::BadAnswer,
                    format!("content-range {text:?} is none"),
                ));
            };
            if start != range.start || end > range.end || end - start != size {
                let detail = format!("asked for bytes {range:?}, answered {text:?} with {size} bytes");
                return Err(Failure::new(StoreErrorKind::BadAnswer, detail));
            }
            if end < range.end {
                return ends_early(format!("the object ends before {} ({text})", range.end));
            }
            collect(answer, 0..wanted, size, pulse).await
        }
        // 200 instead of 206: the whole object comes. What is before the range is thrown away, what is behind it is not
        // waited for.
        None if size < range.end => ends_early(format!("the object has {size} bytes, asked for {range:?}")),
        None => collect(answer, range, size, pulse).await,
    }
}

/// `bytes 5-9/100` as the half-open range 5..10.
fn parse_content_range(text: &str) -> Option<(u64, u64)> {
    let (range, _total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then(|| Some((first, last.checked_add(1)?)))?
}

/// The announced size. Every S3 answer with an object has one, and an ETag; a page of a web server that says 200 to
/// everything has rarely both.
fn size(answer: &GetObjectOutput) -> Result<u64, Failure> {
    let size = answer.content_length().and_then(|length| u64::try_from(length).ok());
    match (size, answer.e_tag()) {
        (Some(size), Some(_)) => Ok(size),
        _ => Err(Failure::new(
            StoreErrorKind::BadAnswer,
            "the answer has no length or no ETag: is this an S3 endpoint?",
        )),
    }
}

/// The bytes `wanted` of a body of `size` bytes.
async fn collect(
    mut answer: GetObjectOutput,
    wanted: Range<u64>,
    size: u64,
    pulse: &Pulse<'_>,
) -> Result<Bytes, Failure> {
    let began = Instant::now();
    // Waiting spends time, bytes buy it; what was fast so far has none saved up.
    let patience = pulse.patience.limit(pulse.most);
    let mut left = patience;
    let mut position = 0u64;
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while position < wanted.end {
        let asked = Instant::now();
        let chunk = match timeout(left, answer.body.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(e))) => {
                let why = chain(&e, |_| false);
                let detail = format!("the body broke off after {position} of {size} bytes: {why}");
                return Err(Failure::new(StoreErrorKind::CutBody, detail));
            }
            Ok(None) => {
                let detail = format!("the body ended after {position} of {size} bytes");
                return Err(Failure::new(StoreErrorKind::CutBody, detail));
            }
            Err(_) => {
                pulse.patience.in_vain(patience);
                let spent = began.elapsed().as_secs_f64();
                let detail =
                    format!("the body stood still or crept: {position} of {size} bytes in {spent:.1} s");
                return Err(Failure::new(StoreErrorKind::Timeout, detail));
            }
        };
        let bought = Duration::from_secs_f64(chunk.len() as f64 / pulse.min_rate.max(1) as f64);
        left = (left.saturating_sub(asked.elapsed()) + bought).min(patience);
        let end = position + chunk.len() as u64;
        let from = wanted.start.clamp(position, end) - position;
        let to = wanted.end.clamp(position, end) - position;
        position = end;
        let useful = chunk.slice(from as usize..to as usize);
        if useful.is_empty() {
            continue;
        }
        match first.take() {
            // A small object comes in one piece, which is not copied.
            None if rest.is_empty() => first = Some(useful),
            None => rest.extend_from_slice(&useful),
            Some(begin) => {
                rest.reserve((wanted.end - wanted.start) as usize);
                rest.extend_from_slice(&begin);
                rest.extend_from_slice(&useful);
            }
        }
    }
    pulse.patience.complete();
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

#[cfg(test)]
mod tests;
