//! The mounts that this daemon serves.
//!
//! A mount is in the registry from before its client hears of it until its session has ended, whoever ended it: an
//! unmount by us, by `umount`, by `fusermount3 -u`. The list on disk follows every change.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::fs::View;

use super::activity::Busy;
use super::condition::StoreCondition;
use super::mount::Device;
use super::protocol::MountStatus;
use super::record::{self, Recorded};
use super::repositories::Opened;

/// One mount that is served.
#[derive(Debug)]
pub(super) struct Served {
    /// What is shown of it; the counters are filled in when asked for.
    pub(super) status: MountStatus,
    /// What it shows.
    pub(super) view: Arc<View>,
    /// Keeps the repository among the shared ones, and tells how its store is doing.
    pub(super) opened: Arc<Opened>,
    /// Keeps the daemon from exiting for want of work.
    pub(super) _busy: Busy,
}

/// All of them, in the order of mounting.
#[derive(Debug)]
pub(super) struct Registry {
    served: Mutex<Vec<Served>>,
    gone: Condvar,
    file: PathBuf,
}

impl Registry {
    /// None yet; the list on disk is `file`.
    pub(super) fn new(file: PathBuf) -> Self {
        let registry = Self { served: Mutex::default(), gone: Condvar::new(), file };
        registry.write(&[]);
        registry
    }

    /// Adds a mount.
    pub(super) fn add(&self, mount: Served) {
        let mut served = self.lock();
        served.push(mount);
        self.write(&served);
    }

    /// Removes a mount whose session has ended.
    pub(super) fn remove(&self, device: Device) {
        let mut served = self.lock();
        served.retain(|mount| mount.status.device != device);
        self.write(&served);
        drop(served);
        self.gone.notify_all();
    }

    /// What the mount with this device number shows.
    pub(super) fn view(&self, device: Device) -> Option<Arc<View>> {
        let served = self.lock();
        served.iter().find(|mount| mount.status.device == device).map(|mount| mount.view.clone())
    }

    /// Every mount with its counters and its store's.
    pub(super) fn list(&self) -> Vec<MountStatus> {
        let with_counters = |mount: &Served| MountStatus {
            commit: mount.view.commit(),
            counters: mount.view.counters(),
            store: StoreCondition::of(&mount.opened.monitor),
            ..mount.status.clone()
        };
        self.lock().iter().map(with_counters).collect()
    }

    /// Waits until no mount that `still` tells is served, or `limit` has passed. Says whether none is.
    pub(super) fn wait_gone(&self, limit: Duration, still: impl Fn(&MountStatus) -> bool) -> bool {
        let end = Instant::now() + limit;
        let mut served = self.lock();
        while served.iter().any(|mount| still(&mount.status)) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            served = self.gone.wait_timeout(served, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        true
    }

    fn write(&self, served: &[Served]) {
        let recorded = |mount: &Served| Recorded {
            mount_point: mount.status.mount_point.clone(),
            device: mount.status.device,
        };
        let list: Vec<Recorded> = served.iter().map(recorded).collect();
        if let Err(error) = record::write(&self.file, &list) {
            // Only the cleaning after a kill depends on it.
            tracing::warn!("{} could not be written: {error}", self.file.display());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Served>> {
        self.served.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
