//! The tests' proxy as a program, for `scripts/bench`:
//!
//!     proxy UPSTREAM [latency_ms=15] [rate=90000000] [refuse=0.1] [cut=0.1] [off=no|refuse|hang]
//!
//! UPSTREAM is the address and port of the server behind. It says where it listens, serves until its standard input ends,
//! and is asked and changed by requests for `/__proxy/`: see `tests/support/far/control.rs`.

#[path = "../../tests/support/far/mod.rs"]
mod proxy;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use proxy::{MARK, Proxy, Settings, unknown_setting};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(upstream) = arguments.next().and_then(|text| text.parse().ok()) else {
        eprintln!(
            "usage: proxy ADDRESS:PORT [latency_ms=15] [rate=90000000] [refuse=0.1] [cut=0.1] [off=hang]"
        );
        // `cargo bench` calls every benchmark: this one is for `scripts/bench`.
        return if std::env::args().any(|a| a == "--bench") { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    let mut settings = Settings::default();
    for part in arguments {
        if unknown_setting(&part, &mut settings).is_some() {
            eprintln!("proxy: {part:?} is no setting");
            return ExitCode::from(2);
        }
    }
    let proxy = match Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), upstream, settings) {
        Ok(proxy) => proxy,
        Err(error) => {
            eprintln!("proxy: it cannot listen: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{MARK}{}", proxy.address);
    // Whoever started it holds the other end: it cannot outlive them.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    ExitCode::SUCCESS
}
