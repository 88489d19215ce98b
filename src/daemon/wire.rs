//! One line of JSON each way, with a descriptor attached where one belongs to it.
//!
//! A connection carries whole messages or ends: a line is at most [`MAX_LINE`] bytes, every wait has the time limit
//! that the socket was given. A line that carries a descriptor begins with `@`: the kernel may deliver a descriptor
//! together with the bytes of earlier lines, so its place among the bytes says nothing.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::descriptor;

/// Longest line: a mount request with its environment has a few KiB, a list of a thousand mounts some 500 KiB.
const MAX_LINE: usize = 4 << 20;

/// What a line with a descriptor begins with; no JSON does.
const MARK: u8 = b'@';

/// One end of a control connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
    received: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Connection {
    /// A connection that waits at most `limit` for the peer, each time.
    ///
    /// # Errors
    /// The socket refuses the time limit.
    pub(super) fn new(socket: UnixStream, limit: Duration) -> io::Result<Self> {
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))?;
        Ok(Self { socket, received: Vec::new(), descriptors: VecDeque::new() })
    }

    /// From now on the peer may take as long as it likes to say something.
    ///
    /// # Errors
    /// The socket refuses.
    pub(super) fn wait_for_ever(&self) -> io::Result<()> {
        self.socket.set_read_timeout(None)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The peer is gone or does not read.
    pub(super) fn send(
        &mut self,
        message: &impl Serialize,
        mut descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut line = if descriptor.is_some() { vec![MARK] } else { Vec::new() };
        serde_json::to_writer(&mut line, message)?;
        line.push(b'\n');
        let mut rest = &line[..];
        while !rest.is_empty() {
            let sent = descriptor::send(&self.socket, rest, descriptor.take())?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    /// Receives a message; `None` when the peer has closed before it began one.
    ///
    /// # Errors
    /// Time limit, a line cut short or too long, text that is no such message.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut buffer = [0; 16 << 10];
        let end = loop {
            if let Some(end) = self.received.iter().position(|b| *b == b'\n') {
                break end;
            }
            if self.received.len() > MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
            }
            let (count, descriptor) = descriptor::receive(&self.socket, &mut buffer)?;
            if count == 0 {
                return match self.received.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            self.received.extend_from_slice(&buffer[..count]);
            self.descriptors.extend(descriptor);
        };
        let line: Vec<u8> = self.received.drain(..=end).collect();
        let (line, descriptor) = match line.strip_prefix(&[MARK]) {
            Some(rest) => (rest, self.descriptors.pop_front()),
            None => (&line[..], None),
        };
        Ok(Some((serde_json::from_slice(line)?, descriptor)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn pair() -> (Connection, Connection) {
        let (a, b) = UnixStream::pair().unwrap();
        let limit = Duration::from_secs(5);
        (Connection::new(a, limit).unwrap(), Connection::new(b, limit).unwrap())
    }

    #[test]
    fn messages_keep_their_order_and_their_descriptors() {
        let (mut a, mut b) = pair();
        let file = tempfile::tempfile().unwrap();
        a.send(&"first", None).unwrap();
        a.send(&"second", Some(file.as_fd())).unwrap();
        a.send(&"x".repeat(100_000), None).unwrap();
        let (text, descriptor) = b.receive::<String>().unwrap().unwrap();
        assert_eq!((text.as_str(), descriptor.is_some()), ("first", false));
        let (text, descriptor) = b.receive::<String>().unwrap().unwrap();
        assert_eq!((text.as_str(), descriptor.is_some()), ("second", true));
        let (text, descriptor) = b.receive::<String>().unwrap().unwrap();
        assert_eq!((text.len(), descriptor.is_some()), (100_000, false));
        drop(a);
        assert!(b.receive::<String>().unwrap().is_none());
    }

    #[test]
    fn garbage_and_silence_are_errors() {
        let (mut a, mut b) = pair();
        a.socket.write_all(b"not json\n\"cut").unwrap();
        assert!(b.receive::<String>().is_err());
        drop(a);
        assert_eq!(b.receive::<String>().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (_a, b) = pair();
        let mut b = Connection::new(b.socket, Duration::from_millis(20)).unwrap();
        assert!(b.receive::<String>().is_err(), "a silent peer costs the limit, not for ever");
    }
}
