//! The whole line as a user walks it (`init`, `add`, `mount`, read), on every kind of store, with the program and the
//! kernel and no part replaced. One binary for all of it, since linking is what these tests cost.
//!
//! By themselves they take a size that CI can afford. `ATFS_ACCEPT=full` takes more than 10,000 real files and one of
//! 2 GiB; `scripts/accept` runs that, and the measurement of a million entries, with a release build, and prints a table.

#![allow(clippy::unwrap_used)]

mod facts;
#[path = "../support/far/mod.rs"]
mod far;
mod figures;
mod million;
mod one_percent;
mod plain_reader;
mod real_tree;
mod requests;
mod sample;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod writers;
