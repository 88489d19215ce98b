//! Descriptors that travel over a Unix socket beside bytes (SCM_RIGHTS).
//!
//! An `unsafe` of its own: taking ownership of the numbers that the kernel has just put into this process.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Sends as many of `bytes` as the socket takes, at least one, with `descriptor` attached to the first.
///
/// # Errors
/// The peer is gone, or the socket's time limit has passed.
pub(super) fn send(
    socket: &UnixStream,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let numbers: Vec<RawFd> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let attached = if numbers.is_empty() { &[][..] } else { &rights[..] };
    // No SIGPIPE for a peer that is gone: an error is enough.
    Ok(sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], attached, MsgFlags::MSG_NOSIGNAL, None)?)
}

/// Receives up to `buffer.len()` bytes and the descriptor that came with them. 0 bytes: the peer has closed. Every
/// further descriptor is closed at once.
///
/// # Errors
/// As [`send`].
pub(super) fn receive(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut slices = [IoSliceMut::new(buffer)];
    loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        let mut owned = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: recvmsg has just installed these descriptors for this call; nobody else knows them, so each
                // has exactly one owner from here on.
                owned.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
        }
        return Ok((message.bytes, owned.into_iter().next()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_file_arrives_with_the_bytes() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"through").unwrap();
        assert_eq!(send(&a, b"line\n", Some(file.as_fd())).unwrap(), 5);
        let mut buffer = [0; 64];
        let (n, descriptor) = receive(&b, &mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"line\n");
        let mut arrived = File::from(descriptor.unwrap());
        arrived.rewind().unwrap();
        let mut text = String::new();
        arrived.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        drop(a);
        assert!(matches!(receive(&b, &mut buffer), Ok((0, None))));
        assert!(send(&b, b"x", None).is_err(), "no SIGPIPE, an error");
    }
}
