//! A proxy in front of an S3 server that writes down every request and makes each take some time, as a store that is not on
//! this machine does. The time also makes the record true: requests that were sent together overlap, so that one begins
//! after another has ended only when somebody waited for it.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// The proxy; it ends with the runtime it was started on.
#[derive(Debug)]
pub struct Proxy {
    pub endpoint: String,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    /// Method, path and query.
    requests: Vec<String>,
    /// The longest chain of requests of which each began after the one before had ended.
    ended: usize,
}

impl Proxy {
    /// In front of `upstream` (`http://host:port`); every request is passed on after `latency`.
    pub async fn start(upstream: &str, latency: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let log: Arc<Mutex<Log>> = Arc::default();
        let client: Client<HttpConnector, Incoming> =
            Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let (upstream, of_server) = (upstream.to_owned(), log.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (client, upstream, log) = (client.clone(), upstream.clone(), of_server.clone());
                let service = service_fn(move |request| {
                    let running = Running::begin(&log, &request);
                    pass(client.clone(), upstream.clone(), latency, request, running)
                });
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { endpoint, log }
    }

    /// The requests since the start or the last [`Proxy::reset`], in the order in which they came: `GET /bucket/key`.
    pub fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().requests.clone()
    }

    /// The longest chain of requests one after the other.
    pub fn depth(&self) -> usize {
        self.log.lock().unwrap().ended
    }

    /// Forgets what was recorded.
    pub fn reset(&self) {
        *self.log.lock().unwrap() = Log::default();
    }
}

async fn pass(
    client: Client<HttpConnector, Incoming>,
    upstream: String,
    latency: Duration,
    mut request: Request<Incoming>,
    running: Running,
) -> Result<Response<Watched>, hyper_util::client::legacy::Error> {
    tokio::time::sleep(latency).await;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    // The header `Host` stays as the client signed it.
    *request.uri_mut() = format!("{upstream}{path}").parse::<Uri>().unwrap();
    let response = client.request(request).await?;
    Ok(response.map(|body| Watched { body, _running: running }))
}

/// A request under way; it ends when its answer's last byte was handed on.
#[derive(Debug)]
struct Running {
    log: Arc<Mutex<Log>>,
    depth: usize,
}

impl Running {
    fn begin(log: &Arc<Mutex<Log>>, request: &Request<Incoming>) -> Self {
        let mut entries = log.lock().unwrap();
        entries.requests.push(format!("{} {}", request.method(), request.uri()));
        Self { log: log.clone(), depth: entries.ended + 1 }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut log = self.log.lock().unwrap();
        log.ended = log.ended.max(self.depth);
    }
}

/// The body of an answer.
#[derive(Debug)]
struct Watched {
    body: Incoming,
    _running: Running,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
