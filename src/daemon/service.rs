//! One client's connection: requests in, replies out.
//!
//! It runs on a thread of its own that may wait; FUSE threads never come here. Only the user who runs the daemon, and
//! root, are answered: the socket's mode says so, and the peer's credentials are asked as well.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;

use crate::fs::{Followed, ProfileChoice, Session, View};
use crate::repo::refs::Resolved;
use crate::types::{Clock, RefKind, Revision, SystemClock};

use super::activity::Busy;
use super::caching::{cache, verify};
use super::condition::StoreCondition;
use super::mount::Device;
use super::prefetch::prefetch;
use super::protocol::{Failure, FailureKind, MountRequest, MountStatus, Reply, Request, VERSION, Versioned};
use super::registry::Served;
use super::repositories::{Opened, failure};
use super::server::Shared;
use super::wire::Connection;

/// A client that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// A client that attends a mount waits in steps of this.
const ATTEND: Duration = Duration::from_secs(3600);

/// How long a client may wait for the end of a session.
const SETTLE: Duration = Duration::from_secs(30);

/// Read-ahead of a mount in KiB: with 128 (the kernel's own) a sequential read asks for too little at a time.
const READ_AHEAD_KB: &str = "1024";

/// A mount between its two requests.
struct Prepared {
    request: MountRequest,
    view: Arc<View>,
    opened: Arc<Opened>,
}

/// Answers a client until it closes the connection.
pub(super) fn serve(shared: &Arc<Shared>, socket: UnixStream, _busy: Busy) {
    if let Err(error) = serve_requests(shared, socket) {
        tracing::debug!("a client's connection ended: {error}");
    }
}

fn serve_requests(shared: &Arc<Shared>, socket: UnixStream) -> io::Result<()> {
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    if peer.uid() != geteuid().as_raw() && peer.uid() != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("uid {} may not ask", peer.uid()),
        ));
    }
    let mut connection = Connection::new(socket, SILENCE)?;
    let mut prepared = None;
    while let Some((message, descriptor)) = connection.receive::<Versioned<serde_json::Value>>()? {
        let reply = match request(message) {
            Ok(Request::Prefetch(request)) => match view_of(shared, request.device, prepared.as_ref()) {
                Ok(view) => prefetch(shared, view, &request, &mut connection)?,
                Err(failure) => Reply::Failed(failure),
            },
            Ok(Request::CacheVerify) => verify(shared, &mut connection)?,
            Ok(request) => answer(shared, request, descriptor, &mut prepared).unwrap_or_else(Reply::Failed),
            Err(failure) => Reply::Failed(failure),
        };
        connection.send(&Versioned::new(reply), None)?;
    }
    Ok(())
}

/// What the mount shows, or what was prepared on this connection.
fn view_of(
    shared: &Shared,
    device: Option<Device>,
    prepared: Option<&Prepared>,
) -> Result<Arc<View>, Failure> {
    let view = match device {
        Some(device) => shared.registry.view(device),
        None => prepared.map(|prepared| prepared.view.clone()),
    };
    view.ok_or_else(|| Failure::new(FailureKind::BadRequest, "there is no such mount any more"))
}

fn request(message: Versioned<serde_json::Value>) -> Result<Request, Failure> {
    if message.version != VERSION {
        let text = format!(
            "the daemon speaks version {VERSION} of its protocol and this atfs version {}: unmount everything, so that \
             the daemon exits, and mount again",
            message.version
        );
        return Err(Failure::new(FailureKind::Version, text));
    }
    serde_json::from_value(message.message).map_err(|e| Failure::new(FailureKind::BadRequest, e))
}

fn answer(
    shared: &Arc<Shared>,
    request: Request,
    descriptor: Option<OwnedFd>,
    prepared: &mut Option<Prepared>,
) -> Result<Reply, Failure> {
    match request {
        Request::Prepare(request) => {
            if shared.is_stopping() {
                return Err(Failure::new(FailureKind::Stopping, "the daemon is stopping"));
            }
            let ready = shared.runtime.block_on(prepare(shared, *request))?;
            let commit = ready.view.commit();
            *prepared = Some(ready);
            Ok(Reply::Prepared { commit })
        }
        Request::Attach { device } => {
            let missing =
                |what: &str| Failure::new(FailureKind::BadRequest, format!("attach without {what}"));
            let ready = prepared.take().ok_or_else(|| missing("prepare"))?;
            attach(shared, ready, device, descriptor.ok_or_else(|| missing("a descriptor"))?)?;
            Ok(Reply::Attached)
        }
        Request::Settle { device } => match shared.registry.wait_gone(SETTLE, |mount| mount.device == device)
        {
            true => Ok(Reply::Settled),
            false => Err(Failure::new(FailureKind::Mount, "programs still have files of the mount open")),
        },
        Request::Attend { device } => {
            while !shared.registry.wait_gone(ATTEND, |mount| mount.device == device) {}
            Ok(Reply::Settled)
        }
        Request::Unpin { device } => {
            Ok(Reply::Unpinned { entries: view_of(shared, Some(device), None)?.unpin() })
        }
        Request::List => Ok(Reply::Mounts { pid: std::process::id(), mounts: mounts(shared) }),
        Request::CacheInfo => Ok(Reply::CacheInfo(Box::new(cache(shared)?.info()))),
        Request::CachePrune { bytes } => Ok(Reply::CachePruned(cache(shared)?.prune(bytes))),
        // They have several replies, and are answered above.
        Request::Prefetch(_) | Request::CacheVerify => {
            Err(Failure::new(FailureKind::BadRequest, "this request has no single answer"))
        }
        Request::Shutdown => {
            shared.stop();
            Ok(Reply::Stopping)
        }
    }
}

/// Every mount, and how it is doing.
fn mounts(shared: &Shared) -> Vec<MountStatus> {
    let cache = shared.cache.as_ref().map(|cache| cache.health());
    let mounts = shared.registry.list().into_iter();
    mounts.map(|mount| MountStatus { cache: cache.clone(), ..mount }).collect()
}

async fn prepare(shared: &Shared, request: MountRequest) -> Result<Prepared, Failure> {
    let opened = shared.repositories.open(&request.url, &request.store).await?;
    let repository = &opened.repository;
    let view = match &request.revision {
        Some(text) => {
            let revision: Revision = text.parse().map_err(|e| Failure::new(FailureKind::BadRequest, e))?;
            let resolved = repository.resolve(&revision).await.map_err(|e| failure(&e))?;
            let snapshot = repository.snapshot(&resolved);
            // The first `ls` then waits for leaves only; and a commit without its tree is refused here.
            snapshot.warm().await.map_err(|e| failure(&e))?;
            let (url, cache) = (request.url.clone(), shared.cache.clone());
            match request.follow {
                None => View::of_commit(snapshot, url, text.clone(), request.owner, cache),
                Some(interval) => {
                    can_follow(&revision, &resolved, request.profile)?;
                    View::following(snapshot, url, revision, request.owner, cache, interval)
                }
            }
        }
        None if request.follow.is_some() => {
            let text =
                "a mount of the whole repository follows nothing: mount one branch, as REPOSITORY@BRANCH";
            return Err(Failure::new(FailureKind::BadRequest, text));
        }
        None => {
            let name = match repository.name().await.map_err(|e| failure(&e))? {
                Some(name) => name.to_string(),
                None => opened.url.name(),
            };
            View::of_repository(
                repository.clone(),
                request.url.clone(),
                &name,
                request.owner,
                shared.cache.clone(),
            )
        }
    };
    Ok(Prepared { request, view: Arc::new(view), opened })
}

/// Only a branch moves; a tag, an id and `main~2` are one commit for ever.
fn can_follow(revision: &Revision, resolved: &Resolved, profile: ProfileChoice) -> Result<(), Failure> {
    if profile == ProfileChoice::SmallFiles {
        let text = "a mount that follows a branch must see opens: the profile smallfiles is for one commit";
        return Err(Failure::new(FailureKind::BadRequest, text));
    }
    let is_branch = resolved.via.as_ref().is_some_and(|via| via.kind == RefKind::Branch);
    if is_branch && revision.steps.is_empty() {
        return Ok(());
    }
    let text = format!("{revision} is one commit for ever: only a branch can be followed");
    Err(Failure::new(FailureKind::BadRequest, text))
}

/// Keeps a mount at the head of its branch, until the mount is gone.
async fn follow(view: Weak<View>, period: Duration, place: PathBuf) {
    let mut trouble = false;
    loop {
        tokio::time::sleep(period).await;
        let Some(view) = view.upgrade() else { return };
        match view.follow().await {
            Ok(followed) => {
                if let (Followed::Moved, Some(commit)) = (followed, view.commit()) {
                    tracing::info!(mount_point = %place.display(), %commit, "moved with its branch");
                }
                trouble = false;
            }
            // Said once: the mount goes on showing what it shows, and asks again.
            Err(error) if !trouble => {
                trouble = true;
                let shown = view.commit().map_or_else(String::new, |commit| commit.short());
                tracing::warn!(
                    mount_point = %place.display(),
                    "where the branch is cannot be learnt; the mount stays at {shown} until it can: {error}"
                );
            }
            Err(_) => {}
        }
    }
}

fn attach(shared: &Arc<Shared>, ready: Prepared, device: Device, descriptor: OwnedFd) -> Result<(), Failure> {
    let failed =
        |e: io::Error| Failure::new(FailureKind::Mount, format!("the mount could not be served: {e}"));
    let Prepared { request, view, opened } = ready;
    let profile = request.profile.decide(view.totals());
    let session = Session::begin(view.clone(), descriptor, shared.serve_options(profile)).map_err(failed)?;
    // Without the right to do it (not root) reads are only slower.
    let _ =
        fs::write(format!("/sys/class/bdi/{}:{}/read_ahead_kb", device.major, device.minor), READ_AHEAD_KB);
    let status = MountStatus {
        mount_point: request.mount_point,
        device,
        url: request.url,
        revision: request.revision,
        commit: view.commit(),
        profile,
        follow: request.follow,
        since: SystemClock.now(),
        counters: Default::default(),
        store: StoreCondition::default(),
        cache: None,
    };
    let place = status.mount_point.clone();
    tracing::info!(mount_point = %place.display(), url = status.url, revision = status.revision, %profile, "mounted");
    if let Some(period) = view.follow_period() {
        shared.runtime.spawn(follow(Arc::downgrade(&view), period, place.clone()));
    }
    shared.registry.add(Served { status, view, opened, _busy: shared.activity.begin() });
    let of_thread = shared.clone();
    let run = move || {
        let ended = session.run();
        match ended {
            Ok(()) => tracing::info!(mount_point = %place.display(), "unmounted"),
            Err(error) => {
                tracing::error!(mount_point = %place.display(), "the mount's session failed: {error}")
            }
        }
        of_thread.registry.remove(device);
    };
    if let Err(error) = std::thread::Builder::new().name("atfs-session".into()).spawn(run) {
        shared.registry.remove(device);
        return Err(failed(error));
    }
    Ok(())
}
