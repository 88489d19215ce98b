//! From JSON objects to values, field by field: every field must be there, have its type, and be known.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::{FORMAT_VERSION, FormatError, JsonValue, MAX_JSON_BYTES};

/// The fields of an object while a value is made of them; what is left over at the end is an error.
pub(super) struct Fields {
    what: &'static str,
    fields: BTreeMap<String, JsonValue>,
}

impl Fields {
    /// The fields of `value`, which must be an object.
    pub(super) fn of(what: &'static str, value: JsonValue) -> Result<Self, FormatError> {
        match value {
            JsonValue::Object(fields) => Ok(Self { what, fields }),
            _ => Err(FormatError::malformed(what, "not an object")),
        }
    }

    /// A field of the wrong type or with a forbidden value.
    pub(super) fn bad(&self, key: &str, rule: &str) -> FormatError {
        FormatError::malformed(self.what, format!("field {key:?} {rule}"))
    }

    /// Any value.
    pub(super) fn value(&mut self, key: &str) -> Result<JsonValue, FormatError> {
        self.fields.remove(key).ok_or_else(|| self.bad(key, "is missing"))
    }

    /// A value, or `None` for `null`.
    pub(super) fn optional(&mut self, key: &str) -> Result<Option<JsonValue>, FormatError> {
        Ok(Some(self.value(key)?).filter(|value| *value != JsonValue::Null))
    }

    /// A string.
    pub(super) fn text(&mut self, key: &str) -> Result<String, FormatError> {
        match self.value(key)? {
            JsonValue::Text(text) => Ok(text),
            _ => Err(self.bad(key, "is not a string")),
        }
    }

    /// A string that reads as a `T`. Callers compare the re-encoded whole, so other spellings do not pass.
    pub(super) fn parsed<T: FromStr<Err: ToString>>(&mut self, key: &str) -> Result<T, FormatError> {
        let text = self.text(key)?;
        text.parse().map_err(|e: T::Err| self.bad(key, &format!("is refused: {}", e.to_string())))
    }

    /// As [`Fields::parsed`], or `None` for `null`.
    pub(super) fn optional_parsed<T: FromStr<Err: ToString>>(
        &mut self,
        key: &str,
    ) -> Result<Option<T>, FormatError> {
        if self.fields.get(key) == Some(&JsonValue::Null) {
            self.fields.remove(key);
            return Ok(None);
        }
        self.parsed(key).map(Some)
    }

    /// An integer of this type.
    pub(super) fn integer<T: TryFrom<i128>>(&mut self, key: &str) -> Result<T, FormatError> {
        match self.value(key)? {
            JsonValue::Integer(number) => {
                T::try_from(number).map_err(|_| self.bad(key, &format!("is {number}, which is out of range")))
            }
            _ => Err(self.bad(key, "is not an integer")),
        }
    }

    /// `true` or `false`.
    pub(super) fn bool(&mut self, key: &str) -> Result<bool, FormatError> {
        match self.value(key)? {
            JsonValue::Bool(value) => Ok(value),
            _ => Err(self.bad(key, "is neither true nor false")),
        }
    }

    /// An array.
    pub(super) fn list(&mut self, key: &str) -> Result<Vec<JsonValue>, FormatError> {
        match self.value(key)? {
            JsonValue::List(items) => Ok(items),
            _ => Err(self.bad(key, "is not an array")),
        }
    }

    /// An object, to be read field by field.
    pub(super) fn object(&mut self, key: &str) -> Result<Self, FormatError> {
        let value = self.value(key)?;
        Self::of(self.what, value)
    }

    /// An object whose keys are free.
    pub(super) fn map(&mut self, key: &str) -> Result<BTreeMap<String, JsonValue>, FormatError> {
        Ok(self.object(key)?.fields)
    }

    /// No field may be left over.
    pub(super) fn finish(self) -> Result<(), FormatError> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.bad(key, "is not known")),
        }
    }
}

/// If the strict reading failed: was the object written by a newer version? Then that is the error to show. Any JSON
/// object with a `version` above [`FORMAT_VERSION`] says so, whatever else it holds and however it is spelt.
pub(super) fn newer_or(what: &'static str, text: &[u8], error: FormatError) -> FormatError {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u64,
    }
    let text = &text[..text.len().min(MAX_JSON_BYTES)];
    match serde_json::from_slice::<Versioned>(text) {
        Ok(Versioned { version }) if version > u64::from(FORMAT_VERSION) => {
            FormatError::Newer { what, found: version, supported: FORMAT_VERSION }
        }
        _ => error,
    }
}
