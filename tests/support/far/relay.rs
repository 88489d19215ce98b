//! One client's connection.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::fault::{Fault, Off};
use super::http::{Body, Head, copy_body, read_head};
use super::pace::Pace;
use super::stats::{Kind, Outcome};
use super::{Settings, Shared, control};

/// What a socket is read by. One such buffer per direction; a GiB then costs four thousand reads.
const BUFFER: usize = 256 << 10;

/// A request that was passed on, for the thread that carries answers.
struct Passed {
    method: String,
    kind: Kind,
    fault: Fault,
    settings: Settings,
}

/// Serves a client until it, the server or a fault ends the connection.
pub(super) fn serve(client: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    shared.stats.connected();
    let server = TcpStream::connect(shared.upstream)?;
    server.set_nodelay(true)?;
    let (passed, asked) = channel();
    let answers = {
        let (client, server, shared) = (client.try_clone()?, server.try_clone()?, Arc::clone(shared));
        std::thread::spawn(move || {
            let result = carry_answers(&server, &client, &asked, &shared);
            // Whoever waits for this connection, the other thread too, must not wait for ever.
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
            // What was asked and not answered has failed.
            asked.try_iter().for_each(|request| shared.stats.ended(request.kind, Outcome::Failed));
            result
        })
    };
    let result = carry_requests(&client, &server, passed, shared);
    if result.is_err() {
        let _ = client.shutdown(Shutdown::Both);
    }
    // The answers that are under way end before this does: a client may close its sending side first.
    let _ = server.shutdown(Shutdown::Write);
    let _ = answers.join();
    result
}

fn carry_requests(
    mut client: &TcpStream,
    mut server: &TcpStream,
    passed: Sender<Passed>,
    shared: &Shared,
) -> io::Result<()> {
    let mut from = BufReader::with_capacity(BUFFER, client);
    while let Some(head) = read_head(&mut from)? {
        let body = head.request_body()?;
        let [method, target, _] = head.words();
        if target.starts_with(control::PREFIX) {
            let mut said = Vec::new();
            copy_body(body, &mut from, &mut said, &mut Pace::new(None), &mut |_| {})?;
            client.write_all(&control::answer(method, target, shared))?;
            continue;
        }
        let kind = Kind::of(&head);
        shared.stats.began(kind);
        let settings = *shared.settings();
        if settings.off != Off::No {
            shared.wait_while_hanging();
            shared.stats.ended(kind, Outcome::Failed);
            return Err(io::Error::other("the store is off"));
        }
        let number = shared.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let fault = Fault::of(number, &settings);
        if fault == Fault::Refuse {
            let mut ignored = io::sink();
            let result = copy_body(body, &mut from, &mut ignored, &mut Pace::new(None), &mut |_| {});
            shared.stats.ended(kind, Outcome::Failed);
            result?;
            std::thread::sleep(settings.latency);
            client.write_all(&control::slow_down())?;
            continue;
        }
        // Told before it is passed on: the answer may come at once.
        if passed.send(Passed { method: method.to_owned(), kind, fault, settings }).is_err() {
            shared.stats.ended(kind, Outcome::Failed);
            return Ok(());
        }
        server.write_all(&head.bytes)?;
        let mut pace = Pace::new(settings.rate);
        copy_body(body, &mut from, &mut server, &mut pace, &mut |n| shared.stats.sent_up(kind, n))?;
    }
    Ok(())
}

fn carry_answers(
    server: &TcpStream,
    client: &TcpStream,
    asked: &Receiver<Passed>,
    shared: &Shared,
) -> io::Result<()> {
    let mut from = BufReader::with_capacity(BUFFER, server);
    // Waiting for the server, not for a request, notices that it has closed an idle connection; then the client's is closed,
    // too, before it sends its next request into nowhere.
    while let Some(head) = read_head(&mut from)? {
        let Ok(request) = asked.recv() else { return Ok(()) };
        let answer = carry_answer(head, &request, &mut from, client, shared);
        let outcome = match &answer {
            Ok((_, status)) if *status < 400 => Outcome::Done,
            _ => Outcome::Failed,
        };
        shared.stats.ended(request.kind, outcome);
        if let (Then::Close, _) = answer? {
            return Ok(());
        }
    }
    Ok(())
}

/// What becomes of the connection.
enum Then {
    Keep,
    Close,
}

fn carry_answer(
    mut head: Head,
    request: &Passed,
    from: &mut BufReader<&TcpStream>,
    mut client: &TcpStream,
    shared: &Shared,
) -> io::Result<(Then, u16)> {
    while matches!(head.status(), 100..=199) {
        client.write_all(&head.bytes)?;
        head = read_head(from)?.ok_or_else(|| io::Error::other("no answer after a provisional one"))?;
    }
    let body = head.response_body(&request.method)?;
    std::thread::sleep(request.settings.latency);
    client.write_all(&head.bytes)?;
    let mut pace = Pace::new(request.settings.rate);
    let mut count = |n| shared.stats.sent_down(request.kind, n);
    if let (Fault::Cut, Body::Length(length)) = (request.fault, body) {
        copy_body(Body::Length(length / 2), &mut from.take(length / 2), &mut client, &mut pace, &mut count)?;
        return Err(io::Error::other("cut on purpose"));
    }
    copy_body(body, from, &mut client, &mut pace, &mut count)?;
    let then = if head.closes() || body == Body::UntilClose { Then::Close } else { Then::Keep };
    Ok((then, head.status()))
}
