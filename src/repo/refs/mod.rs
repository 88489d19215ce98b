//! Branches and tags. A ref is a log of records, and the log is all there is: the newest record holds the head.
//!
//! Must always be true: a record is created once and never changed; record n holds the hash of record n-1; a writer
//! is told "done" only if its record is in the log, and "lost" only if it never will be.
//!
//! - `log`: finding and judging the newest record. - `append`: adding one; `create`: how an ambiguous answer is settled.
//! - `lifecycle`: heads, birth, end, listing. - `history`: backwards, `@{n}`, `@{time}`, the whole chain.
//! - `resolve`: from revisions to commits. - `epoch`: what a writer must have seen.
//! - `notebook`, `index_notebook`: what the machine notes; `pause`: waiting between tries.

mod append;
mod create;
mod epoch;
mod history;
mod index_notebook;
mod lifecycle;
mod log;
mod notebook;
mod pause;
mod resolve;
mod suggest;

pub use append::{Appended, Draft, Outcome, forget_settled, settle_attempts};
pub(super) use create::{CreateError, Creator, create};
pub use epoch::Rules;
pub use history::{History, Verified};
pub use index_notebook::IndexNotebook;
pub use lifecycle::{Head, ListedRef, RefList};
pub use log::{Ignored, Link, Log, LogMemory, Newest};
pub use notebook::{Anchor, Attempt, MemoryNotebook, Notebook};
pub(super) use pause::Races;
pub use resolve::{FirstParents, Resolved, Via};
