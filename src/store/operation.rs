//! The six requests by name, for errors, the recorder and the fault injector.

use std::fmt;

/// A method of [`super::Store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`super::Store::get`].
    Get,
    /// [`super::Store::get_range`].
    GetRange,
    /// [`super::Store::put`].
    Put,
    /// [`super::Store::put_new`].
    PutNew,
    /// [`super::Store::list`].
    List,
    /// [`super::Store::delete`].
    Delete,
}

impl Operation {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] = [Self::Get, Self::GetRange, Self::Put, Self::PutNew, Self::List, Self::Delete];

    /// The name in errors and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetRange => "get range",
            Self::Put => "put",
            Self::PutNew => "create",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }

    /// Whether it changes the store.
    pub fn writes(self) -> bool {
        matches!(self, Self::Put | Self::PutNew | Self::Delete)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
