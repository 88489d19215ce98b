//! The parts of the chaos test: who reads, who breaks things, who watches.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod dice;
pub mod disk;
pub mod driver;
pub mod reader;
pub mod watch;
