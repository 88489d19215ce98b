//! Telling a service manager how far we are, as sd_notify(3) does: one datagram to the socket it names.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says `state` (`READY=1`, `STATUS=...`, `STOPPING=1`; several are lines) to the service manager that started this process;
/// to nobody where there is none.
///
/// # Errors
/// The manager's socket cannot be reached.
pub fn notify(state: &str) -> io::Result<()> {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty()) else {
        return Ok(());
    };
    // `@` stands for the NUL of a socket that has a name and no file.
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}
