//! How the files of a mount are opened, for the whole of it.
//!
//! The kernel offers two fast ways, and one connection has only one of them. *Bulk*: every open comes to us, and a long
//! file that is complete in the cache is then read by the kernel itself, past the daemon. *Small files*: opens and
//! releases never leave the kernel, and the page cache keeps what was read; what is read for the first time comes to us.
//! Opening costs more than reading where files are small, and nothing where they are large.

use std::fmt;
use std::str::FromStr;

use crate::format::Totals;

/// Files that are shorter than this on average are small ones.
const SMALL_ON_AVERAGE: u64 = 1 << 20;

/// How a mount is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Opens are seen; long files are passed through to the kernel.
    #[default]
    Bulk,
    /// Opens are not seen.
    SmallFiles,
}

/// How a mount is to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileChoice {
    /// As the files of the commit are, on average.
    #[default]
    Auto,
    /// [`Profile::Bulk`].
    Bulk,
    /// [`Profile::SmallFiles`].
    SmallFiles,
}

impl ProfileChoice {
    /// The profile for a commit with these totals; `None` for a mount that shows several commits, whose sizes are not known
    /// beforehand.
    pub fn decide(self, totals: Option<Totals>) -> Profile {
        match (self, totals) {
            (Self::Bulk, _) => Profile::Bulk,
            (Self::SmallFiles, _) => Profile::SmallFiles,
            (Self::Auto, Some(totals)) if totals.bytes < totals.files.saturating_mul(SMALL_ON_AVERAGE) => {
                Profile::SmallFiles
            }
            (Self::Auto, _) => Profile::Bulk,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bulk => "bulk",
            Self::SmallFiles => "smallfiles",
        })
    }
}

/// No profile is called that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no profile: auto, bulk and smallfiles are")]
pub struct UnknownProfile(String);

impl FromStr for ProfileChoice {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        match text {
            "auto" => Ok(Self::Auto),
            "bulk" => Ok(Self::Bulk),
            "smallfiles" => Ok(Self::SmallFiles),
            other => Err(UnknownProfile(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(files: u64, bytes: u64) -> Option<Totals> {
        Some(Totals { entries: files, files, bytes })
    }

    #[test]
    fn the_average_decides_unless_somebody_did() {
        use ProfileChoice::{Auto, Bulk, SmallFiles};
        assert_eq!(Auto.decide(totals(10_000, 10_000 * 100_000)), Profile::SmallFiles);
        assert_eq!(Auto.decide(totals(3000, 3000 << 30)), Profile::Bulk);
        assert_eq!(Auto.decide(totals(0, 0)), Profile::Bulk);
        assert_eq!(Auto.decide(None), Profile::Bulk);
        assert_eq!(Bulk.decide(totals(10, 10)), Profile::Bulk);
        assert_eq!(SmallFiles.decide(None), Profile::SmallFiles);
        assert!("fast".parse::<ProfileChoice>().is_err());
    }
}
