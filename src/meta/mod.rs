//! The node's disposable index. (Placeholder until the real one lands.)

/// A handle to the index.
#[derive(Debug, Clone)]
pub struct Index;
