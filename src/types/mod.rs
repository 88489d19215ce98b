//! The vocabulary of the crate: values that are valid by construction, and the seams (clock, randomness,
//! progress) that let the engine run in a deterministic simulator. Nothing here does I/O.

mod address;
mod generations;
mod ids;
mod location;
mod path;
mod progress;
mod random;
mod refname;
mod repo_name;
mod revision;
mod size;
mod spans;
mod time;

pub use address::{Address, AddressError, RepoUrl};
pub use generations::Generations;
pub use ids::{
    ChunkId, CommitId, IdError, ManifestId, NodeId, Nonce, PackId, RecordHash, RepoUuid, XattrsId,
};
pub use location::{Location, Span};
pub use path::{MAX_NAME_BYTES, MAX_PATH_BYTES, Name, PathError, RepoPath};
pub use progress::{NoProgress, Progress, Stage};
pub use random::{OsRandom, Random, SeededRandom};
pub use refname::{RefKind, RefName, RefNameError};
pub use repo_name::{RepoName, RepoNameError};
pub use revision::{Revision, RevisionBase, RevisionError, RevisionStep};
pub use size::{ByteSize, SizeError};
pub use spans::Spans;
pub use time::{Clock, ManualClock, SystemClock, TimeError, Timestamp};
