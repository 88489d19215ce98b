//! What several test programs share. Each uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod canned;
pub mod model;
pub mod proxy;
pub mod python;
pub mod required;
pub mod servers;
