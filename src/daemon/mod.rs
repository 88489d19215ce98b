//! One process per cache directory: it serves the mounts that clients make.
//!
//! - `client`: what the commands call. It mounts and unmounts; `mount` has the system calls.
//! - `launch`: starting the daemon in the background. `folder`: lock, socket, log, list of mounts.
//! - `protocol`, `wire`, `descriptor`: what client and daemon say, as lines of JSON with a descriptor attached.
//! - `notify`: what a service manager is told. `server`: the daemon's life. `service`: one client's connection. `prefetch`: files into the cache, for a client. `registry`: what is served. `repositories`: opened
//!   once, shared by mounts.
//! - `condition`: how stores are doing. `record`: what a killed daemon has left. `space`: how much of the disk the cache may
//!   take; `caching`: what clients ask about it. `memory`: how little of it is kept.
//!
//! The life of a mount: the client asks the daemon to *prepare* (open the repository, pin the commit), mounts, hands the
//! FUSE descriptor over with *attach*, and asks the mount itself before it reports success. Whoever fails after the
//! mount unmounts. The end of a mount is the end of its session, whoever unmounted.

mod activity;
mod caching;
pub mod client;
mod condition;
mod descriptor;
mod error;
mod folder;
mod launch;
mod logging;
mod memory;
pub mod mount;
mod notify;
mod path_text;
mod prefetch;
mod protocol;
mod record;
mod registry;
mod repositories;
mod server;
mod service;
mod space;
mod wire;

pub use client::Attended;
pub use condition::{StoreCondition, StoreTrouble};
pub use error::DaemonError;
pub use folder::Folder;
pub use launch::{Launch, serve_detached, serve_managed};
pub use logging::LogTarget;
pub use notify::notify;
pub use protocol::{Failure, FailureKind, MountStatus, StoreAccess};
pub use server::{DaemonConfig, Server};
pub use space::{DiskSpace, cache_options};
