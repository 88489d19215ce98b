//! The tests' own proxy: it changes no byte of what passes, is as slow as it was told, counts what it saw, and goes wrong
//! only on purpose.
#![allow(clippy::unwrap_used)]

#[path = "support/far/mod.rs"]
mod proxy;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use proxy::{
    Body, Counts, Fault, Head, Kind, Off, Pace, Proxy, Settings, copy_body, read_head, unknown_setting,
};

fn head(text: &str) -> Head {
    read_head(&mut text.as_bytes()).unwrap().unwrap()
}

fn copied(body: Body, from: &mut &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut to, mut counted) = (Vec::new(), 0);
    copy_body(body, from, &mut to, &mut Pace::new(None), &mut |n| counted += n)?;
    assert!(counted <= to.len() as u64);
    Ok(to)
}

#[test]
fn a_head_ends_at_its_empty_line() {
    let mut stream = &b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n"[..];
    let first = read_head(&mut stream).unwrap().unwrap();
    assert_eq!(first.bytes, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(first.words(), ["GET", "/a", "HTTP/1.1"]);
    assert_eq!(first.field("host"), Some("x"));
    assert_eq!(read_head(&mut stream).unwrap().unwrap().words()[1], "/b");
    assert_eq!(read_head(&mut stream).unwrap(), None);
    assert!(read_head(&mut &b"GET / HTTP/1.1\r\nHost"[..]).is_err());
    assert!(read_head(&mut format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(70_000)).as_bytes()).is_err());
}

#[test]
fn how_long_a_body_is() {
    let body = |fields: &str| head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).response_body("GET").unwrap();
    assert_eq!(body("Content-Length: 7\r\n"), Body::Length(7));
    assert_eq!(body("content-length: 0\r\n"), Body::Empty);
    assert_eq!(body("Transfer-Encoding: chunked\r\ncontent-length: 7\r\n"), Body::Chunked);
    assert_eq!(body(""), Body::UntilClose);
    let answer = head("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
    assert_eq!(answer.response_body("HEAD").unwrap(), Body::Empty);
    for status in [100, 204, 304] {
        let answer = head(&format!("HTTP/1.1 {status} X\r\ncontent-length: 7\r\n\r\n"));
        assert_eq!(answer.response_body("GET").unwrap(), Body::Empty);
    }
    assert_eq!(head("PUT /a HTTP/1.1\r\n\r\n").request_body().unwrap(), Body::Empty);
    assert!(head("PUT /a HTTP/1.1\r\ncontent-length: many\r\n\r\n").request_body().is_err());
    assert!(head("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").closes());
    assert!(head("HTTP/1.0 200 OK\r\n\r\n").closes());
    assert!(!head("HTTP/1.1 200 OK\r\n\r\n").closes());
}

#[test]
fn a_body_ends_where_it_says_and_not_one_byte_later() {
    let mut stream = &b"1234567rest"[..];
    assert_eq!(copied(Body::Length(7), &mut stream).unwrap(), b"1234567");
    assert_eq!(stream, b"rest");
    let chunks = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nchecksum: q\r\n\r\n";
    let mut both = chunks.to_vec();
    both.extend_from_slice(b"rest");
    let mut stream = &both[..];
    assert_eq!(copied(Body::Chunked, &mut stream).unwrap(), chunks);
    assert_eq!(stream, b"rest");
    assert_eq!(copied(Body::UntilClose, &mut &b"all"[..]).unwrap(), b"all");
}

#[test]
fn a_body_that_breaks_off_is_an_error() {
    assert!(copied(Body::Length(7), &mut &b"123"[..]).is_err());
    for cut in [&b""[..], b"3", b"3\r\nab", b"3\r\nabc\r\n", b"0\r\n", b"zz\r\nabc\r\n0\r\n\r\n"] {
        assert!(copied(Body::Chunked, &mut &cut[..]).is_err(), "{}", String::from_utf8_lossy(cut));
    }
}

#[test]
fn a_pace_spreads_bytes_evenly() {
    let begun = Instant::now();
    let mut pace = Pace::new(Some(1000));
    assert_eq!(pace.due(100, begun), begun + Duration::from_millis(100));
    // What was sent late does not delay what follows it...
    assert_eq!(pace.due(100, begun + Duration::from_millis(103)), begun + Duration::from_millis(200));
    // ... and a pause is not made up for, beyond a little.
    let later = begun + Duration::from_secs(10);
    assert_eq!(pace.due(100, later), later + Duration::from_millis(95));
    assert_eq!(Pace::new(None).due(1 << 40, begun), begun);
    assert!(!Pace::new(Some(0)).is_limited());
}

#[test]
fn faults_hit_the_share_that_was_asked_for() {
    let count = |settings: Settings, fault| (0..10_000).filter(|n| Fault::of(*n, &settings) == fault).count();
    let some = Settings { refuse: 0.1, cut: 0.2, ..Settings::default() };
    assert!((900..1100).contains(&count(some, Fault::Refuse)), "{}", count(some, Fault::Refuse));
    assert!((1850..2150).contains(&count(some, Fault::Cut)), "{}", count(some, Fault::Cut));
    assert_eq!(count(Settings::default(), Fault::None), 10_000);
    assert_eq!(count(Settings { refuse: 1.0, ..Settings::default() }, Fault::Refuse), 10_000);
}

#[test]
fn kinds_of_requests() {
    let kind = |line: &str, fields: &str| Kind::of(&head(&format!("{line} HTTP/1.1\r\n{fields}\r\n")));
    assert_eq!(kind("GET /b/k?x-id=GetObject", ""), Kind::Get);
    assert_eq!(kind("GET /b/k", "Range: bytes=0-9\r\n"), Kind::GetRange);
    assert_eq!(kind("GET /b/?list-type=2&prefix=k/l", ""), Kind::List);
    assert_eq!(kind("PUT /b/k?partNumber=1&uploadId=u", ""), Kind::PutPart);
    assert_eq!(kind("PUT /b/k", ""), Kind::Put);
    assert_eq!(kind("POST /b?delete", ""), Kind::Post);
}

#[test]
fn settings_are_read_and_nothing_else() {
    let mut settings = Settings::default();
    for part in ["latency_ms=1.5", "rate=90", "refuse=0.5", "cut=1", "off=hang", ""] {
        assert_eq!(unknown_setting(part, &mut settings), None, "{part}");
    }
    let read = Settings {
        latency: Duration::from_micros(1500),
        rate: Some(90),
        refuse: 0.5,
        cut: 1.0,
        off: Off::Hang,
    };
    assert_eq!(settings, read);
    for part in ["latency_ms=-1", "latency_ms=NaN", "rate=fast", "refuse=1.1", "off=maybe", "speed=1", "cut"]
    {
        assert_eq!(unknown_setting(part, &mut settings), Some(part));
    }
    assert_eq!(settings, read);
}

/// A server that answers a request with its own head as the body, 8 bytes per line for `/long`.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || echo_on(&stream));
        }
    });
    address
}

fn echo_on(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut from = BufReader::new(stream);
    while let Some(head) = read_head(&mut from)? {
        if head.field("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = Vec::new();
        copy_body(head.request_body()?, &mut from, &mut body, &mut Pace::new(None), &mut |_| {})?;
        let body =
            if head.words()[1] == "/b/long" { "8 bytes\n".repeat(100_000).into_bytes() } else { head.bytes };
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
        stream.write_all(&body)?;
    }
    Ok(())
}

fn before_echo(settings: Settings) -> Proxy {
    Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), echo(), settings).unwrap()
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn of(proxy: &Proxy) -> Self {
        Self(BufReader::new(TcpStream::connect(proxy.address).unwrap()))
    }

    fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn answer(&mut self) -> std::io::Result<(u16, Vec<u8>)> {
        let head = read_head(&mut self.0)?.ok_or_else(|| std::io::Error::other("closed"))?;
        let mut body = Vec::new();
        copy_body(head.response_body("GET")?, &mut self.0, &mut body, &mut Pace::new(None), &mut |_| {})?;
        Ok((head.status(), body))
    }

    fn ask(&mut self, request: &str) -> std::io::Result<(u16, Vec<u8>)> {
        self.send(request);
        self.answer()
    }

    fn get(&mut self, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: bucket.example\r\n\r\n"))
    }
}

#[test]
fn what_passes_is_not_changed_and_is_counted() {
    let proxy = before_echo(Settings::default());
    let mut client = Client::of(&proxy);
    let request = "GET /b/k HTTP/1.1\r\nHost: bucket.example\r\nX-Amz-Date: now\r\n\r\n";
    for _ in 0..3 {
        let (status, body) = client.ask(request).unwrap();
        assert_eq!((status, body), (200, request.as_bytes().to_vec()));
    }
    assert_eq!(client.get("/b/long").unwrap().1.len(), 800_000);
    let chunked = "PUT /b/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(client.ask(chunked).unwrap().0, 200);
    let down = 3 * request.len() as u64 + 800_000;
    assert_eq!(proxy.stats().of(Kind::Get), Counts { requests: 4, failed: 0, up: 0, down });
    assert_eq!(proxy.stats().of(Kind::Put).up, 5);
    assert_eq!(proxy.stats().total().requests, 5);
}

#[test]
fn a_provisional_answer_comes_before_the_body_was_sent() {
    let proxy = before_echo(Settings::default());
    let mut client = Client::of(&proxy);
    client.send("PUT /b/k HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.answer().unwrap().0, 100);
    assert_eq!(client.ask("hello").unwrap().0, 200);
}

#[test]
fn latency_and_rate_are_kept() {
    let far = Settings { latency: Duration::from_millis(50), rate: Some(4_000_000), ..Settings::default() };
    let proxy = before_echo(far);
    let mut client = Client::of(&proxy);
    let begun = Instant::now();
    client.send("GET /b/long HTTP/1.1\r\n\r\n");
    client.0.fill_buf().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(client.answer().unwrap().1.len(), 800_000);
    // 800,000 bytes at 4 MB/s.
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
}

#[test]
fn a_share_of_requests_is_refused_and_the_server_does_not_see_them() {
    let proxy = before_echo(Settings { refuse: 1.0, ..Settings::default() });
    let mut client = Client::of(&proxy);
    let (status, body) = client.ask("PUT /b/k HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert_eq!(status, 503);
    assert!(String::from_utf8(body).unwrap().contains("<Code>SlowDown</Code>"));
    assert_eq!(proxy.stats().of(Kind::Put), Counts { requests: 1, failed: 1, up: 0, down: 0 });
    // The connection goes on.
    proxy.set(Settings::default());
    assert_eq!(client.get("/b/k").unwrap().0, 200);
}

#[test]
fn a_cut_answer_announces_all_and_brings_half() {
    let proxy = before_echo(Settings { cut: 1.0, ..Settings::default() });
    let mut client = Client::of(&proxy);
    client.send("GET /b/long HTTP/1.1\r\n\r\n");
    let head = read_head(&mut client.0).unwrap().unwrap();
    assert_eq!(head.response_body("GET").unwrap(), Body::Length(800_000));
    let mut body = Vec::new();
    client.0.read_to_end(&mut body).unwrap();
    assert_eq!(body.len(), 400_000);
}

#[test]
fn a_store_that_is_off_closes_connections_or_leaves_them_hanging() {
    let proxy = before_echo(Settings { off: Off::Refuse, ..Settings::default() });
    assert!(Client::of(&proxy).get("/b/k").is_err());
    proxy.set(Settings { off: Off::Hang, ..Settings::default() });
    let mut hanging = Client::of(&proxy);
    hanging.send("GET /b/k HTTP/1.1\r\n\r\n");
    hanging.0.get_ref().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let silence = hanging.0.fill_buf().unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    hanging.0.get_ref().set_read_timeout(None).unwrap();
    // What hung was never answered; what comes later is.
    proxy.set(Settings::default());
    assert!(hanging.answer().is_err());
    assert_eq!(Client::of(&proxy).get("/b/k").unwrap().0, 200);
    assert_eq!(proxy.stats().of(Kind::Get).failed, 2);
}

#[test]
fn it_is_asked_and_changed_over_http() {
    let proxy = before_echo(Settings::default());
    let mut client = Client::of(&proxy);
    client.get("/b/k").unwrap();
    let text = String::from_utf8(client.get("/__proxy/stats").unwrap().1).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["get"]["requests"], 1);
    assert_eq!(json["total"]["failed"], 0);
    assert_eq!(client.ask("POST /__proxy/reset HTTP/1.1\r\n\r\n").unwrap().0, 200);
    assert_eq!(proxy.stats().total(), Counts::default());
    let set = "POST /__proxy/set?latency_ms=7&rate=0 HTTP/1.1\r\n\r\n";
    assert_eq!(client.ask(set).unwrap().0, 200);
    assert_eq!(proxy.settings().latency, Duration::from_millis(7));
    assert_eq!(client.ask("POST /__proxy/set?speed=7 HTTP/1.1\r\n\r\n").unwrap().0, 400);
    assert_eq!(client.get("/__proxy/else").unwrap().0, 404);
}

#[test]
fn the_end_of_the_proxy_is_the_end_of_its_connections() {
    let proxy = before_echo(Settings { off: Off::Hang, ..Settings::default() });
    let mut client = Client::of(&proxy);
    client.send("GET /b/k HTTP/1.1\r\n\r\n");
    drop(proxy);
    assert!(client.answer().is_err());
}
