//! The program as a stranger meets it: what it prints, where, and with which exit code. One binary for all of it,
//! since linking is what these tests cost.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod bucket;
mod cache;
mod commands;
mod damage;
mod health;
mod hostile;
mod limits;
mod machine;
mod mounting;
mod outcome;
mod reference;
mod stores;
#[path = "../support/mod.rs"]
mod support;
