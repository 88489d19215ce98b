//! A bounded reader of bytes.
