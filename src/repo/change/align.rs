//! Long files whose bytes are equal although they were cut into chunks differently.
//!
//! Ids tell of equal content, but not of all of it (`content::same`). So where the sides seem to contradict each other and
//! sizes allow it, the bytes are compared, and one side is written as the other has it: then `merge_entry` sees what
//! is so.

use crate::format::{LeafItem, TreeKey};
use crate::repo::content::same_bytes;
use crate::repo::{Placed, RepoError, Repository};

/// Gives `before` or `after` the content of another of the three sides when the bytes are the same.
///
/// # Errors
/// Damage, a missing object, any failure of the store.
pub(super) async fn align(
    repository: &Repository,
    key: &TreeKey,
    before: &mut Option<Placed>,
    ours: Option<&Placed>,
    after: &mut Option<Placed>,
) -> Result<(), RepoError> {
    if !take_over(repository, key, after, ours).await? && !take_over(repository, key, before, ours).await? {
        take_over(repository, key, before, after.as_ref()).await?;
    }
    Ok(())
}

/// Gives `to` the content of `from` when the bytes are the same; whether that was so.
async fn take_over(
    repository: &Repository,
    key: &TreeKey,
    to: &mut Option<Placed>,
    from: Option<&Placed>,
) -> Result<bool, RepoError> {
    let (Some(to), Some(from)) = (to, from) else { return Ok(false) };
    let item =
        |placed: &Placed| LeafItem { key: key.clone(), entry: placed.entry.clone(), hints: placed.hints };
    let same =
        to.entry.body != from.entry.body && same_bytes(repository.blobs(), &item(to), &item(from)).await?;
    if same {
        to.entry.body = from.entry.body.clone();
        to.hints.content = from.hints.content;
    }
    Ok(same)
}
