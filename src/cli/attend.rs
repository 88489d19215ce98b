//! `atfs mount --wait`: a process that stands for a mount, for service managers. It lives as long as the mount, unmounts it
//! when it is told to stop, and fails when the daemon behind it dies, so that the manager starts it again.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::daemon::mount::{MountError, Unmount};
use crate::daemon::{Attended, DaemonError, client, notify};

use super::app::App;
use super::error::CliError;
use super::umount::when_idle;

/// How long programs that use the mount are waited for when it is to be taken away; then it is detached from them.
/// systemd waits 90 s by default before it kills.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stays until the mount on `place` is gone.
///
/// # Errors
/// The daemon that served it is gone.
pub(super) async fn attend(cache_dir: &Path, place: &Path, app: &App) -> Result<(), CliError> {
    let failed = |e| CliError::failed("signals cannot be waited for").caused_by(e);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tell(&format!("READY=1\nSTATUS=mounted on {}", place.display()), app);
    let watch = {
        let (cache_dir, place) = (cache_dir.to_owned(), place.to_owned());
        tokio::task::spawn_blocking(move || client::attend(&cache_dir, &place))
    };
    tokio::select! {
        ended = watch => match ended.map_err(|e| CliError::failed(e.to_string()))? {
            Ok(Attended::Unmounted) => {
                app.out.note(format!("{} was unmounted", place.display()));
                Ok(())
            }
            Ok(Attended::DaemonDied) => Err(dead(place)),
            Err(error) => Err(CliError::failed(error.to_string())),
        },
        _ = terminate.recv() => take_away(cache_dir, place, app),
        _ = interrupt.recv() => take_away(cache_dir, place, app),
    }
}

fn dead(place: &Path) -> CliError {
    let place = place.display();
    CliError::failed(format!("the daemon that served {place} is gone, and the mount with it"))
        .hint("its log says why (`atfs doctor` names the file); `atfs mount` makes the mount anew")
}

/// Unmounts when nobody uses it any more, and in any case within [`PATIENCE`].
fn take_away(cache_dir: &Path, place: &Path, app: &App) -> Result<(), CliError> {
    tell("STOPPING=1", app);
    let done = match when_idle(cache_dir, place, Instant::now() + PATIENCE, app) {
        Err(DaemonError::Mount(MountError::Busy { .. })) => client::unmount(cache_dir, place, Unmount::Lazy),
        done => done,
    };
    match done {
        Ok(()) | Err(DaemonError::Mount(MountError::NotMounted { .. })) => Ok(()),
        Err(error) => Err(CliError::failed(error.to_string())),
    }
}

fn tell(state: &str, app: &App) {
    if let Err(error) = notify(state) {
        app.out.note(format!("the service manager cannot be told: {error}"));
    }
}
