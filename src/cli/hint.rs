//! Which command to run next after which error: the one place that turns errors of the engine into advice.
//!
//! The engine's message says what happened and why; here is added what a person can do about it. A hint names a whole
//! command that can be copied, with the repository as it was typed.

use std::borrow::Cow;
use std::path::Path;

use crate::daemon::mount::{FS_TYPE, MountError, MountFlags};
use crate::daemon::{DaemonError, Failure, FailureKind};
use crate::repo::RepoError;
use crate::store::{StoreError, StoreErrorKind};
use crate::types::{RefKind, RepoUrl};

use super::error::{CliError, Exit};

/// What to do about a damaged or missing object.
const RESTORE: &str = "everything that does not need this object still reads; restore it from the bucket's versions or from \
                       a copy (docs/operating.md, \"Damage\"), then run the command again";

/// The same for the one object that everything needs.
const RESTORE_FORMAT: &str = "nothing in the repository reads without it, and nothing else is lost: restore it from the \
                              bucket's versions or from a copy (docs/operating.md, \"Damage\"); it cannot be made anew";

const UPGRADE: &str = "install a newer atfs; this one changed nothing";

const WENT_BACK: &str = "somebody removed records, or the store shows an old state: restore the bucket's newest versions \
                         before anything is written (docs/operating.md, \"A branch went back\")";

/// Attaches what a person needs to an error of the engine.
pub(super) trait Explain<T> {
    /// The error, explained for commands about the repository `url`.
    fn explain(self, url: &RepoUrl) -> Result<T, CliError>;
}

impl<T> Explain<T> for Result<T, RepoError> {
    fn explain(self, url: &RepoUrl) -> Result<T, CliError> {
        self.map_err(|error| repo_error(error, url))
    }
}

impl<T> Explain<T> for Result<T, StoreError> {
    fn explain(self, url: &RepoUrl) -> Result<T, CliError> {
        self.map_err(|error| repo_error(error.into(), url))
    }
}

impl<T> Explain<T> for Result<T, DaemonError> {
    fn explain(self, url: &RepoUrl) -> Result<T, CliError> {
        self.map_err(|error| {
            let hints = daemon_hints(&error, url);
            let explained = CliError::failed(error.to_string()).caused_by(error);
            hints.into_iter().fold(explained, CliError::hint)
        })
    }
}

fn repo_error(error: RepoError, url: &RepoUrl) -> CliError {
    let exit = match &error {
        RepoError::Conflict { .. } => Exit::Conflict,
        RepoError::OutcomeUnknown { .. } => Exit::Unknown,
        _ => Exit::Failed,
    };
    let hints = hints(&error, url);
    let explained = match error {
        // Every path on a line of its own: there may be thousands, and a script reads them.
        RepoError::Conflict { branch, paths } => {
            let list: Vec<String> = paths.iter().map(|path| format!("\n{path}")).collect();
            let were = if paths.len() == 1 { "path was" } else { "paths were" };
            let head =
                format!("{} {were} changed on {branch} meanwhile; nothing was committed:", paths.len());
            CliError::new(exit, head + &list.concat())
        }
        other => CliError::new(exit, other.to_string()).caused_by(other),
    };
    hints.into_iter().fold(explained, CliError::hint)
}

fn hints(error: &RepoError, url: &RepoUrl) -> Vec<String> {
    let at = quoted(&url.to_string()).into_owned();
    let one = |hint: String| vec![hint];
    match error {
        RepoError::Store(error) => store_hints(error, url),
        RepoError::Damaged { object, .. } | RepoError::Missing { object, .. } => one(restore(object).into()),
        RepoError::NewerFormat { .. } => one(UPGRADE.into()),
        RepoError::NotARepository(_) => {
            one(format!("check the address; `atfs init {at}` makes a repository there"))
        }
        RepoError::AlreadyInitialised(_) => one(format!("`atfs branch {at} list` shows what is in it")),
        RepoError::NoSuchRef { kind, .. } => one(format!("`atfs {} {at} list` shows what there is", kind.noun())),
        RepoError::UnknownRevision { .. } => {
            one(format!("`atfs branch {at} list` and `atfs tag {at} list` show what there is"))
        }
        RepoError::AmbiguousPrefix { .. } => one("give more digits of the id".into()),
        RepoError::RefExists { kind, name, .. } => {
            let noun = kind.noun();
            let mut hints = one(format!("choose another name, or first `atfs {noun} {at} delete {name}`"));
            if *kind == RefKind::Branch {
                hints.insert(0, format!("`atfs log {at}@{name}` shows what is on it"));
            }
            hints
        }
        RepoError::WentBack { .. } => one(WENT_BACK.into()),
        RepoError::RefMoved { name, .. } => {
            one(format!("look at `atfs log {at}@{name}`; if it may go, run the command again"))
        }
        RepoError::NoSuchPath { path, revision } => {
            let parent = path.parent().filter(|parent| !parent.is_root());
            let shown = parent.map_or_else(String::new, |parent| format!(":{parent}"));
            let address = format!("{url}@{revision}{shown}");
            one(format!("`atfs ls {}` shows what there is", quoted(&address)))
        }
        RepoError::Conflict { branch, .. } => vec![
            format!("`atfs log {at}@{branch}` shows who changed them"),
            "to overwrite those changes, run the command again: it then begins at the new head".into(),
        ],
        RepoError::OutcomeUnknown { .. } => {
            one(format!("run `atfs branch {at} list` when the store answers again: it looks, and says what happened"))
        }
        RepoError::Local { action: "reading" | "listing" | "reading the attributes of", source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            one("nothing was committed; run the command as somebody who may read it, or give the other paths one by one".into())
        }
        RepoError::Busy { .. } => one("nothing was changed; run the command again later".into()),
        RepoError::UnsafeStore { .. } => one(
            "use a store with conditional writes (If-None-Match), such as AWS S3, Ceph or MinIO, and no bucket versioning where \
             the store then ignores conditions (docs/operating.md, \"Stores\")"
                .into(),
        ),
        _ => Vec::new(),
    }
}

fn store_hints(error: &StoreError, url: &RepoUrl) -> Vec<String> {
    let at = quoted(&url.to_string()).into_owned();
    let doctor = format!("`atfs doctor {at}`");
    let hint = match (error.kind(), url) {
        (StoreErrorKind::NoBucket, RepoUrl::S3 { bucket, .. }) => {
            format!(
                "check the name and the endpoint; {doctor} shows both; `aws s3 mb s3://{bucket}` makes a bucket"
            )
        }
        (StoreErrorKind::NoBucket, RepoUrl::Local(_)) => {
            format!("check the path; `atfs init {at}` makes a repository there")
        }
        (StoreErrorKind::Denied, RepoUrl::S3 { .. }) => {
            format!(
                "ask for s3:GetObject and s3:ListBucket there, and to write for s3:PutObject; {doctor} shows who you are"
            )
        }
        (StoreErrorKind::Denied, RepoUrl::Local(path)) => {
            format!("look at its owner and mode: `ls -ld {}`", quoted(&path.to_string_lossy()))
        }
        (StoreErrorKind::Credentials, _) if error.detail().contains("RequestTimeTooSkewed") => {
            format!(
                "set this machine's clock: `timedatectl set-ntp true`; {doctor} compares it with the store's"
            )
        }
        (StoreErrorKind::Credentials, _) => format!(
            "log in again (such as `aws sso login`) or set AWS_PROFILE or AWS_ACCESS_KEY_ID; {doctor} shows where credentials \
             come from"
        ),
        (StoreErrorKind::Unreachable, _) => {
            format!(
                "check the network and the endpoint (--endpoint-url, AWS_ENDPOINT_URL); {doctor} tests both"
            )
        }
        (StoreErrorKind::NoSpace, _) => {
            "free space on that disk; nothing was changed; then run the command again".into()
        }
        (StoreErrorKind::Unsupported | StoreErrorKind::BadAnswer, _) => {
            format!("check that the endpoint is an S3 server; {doctor} tests it")
        }
        _ if error.is_transient() => format!("run the command again; {doctor} tests the store"),
        _ => format!("{doctor} tests the store"),
    };
    vec![hint]
}

fn daemon_hints(error: &DaemonError, url: &RepoUrl) -> Option<String> {
    let shown = |path: &Path| quoted(&path.to_string_lossy()).into_owned();
    Some(match error {
        DaemonError::Mount(error) => return mount_hints(error),
        DaemonError::Refused(failure) => return refused_hints(failure, url),
        DaemonError::Folder { .. } => {
            "name a folder of your own with --cache-dir or ATFS_CACHE_DIR; `atfs doctor` tests it".into()
        }
        DaemonError::Taken { .. } => {
            "`atfs mounts` shows what it serves; without -f the mount is made by it".into()
        }
        DaemonError::NotStarted { log, .. } => format!("`tail {}`", shown(log)),
        DaemonError::NoAnswer { .. } | DaemonError::BadAnswer { .. } => {
            "`atfs mounts` asks it again; `atfs umount --all` takes its mounts away, and then it ends".into()
        }
        DaemonError::Unresponsive { .. } => {
            format!("`atfs doctor {}` tests the store", quoted(&url.to_string()))
        }
    })
}

fn mount_hints(error: &MountError) -> Option<String> {
    let shown = |path: &Path| quoted(&path.to_string_lossy()).into_owned();
    Some(match error {
        MountError::Missing { path } => format!("`mkdir -p {}`", shown(path)),
        MountError::NotADirectory { .. } => "a mount needs a directory".into(),
        MountError::NotEmpty { .. } => {
            "choose an empty directory, or hide its files while mounted with --nonempty".into()
        }
        MountError::AlreadyMounted { path, fs_type, .. } if fs_type == FS_TYPE => {
            format!("`atfs umount {}` first", shown(path))
        }
        MountError::AlreadyMounted { .. } => "choose another directory".into(),
        MountError::NotMounted { .. } => "`atfs mounts` shows what is mounted".into(),
        MountError::Busy { path, .. } => {
            let path = shown(path);
            format!("end those programs, wait for them with `atfs umount --timeout 60 {path}`, or `atfs umount --lazy {path}`")
        }
        MountError::NoDevice { .. } => {
            "`modprobe fuse`; in a container: `--device /dev/fuse --cap-add SYS_ADMIN`; `atfs doctor` tests it".into()
        }
        MountError::Fusermount { message, .. } if message.contains("allow_other") => {
            "add the line `user_allow_other` to /etc/fuse.conf, or mount as root".into()
        }
        MountError::Confined { .. } => {
            "start the container with `--cap-add SYS_ADMIN --device /dev/fuse`; `atfs doctor` tests both".into()
        }
        // The helper opens it with the rights of its caller.
        MountError::Fusermount { message, .. } if message.contains(MountFlags::DEVICE) => {
            format!("`chmod 666 {}` as root, or join its group; `atfs doctor` tests it", MountFlags::DEVICE)
        }
        MountError::Fusermount { message, .. } if message.contains("username") => {
            "fusermount3 serves users that have a name: add this uid to /etc/passwd, or mount as root".into()
        }
        MountError::NotPermitted { .. } | MountError::DeviceDenied { .. } | MountError::Fusermount { .. } => {
            "`apt install fuse3`, or mount as root; `atfs doctor` tests both".into()
        }
        _ => return None,
    })
}

/// The daemon has met the error; its kind is what came through the socket.
fn refused_hints(failure: &Failure, url: &RepoUrl) -> Option<String> {
    let at = quoted(&url.to_string()).into_owned();
    Some(match failure.kind {
        FailureKind::Version => {
            "the daemon that runs is of another version: `atfs umount --all`, then mount again".into()
        }
        FailureKind::Stopping => "run the command again".into(),
        FailureKind::NotARepository => {
            format!("check the address; `atfs init {at}` makes a repository there")
        }
        FailureKind::UnknownRevision => {
            format!("`atfs branch {at} list` and `atfs tag {at} list` show what there is")
        }
        FailureKind::AmbiguousPrefix => "give more digits of the id".into(),
        FailureKind::Denied | FailureKind::Credentials | FailureKind::Unreachable | FailureKind::NoBucket => {
            format!("`atfs doctor {at}` tests address, credentials and rights")
        }
        FailureKind::NotS3 => format!("check that the endpoint is an S3 server; `atfs doctor {at}` tests it"),
        FailureKind::Damaged => restore(&failure.message).into(),
        FailureKind::NewerFormat => UPGRADE.into(),
        FailureKind::WentBack => WENT_BACK.into(),
        _ => return None,
    })
}

/// What to do about a damaged or missing object; `text` begins with its key.
fn restore(text: &str) -> &'static str {
    if text.starts_with("format.json") { RESTORE_FORMAT } else { RESTORE }
}

/// `text` as a shell takes it for one word.
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-:@+=%,~^".contains(&b) || b >= 0x80;
    if !text.is_empty() && text.bytes().all(plain) && !text.starts_with('~') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{RefName, RepoPath};

    fn rendered(error: RepoError) -> String {
        let url: RepoUrl = "s3://bucket/slides".parse().unwrap();
        Err::<(), _>(error).explain(&url).unwrap_err().render(false)
    }

    #[test]
    fn a_hint_can_be_copied() {
        for (text, word) in [
            ("s3://bucket/slides@main:a", "s3://bucket/slides@main:a"),
            ("/srv/my data@main", "'/srv/my data@main'"),
            ("it's", r"'it'\''s'"),
            ("~user/x", "'~user/x'"),
            ("x@main@{3}", "'x@main@{3}'"),
            ("$(rm)", "'$(rm)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }

    #[test]
    fn wording() {
        let path = |text: &str| RepoPath::new(text).unwrap();
        assert_eq!(
            rendered(RepoError::NoSuchPath { path: path("a/b c/d"), revision: "main".into() }),
            "error: a/b c/d does not exist in main\nhint: `atfs ls 's3://bucket/slides@main:a/b c'` shows what there is"
        );
        let main = RefName::new("main").unwrap();
        let error = RepoError::Conflict { branch: main, paths: vec![path("a"), path("b/\x1b[2J")] };
        let explained = Err::<(), _>(error).explain(&"/r".parse().unwrap()).unwrap_err();
        assert_eq!(explained.exit(), Exit::Conflict);
        assert_eq!(
            explained.render(false),
            "error: 2 paths were changed on main meanwhile; nothing was committed:\n  a\n  b/\\x1b[2J\n\
             hint: `atfs log /r@main` shows who changed them\n\
             hint: to overwrite those changes, run the command again: it then begins at the new head"
        );
        let denied =
            StoreError::new(StoreErrorKind::Denied, "get", "format.json", "s3://bucket/slides", "403");
        assert_eq!(
            rendered(denied.into()),
            "error: get of \"format.json\" in s3://bucket/slides: 403\n\
             hint: ask for s3:GetObject and s3:ListBucket there, and to write for s3:PutObject; `atfs doctor \
             s3://bucket/slides` shows who you are"
        );
    }
}
