//! Uploads that end at the same moment: the starting line of the probe's races.
//!
//! A store that checks a condition without a lock loses only when requests meet between its check and its write. That
//! window is short, and requests of one client spread over milliseconds: signed one after the other, sent over
//! connections of different age. So each upload stops before its last byte until all of them have come so far and the
//! network has had time to carry it; then all last bytes are sent at once. Nothing else of the requests differs: the gate
//! sits behind the signature, in the connector.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How long the others are waited for: connections are open already, so only a failure takes longer.
const GATHER: Duration = Duration::from_secs(2);

/// From the last arrival to the start: what was sent by then has reached the store.
const CARRY: Duration = Duration::from_millis(100);

tokio::task_local! {
    /// The gate that uploads of the present task stop at.
    static GATE: Arc<Gate>;
}

#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    all_here: Notify,
}

#[derive(Debug)]
struct State {
    expected: usize,
    open: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    pub(super) fn new(expected: usize) -> Arc<Self> {
        let state = State { expected, open: false, waiting: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), all_here: Notify::new() })
    }

    /// Sends `request` up to this gate.
    pub(super) async fn stop<F: Future>(self: &Arc<Self>, request: F) -> F::Output {
        GATE.scope(self.clone(), request).await
    }

    /// Waits for the others and opens; never returns, so that it can stand beside the requests.
    pub(super) async fn attend(&self) -> std::convert::Infallible {
        // Opened all the same when one does not come: its connection failed.
        let _ = timeout(GATHER, self.all_here.notified()).await;
        sleep(CARRY).await;
        let waiting = {
            let mut state = self.state();
            state.open = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
        std::future::pending().await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn poll_open(&self, context: &mut Context<'_>, first: bool) -> Poll<()> {
        let mut state = self.state();
        if state.open {
            return Poll::Ready(());
        }
        if first {
            state.expected = state.expected.saturating_sub(1);
            if state.expected == 0 {
                self.all_here.notify_one();
            }
        }
        state.waiting.push(context.waker().clone());
        Poll::Pending
    }
}

/// Stops uploads at the gate of their task, if it has one.
#[derive(Debug)]
pub(super) struct GatedConnector(pub(super) SharedHttpConnector);

impl HttpConnector for GatedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        if let Ok(gate) = GATE.try_with(Arc::clone)
            && let Some(body) =
                request.body().bytes().filter(|body| !body.is_empty()).map(Bytes::copy_from_slice)
        {
            let tail = body.slice(body.len() - 1..);
            let head = body.slice(..body.len() - 1);
            let gated = GatedBody { head: Some(head), tail: Some(tail), gate, arrived: false };
            *request.body_mut() = SdkBody::from_body_1_x(gated);
        }
        self.0.call(request)
    }
}

struct GatedBody {
    head: Option<Bytes>,
    tail: Option<Bytes>,
    gate: Arc<Gate>,
    arrived: bool,
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(head) = self.head.take().filter(|head| !head.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        if self.tail.is_some() {
            let first = !std::mem::replace(&mut self.arrived, true);
            std::task::ready!(self.gate.poll_open(context, first));
        }
        Poll::Ready(self.tail.take().map(|tail| Ok(Frame::data(tail))))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.tail.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = [&self.head, &self.tail].into_iter().flatten().map(|part| part.len() as u64).sum();
        SizeHint::with_exact(left)
    }
}
