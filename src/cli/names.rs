//! Names of files as they are shown. A name is bytes that a stranger chose: it may hold line feeds, escape
//! sequences that rewrite the screen, text that runs backwards, or no text at all.
//!
//! - On a terminal every such byte is shown as `ls -b` and C do: `\n`, `\t`, `\\`, `\x1b`, `\xff`, `\u{202e}`. What is
//!   shown is unambiguous, and harmless.
//! - In a pipe or a file names are the bytes that they are: what a script reads is what it can open.
//! - In JSON a name is text; one that is not UTF-8 has its stray bytes replaced, and its exact bytes beside it
//!   in hexadecimal (`path_hex`).

use std::borrow::Cow;

/// How names are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Harmless on a terminal.
    Escaped,
    /// Byte for byte.
    Raw,
}

impl Names {
    /// `name` as this destination wants it.
    pub(super) fn show(self, name: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Raw => Cow::Borrowed(name),
            Self::Escaped => match escape(name) {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
        }
    }
}

/// `name` with everything escaped that is not plain, visible text.
pub(super) fn escape(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && text.chars().all(|c| c != '\\' && is_plain(c))
    {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => shown.push_str("\\\\"),
                '\n' => shown.push_str("\\n"),
                '\t' => shown.push_str("\\t"),
                '\r' => shown.push_str("\\r"),
                c if is_plain(c) => shown.push(c),
                c if c.is_ascii() => shown.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => shown.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal shows `c` where it stands and does nothing else: no control characters (also those of
/// Unicode), nothing that changes the direction of writing or is invisible.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A path in JSON: `path`, and `path_hex` when the bytes are not UTF-8.
#[derive(Debug, serde::Serialize)]
pub(super) struct JsonPath {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl JsonPath {
    /// The two members for `path`.
    pub(super) fn new(path: &[u8]) -> Self {
        let text = String::from_utf8_lossy(path);
        let path_hex = matches!(text, Cow::Owned(_))
            .then(|| path.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        Self { path: text.into_owned(), path_hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_only_plain_text() {
        for (name, shown) in [
            (&b"plain name.csv"[..], "plain name.csv"),
            ("Größe/日本.txt".as_bytes(), "Größe/日本.txt"),
            (b"a\nb\tc\rd", r"a\nb\tc\rd"),
            (b"\x1b[2J\x07", r"\x1b[2J\x07"),
            (b"back\\slash", r"back\\slash"),
            (b"latin-\xe9", r"latin-\xe9"),
            ("abc\u{202e}gpj.exe".as_bytes(), r"abc\u{202e}gpj.exe"),
            ("\u{9b}31m".as_bytes(), r"\u{9b}31m"),
        ] {
            assert_eq!(escape(name), shown);
            assert_eq!(Names::Escaped.show(name), shown.as_bytes());
            assert_eq!(Names::Raw.show(name), name);
        }
    }

    #[test]
    fn json_keeps_the_exact_bytes() {
        let json = |bytes: &[u8]| serde_json::to_string(&JsonPath::new(bytes)).unwrap();
        assert_eq!(json(b"a\nb"), r#"{"path":"a\nb"}"#);
        assert_eq!(json(b"a\xffb"), r#"{"path":"a�b","path_hex":"61ff62"}"#);
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_bytes_nothing_moves_the_cursor(name: Vec<u8>) {
            let shown = escape(&name);
            proptest::prop_assert!(shown.chars().all(is_plain));
        }
    }
}
