//! What a writer must have seen before it moves a ref: the collector's epoch and the settings.
//!
//! Both are numbers of records whose keys sort newest first, so one LIST of one key reads each. They stand in every
//! record, so that the audit can tell which rules a writer knew.

use futures_util::future::try_join;

use crate::repo::{RepoError, Repository, layout};
use crate::store::{Grouping, ListRequest};

/// The two numbers; 0 means that there is no such record yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// The collector's epoch.
    pub gc_epoch: u64,
    /// Newest settings record.
    pub settings_seq: u64,
}

impl Repository {
    /// Reads both numbers, side by side.
    ///
    /// # Errors
    /// Any failure of the store.
    pub async fn rules(&self) -> Result<Rules, RepoError> {
        let (gc_epoch, settings_seq) = try_join(
            newest_number(self, layout::GC_EPOCH_PREFIX),
            newest_number(self, layout::SETTINGS_PREFIX),
        )
        .await?;
        Ok(Rules { gc_epoch, settings_seq })
    }
}

/// The highest number under a prefix; keys in another spelling are passed over.
async fn newest_number(repository: &Repository, prefix: &str) -> Result<u64, RepoError> {
    let mut request =
        ListRequest { prefix: prefix.to_owned(), start_after: None, grouping: Grouping::Flat, max_keys: 1 };
    loop {
        let page = repository.store().list(&request).await?;
        if let Some(seq) = page.objects.iter().find_map(|object| layout::record_seq(prefix, &object.key)) {
            return Ok(seq);
        }
        match page.next {
            Some(next) => request.start_after = Some(next),
            None => return Ok(0),
        }
    }
}
