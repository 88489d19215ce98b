use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use hyper::body::{Body, Frame};
use tokio::time::Sleep;

use super::*;

#[test]
fn content_ranges() {
    assert_eq!(parse_content_range("bytes 5-9/100"), Some((5, 10)));
    assert_eq!(parse_content_range("bytes 0-0/*"), Some((0, 1)));
    for bad in ["", "bytes", "bytes */100", "bytes 9-5/100", "5-9/100", "bytes 0-18446744073709551615/1"] {
        assert_eq!(parse_content_range(bad), None, "{bad}");
    }
}

/// A body whose parts come each so many milliseconds after the one before it.
struct Parts {
    left: VecDeque<(u64, usize)>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((wait, size)) = self.left.front().copied() else { return Poll::Ready(None) };
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(wait))));
        ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        self.left.pop_front();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![7; size])))))
    }
}

const RATE: u64 = 64 << 10;

/// What becomes of a body of `parts` from a store that answers within 20 ms, and after how many seconds.
async fn read(
    patience: &Patience,
    parts: impl IntoIterator<Item = (u64, usize)>,
) -> (Result<u64, StoreErrorKind>, f64) {
    let left: VecDeque<_> = parts.into_iter().collect();
    let size: usize = left.iter().map(|(_, size)| size).sum();
    let answer = GetObjectOutput::builder()
        .content_length(size as i64)
        .e_tag("\"x\"")
        .body(ByteStream::new(SdkBody::from_body_1_x(Parts { left, waiting: None })))
        .build();
    let pulse = Pulse { patience, most: Duration::from_secs(15), min_rate: RATE };
    let began = Instant::now();
    let result = whole(answer, &pulse).await;
    (result.map(|bytes| bytes.len() as u64).map_err(|failure| failure.kind), began.elapsed().as_secs_f64())
}

fn of_a_fast_store() -> Patience {
    let patience = Patience::new();
    (0..100).for_each(|_| patience.answered(Duration::from_millis(20)));
    patience
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_ends_soon() {
    // At once, after a little, and after much that came fast.
    for before in [0, 1, 800] {
        let patience = of_a_fast_store();
        let parts = std::iter::repeat_n((1, 10_000), before).chain([(1_000_000, 1)]);
        let (result, seconds) = read(&patience, parts).await;
        assert_eq!(result, Err(StoreErrorKind::Timeout));
        let still = seconds - before as f64 / 1000.0;
        assert!((2.9..3.1).contains(&still), "{before} parts: {still}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_creeps_ends_like_one_that_stands_still() {
    // A byte every two seconds, after 8 MiB at full speed.
    let parts = std::iter::repeat_n((1, 1 << 20), 8).chain(std::iter::repeat_n((2000, 1), 1000));
    let (result, seconds) = read(&of_a_fast_store(), parts).await;
    assert_eq!(result, Err(StoreErrorKind::Timeout));
    assert!(seconds < 4.0, "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_moves_is_read_to_its_end_however_long_that_takes() {
    // 100 KiB a second, in bursts with pauses of two seconds, for ten minutes.
    let patience = of_a_fast_store();
    let (result, seconds) = read(&patience, std::iter::repeat_n((2000, 200 << 10), 300)).await;
    assert_eq!(result, Ok(300 * (200 << 10)));
    assert!(seconds >= 600.0, "{seconds}");
}

/// Pauses of 5 s, which a fast store never gave reason to expect: the second attempt waits for them.
#[tokio::test(start_paused = true)]
async fn another_attempt_waits_longer() {
    let patience = of_a_fast_store();
    let slow = || std::iter::repeat_n((5000, 1 << 20), 5);
    assert_eq!(read(&patience, slow()).await.0, Err(StoreErrorKind::Timeout));
    // Answers that begin promptly do not take the longer wait back; only a whole body does.
    patience.answered(Duration::from_millis(20));
    assert_eq!(read(&patience, slow()).await.0, Ok(5 << 20));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_store_is_waited_for_longer() {
    let (result, seconds) = read(&Patience::new(), [(1_000_000, 1)]).await;
    assert_eq!(result, Err(StoreErrorKind::Timeout));
    assert!((9.9..10.1).contains(&seconds), "{seconds}");
}
