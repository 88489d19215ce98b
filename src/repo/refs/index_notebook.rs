//! The notebook of a real machine: files in the state directory of the node's index, shared by all its processes.

use std::io;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use crate::meta::{Index, MetaError, Namespace};
use crate::types::{RepoUuid, Timestamp};

use super::{Anchor, Attempt, Notebook};

const ANCHORS: Namespace = Namespace::new("anchors");
const PROBES: Namespace = Namespace::new("probes");

/// Notes kept beside the index.
#[derive(Debug)]
pub struct IndexNotebook(Index);

impl IndexNotebook {
    /// Notes beside `index`.
    pub fn new(index: Index) -> Self {
        Self(index)
    }
}

/// Named by uuid, not by place: a repository that moved keeps its anchors, one that was replaced has none.
fn anchor_key(repository: RepoUuid, log: &str) -> Vec<u8> {
    format!("{repository}/{log}").into_bytes()
}

fn read_anchor(value: &[u8]) -> Option<Anchor> {
    let (seq, hash) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    Some(Anchor { seq: seq.parse().ok()?, hash: hash.parse().ok()? })
}

/// Waits for the disk outside of the runtime's threads.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MetaError> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?.map_err(io::Error::other)
}

#[async_trait]
impl Notebook for IndexNotebook {
    async fn note(&self, attempt: &Attempt) -> io::Result<()> {
        let attempts = self.0.attempts().clone();
        let (id, body) = (attempt.nonce, serde_json::to_vec(attempt)?);
        on_disk(move || attempts.put(&id, &body)).await
    }

    async fn forget(&self, attempt: &Attempt) {
        let attempts = self.0.attempts().clone();
        let id = attempt.nonce;
        if let Err(error) = on_disk(move || attempts.remove(&id)).await {
            tracing::debug!(%error, "a settled attempt stays noted and is settled once more");
        }
    }

    async fn attempts(&self, repository: RepoUuid) -> io::Result<Vec<Attempt>> {
        let attempts = self.0.attempts().clone();
        let noted = on_disk(move || attempts.list()).await?;
        let mut found = Vec::new();
        for (id, body) in noted {
            match serde_json::from_slice::<Attempt>(&body) {
                Ok(attempt) if attempt.repository == repository => found.push(attempt),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(attempt = %id, %error, "a note about an attempt cannot be read; left as it is");
                }
            }
        }
        Ok(found)
    }

    async fn anchor(&self, repository: RepoUuid, log: &str) -> Option<Anchor> {
        read_anchor(&self.0.facts().get(ANCHORS, &anchor_key(repository, log))?)
    }

    async fn raise_anchor(&self, repository: RepoUuid, log: &str, seen: Anchor) {
        let value = format!("{} {}", seen.seq, seen.hash).into_bytes();
        let raised = self.0.facts().update(ANCHORS, &anchor_key(repository, log), |known| {
            let known = known.and_then(|known| read_anchor(&known));
            known.is_none_or(|known| known.seq < seen.seq).then_some(value)
        });
        if let Err(error) = raised {
            tracing::debug!(%error, log, "the newest record seen was not noted");
        }
    }

    async fn probed(&self, store: &str) -> Option<Timestamp> {
        let noted = self.0.facts().get(PROBES, store.as_bytes())?;
        std::str::from_utf8(&noted).ok()?.parse().ok()
    }

    async fn set_probed(&self, store: &str, at: Timestamp) {
        if let Err(error) = self.0.facts().put(PROBES, store.as_bytes(), at.to_string().as_bytes()) {
            tracing::debug!(%error, store, "the probe was not noted; it is made again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::IndexOptions;
    use crate::types::{Nonce, RecordHash};

    #[tokio::test]
    async fn notes_outlive_the_process_and_are_kept_by_repository() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || IndexNotebook::new(Index::open(dir.path(), &IndexOptions::default()).expect("opens"));
        let (here, elsewhere) = (RepoUuid::from_random([1; 16]), RepoUuid::from_random([2; 16]));
        let attempt = Attempt {
            repository: here,
            log: "refs/heads/main/".into(),
            label: "branch main".into(),
            seq: 7,
            nonce: Nonce::from_bytes([3; 16]),
            commit: None,
            when: Timestamp::from_micros(5),
            given_up: false,
        };
        let anchor = |seq| Anchor { seq, hash: RecordHash::of(&[seq as u8]) };

        let notebook = open();
        notebook.note(&attempt).await.expect("noted");
        notebook.raise_anchor(here, "refs/heads/main/", anchor(7)).await;
        notebook.raise_anchor(here, "refs/heads/main/", anchor(6)).await;
        notebook.set_probed("s3://b", Timestamp::from_micros(9)).await;
        drop(notebook);

        let notebook = open();
        assert_eq!(notebook.attempts(here).await.expect("read"), std::slice::from_ref(&attempt));
        assert_eq!(notebook.attempts(elsewhere).await.expect("read"), []);
        assert_eq!(notebook.anchor(here, "refs/heads/main/").await, Some(anchor(7)));
        assert_eq!(notebook.anchor(here, "refs/heads/other/").await, None);
        assert_eq!(notebook.anchor(elsewhere, "refs/heads/main/").await, None);
        assert_eq!(notebook.probed("s3://b").await, Some(Timestamp::from_micros(9)));
        assert_eq!(notebook.probed("s3://c").await, None);
        notebook.forget(&attempt).await;
        assert_eq!(notebook.attempts(here).await.expect("read"), []);
    }
}
