//! Canonical JSON: every value has exactly one text, so hashes of texts are hashes of values.
//!
//! UTF-8; no whitespace; object keys unique and in bytewise order of their UTF-8 (which is code point order); integers
//! from -2^63 to 2^64 - 1 without sign zero, leading zeros, fraction or exponent; in strings only `"`, `\` and
//! the characters below U+0020 are escaped: `\b \t \n \f \r` where they exist, else `\u00xx` in lower case. That is
//! what `serde_json` writes, and Python's `json.dumps(v, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`.
//!
//! The parser accepts nothing else: for all texts, `parse(text) == Ok(v)` implies `v.to_text() == text`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::str::FromStr;

use super::FormatError;

/// Deepest nesting: what this code writes needs 4; settings may have more. Bounds the parser's stack.
const MAX_DEPTH: u32 = 32;

/// Longest JSON object of a repository (a commit, a record, `format.json`): a message of 1 MiB whose every byte
/// is escaped has 6 MiB.
pub const MAX_JSON_BYTES: usize = 8 << 20;

/// A value of canonical JSON. There are no fractions: their texts are no one's canon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonValue {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer from -2^63 to 2^64 - 1.
    Integer(i128),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<JsonValue>),
    /// An object.
    Object(BTreeMap<String, JsonValue>),
}

impl JsonValue {
    /// The one text of this value.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    /// Reads a canonical text of at most [`MAX_JSON_BYTES`].
    ///
    /// # Errors
    /// [`FormatError`] naming `what` for every other text.
    pub fn parse(what: &'static str, text: &[u8]) -> Result<Self, FormatError> {
        if text.len() > MAX_JSON_BYTES {
            return Err(FormatError::malformed(what, format!("{} bytes of JSON", text.len())));
        }
        let text = str::from_utf8(text).map_err(|e| FormatError::malformed(what, e.to_string()))?;
        let mut parser = Parser { what, text, at: 0 };
        let value = parser.value(0)?;
        if parser.at < text.len() { Err(parser.bad("text behind the value")) } else { Ok(value) }
    }

    /// An object of these fields.
    pub(super) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// `null` for `None`.
    pub(super) fn optional(value: Option<impl Into<Self>>) -> Self {
        value.map_or(Self::Null, Into::into)
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(true) => text.push_str("true"),
            Self::Bool(false) => text.push_str("false"),
            Self::Integer(number) => text.push_str(&number.to_string()),
            Self::Text(string) => write_string(string, text),
            Self::List(items) => {
                text.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        text.push(',');
                    }
                    item.write(text);
                }
                text.push(']');
            }
            Self::Object(fields) => {
                text.push('{');
                for (n, (key, value)) in fields.iter().enumerate() {
                    if n > 0 {
                        text.push(',');
                    }
                    write_string(key, text);
                    text.push(':');
                    value.write(text);
                }
                text.push('}');
            }
        }
    }
}

impl From<String> for JsonValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for JsonValue {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for JsonValue {
    fn from(number: u64) -> Self {
        Self::Integer(number.into())
    }
}

/// The letter behind the backslash, for the characters that have one.
const ESCAPES: [(char, char); 7] =
    [('"', '"'), ('\\', '\\'), ('\u{8}', 'b'), ('\t', 't'), ('\n', 'n'), ('\u{c}', 'f'), ('\r', 'r')];

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        if let Some((_, letter)) = ESCAPES.iter().find(|(special, _)| *special == c) {
            text.extend(['\\', *letter]);
        } else if c < ' ' {
            // Writing to a String does not fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text.push('"');
}

struct Parser<'a> {
    what: &'static str,
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn bad(&self, rule: &str) -> FormatError {
        FormatError::malformed(self.what, format!("not canonical JSON at byte {}: {rule}", self.at))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over `literal` if it stands here.
    fn eat(&mut self, literal: &str) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(literal.as_bytes());
        if found {
            self.at += literal.len();
        }
        found
    }

    fn expect(&mut self, literal: &str) -> Result<(), FormatError> {
        if self.eat(literal) { Ok(()) } else { Err(self.bad(&format!("`{literal}` expected"))) }
    }

    fn value(&mut self, depth: u32) -> Result<JsonValue, FormatError> {
        if depth > MAX_DEPTH {
            return Err(self.bad("nested too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(JsonValue::Text),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            _ if self.eat("null") => Ok(JsonValue::Null),
            _ if self.eat("true") => Ok(JsonValue::Bool(true)),
            _ if self.eat("false") => Ok(JsonValue::Bool(false)),
            _ => Err(self.bad("a value expected")),
        }
    }

    fn list(&mut self, depth: u32) -> Result<JsonValue, FormatError> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.eat("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.value(depth + 1)?);
        }
        Ok(JsonValue::List(items))
    }

    fn object(&mut self, depth: u32) -> Result<JsonValue, FormatError> {
        self.expect("{")?;
        let mut fields: BTreeMap<String, JsonValue> = BTreeMap::new();
        while !self.eat("}") {
            if !fields.is_empty() {
                self.expect(",")?;
            }
            let key = self.string()?;
            if fields.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(self.bad("keys are not unique and in order"));
            }
            self.expect(":")?;
            let value = self.value(depth + 1)?;
            fields.insert(key, value);
        }
        Ok(JsonValue::Object(fields))
    }

    fn integer(&mut self) -> Result<JsonValue, FormatError> {
        let start = self.at;
        self.eat("-");
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = &self.text[start..self.at];
        let number = i128::from_str(digits).map_err(|_| self.bad("not an integer"))?;
        let range = i128::from(i64::MIN)..=i128::from(u64::MAX);
        if !range.contains(&number) {
            return Err(self.bad("an integer outside -2^63 to 2^64 - 1"));
        }
        if number.to_string() != digits {
            return Err(self.bad("an integer with another spelling than its shortest"));
        }
        Ok(JsonValue::Integer(number))
    }

    fn string(&mut self) -> Result<String, FormatError> {
        self.expect("\"")?;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
            let plain = plain.ok_or_else(|| self.bad("a string without end"))?;
            string.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                _ => return Err(self.bad("a control character that is not escaped")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, FormatError> {
        let rest = &self.text[self.at..];
        for (special, letter) in ESCAPES {
            if rest[1..].starts_with(letter) {
                self.at += 2;
                return Ok(special);
            }
        }
        for code in 0..b' ' {
            // Only characters without a letter of their own are spelt by number.
            if rest.starts_with(&format!("\\u{code:04x}"))
                && !ESCAPES.iter().any(|(c, _)| *c == char::from(code))
            {
                self.at += 6;
                return Ok(code.into());
            }
        }
        Err(self.bad("an escape that is not needed, or not the shortest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<JsonValue, FormatError> {
        JsonValue::parse("test", text.as_bytes())
    }

    #[test]
    fn every_character_is_written_as_serde_json_does() {
        let all: String =
            ('\0'..='\u{2fff}').chain(['\u{fffd}', '\u{ffff}', '\u{1f600}', '\u{10ffff}']).collect();
        let text = JsonValue::Text(all.clone()).to_text();
        assert_eq!(text, serde_json::to_string(&all).expect("a string"));
        assert_eq!(parse(&text), Ok(JsonValue::Text(all)));
    }

    #[test]
    fn canonical_texts_come_back() {
        for text in [
            "null",
            "[]",
            "{}",
            "[true,false,null]",
            "0",
            "-1",
            "18446744073709551615",
            "-9223372036854775808",
            r#"{"":[],"a":{"b":"c"},"é":"\u0001\n\u001f\u007f","😀":1}"#,
        ] {
            let text = text.replace("\\u007f", "\u{7f}");
            assert_eq!(parse(&text).expect("canonical").to_text(), text);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "",
            " 1",
            "1 ",
            "[1, 2]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\":1,}",
            "{\"a\" :1}",
            "{\"b\":1,\"a\":2}",
            "{\"a\":1,\"a\":1}",
            "{a:1}",
            "01",
            "-0",
            "+1",
            "-",
            "1.0",
            "1e3",
            "18446744073709551616",
            "-9223372036854775809",
            "99999999999999999999999999999999999999999999",
            "nul",
            "NaN",
            "\"",
            "\"\\",
            "\"\\u",
            "\"\n\"",
            "\"\\/\"",
            "\"\\u0041\"",
            "\"\\u000a\"",
            "\"\\u001F\"",
            "\"\\u2028\"",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "\u{feff}1",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(JsonValue::parse("test", b"\"\xed\xa0\x80\"").is_err(), "a surrogate as UTF-8");
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(33)).is_ok());
        assert!(parse(&nested(34)).is_err());
        assert!(parse(&"[".repeat(1 << 20)).is_err());
    }
}
