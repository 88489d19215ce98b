//! A server that answers with given bytes: everything that is not S3, and S3 that breaks off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What to do with a connection after the answer's bytes.
#[derive(Debug, Clone, Copy)]
pub enum Then {
    Close,
    /// Says nothing more and keeps the connection.
    Hang,
}

/// A server on this runtime; it ends with the runtime.
#[derive(Debug)]
pub struct Canned {
    pub endpoint: String,
    requests: Arc<AtomicUsize>,
}

impl Canned {
    /// A server that answers `answer(head)` to every request, `head` being its request line and headers.
    pub async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (requests.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (count, answer) = (count.clone(), answer.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, &*answer, then, &count).await;
                });
            }
        });
        Self { endpoint, requests }
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(&str) -> Vec<u8> + Send + Sync),
    then: Then,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
    count.fetch_add(1, Ordering::SeqCst);
    stream.write_all(&answer(&String::from_utf8_lossy(&bytes[..head]))).await?;
    match then {
        Then::Close => stream.shutdown().await,
        Then::Hang => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(())
        }
    }
}

/// An answer with a status line, headers and a body of the length that it says.
pub fn response(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    announced(status, headers, body.len(), body)
}

/// An answer whose announced length is not its body's.
pub fn announced(status: &str, headers: &[(&str, &str)], length: usize, body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// An S3 error.
pub fn s3_error(status: &str, code: &str) -> Vec<u8> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>canned</Message></Error>");
    response(status, &[("content-type", "application/xml")], body.as_bytes())
}
