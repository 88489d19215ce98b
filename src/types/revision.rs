//! How people name a commit: `main`, `v1.2`, `3fa9c1`, `main~2`, `HEAD^`, `main@{3}`, `main@{2026-11-23T10:00}`.
//!
//! ```text
//! revision = base step*
//! base     = "HEAD" | ref name | 4 to 64 lower-case hex digits        HEAD is the head of main
//! step     = "~" [number] | "^" [number] | "@{" (number | time) "}"   "@{...}" only directly after a ref
//! ```
//! A name that is both a ref and a hex prefix is resolved as branch, then tag, then id ([`crate::repo`] does that).

use std::fmt;
use std::str::FromStr;

use super::{RefName, Timestamp};

/// Where a revision starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevisionBase {
    /// `HEAD`: the head of the default branch.
    Head,
    /// A branch, a tag, or (see [`Revision::id_prefix`]) the beginning of a commit id.
    Name(RefName),
}

/// One step from a commit to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevisionStep {
    /// `~n`: n times the first parent.
    Ancestor(u32),
    /// `^n`: the n-th parent, counted from 1; `^0` is the commit itself.
    Parent(u32),
    /// `@{n}`: where the ref stood n moves ago.
    MovesAgo(u32),
    /// `@{time}`: where the ref stood at that time.
    At(Timestamp),
}

/// A parsed revision, not yet resolved to a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Where it starts.
    pub base: RevisionBase,
    /// Steps in order.
    pub steps: Vec<RevisionStep>,
}

/// Why a text is not a revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a revision: {reason}")]
pub struct RevisionError {
    text: String,
    reason: String,
}

impl Revision {
    /// The base as a lower-case hex prefix of a commit id (4 to 64 digits), when it can be one.
    pub fn id_prefix(&self) -> Option<&str> {
        match &self.base {
            RevisionBase::Name(name) => {
                let text = name.as_str();
                let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                (hex && (4..=64).contains(&text.len())).then_some(text)
            }
            RevisionBase::Head => None,
        }
    }
}

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let bad =
            |reason: &str| RevisionError { text: text.chars().take(240).collect(), reason: reason.into() };
        let end = text.find(['~', '^', '@']).unwrap_or(text.len());
        let (base, mut rest) = text.split_at(end);
        let base = match base {
            "HEAD" => RevisionBase::Head,
            _ => RevisionBase::Name(RefName::new(base).map_err(|e| bad(&e.to_string()))?),
        };
        let mut steps = Vec::new();
        while let Some(sign) = rest.chars().next() {
            if sign == '@' {
                let inner = rest
                    .strip_prefix("@{")
                    .and_then(|r| r.split_once('}'))
                    .ok_or_else(|| bad("`@` must be followed by {number} or {time}"))?;
                if !steps.is_empty() {
                    return Err(bad("`@{...}` can only follow the name of a ref"));
                }
                rest = inner.1;
                steps.push(match inner.0.parse() {
                    Ok(moves) => RevisionStep::MovesAgo(moves),
                    Err(_) => RevisionStep::At(inner.0.parse().map_err(|e| bad(&format!("{e}")))?),
                });
                continue;
            }
            let digits = &rest[1..];
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let count = match &digits[..end] {
                "" => 1,
                number => number.parse().map_err(|_| bad("a step count is out of range"))?,
            };
            rest = &digits[end..];
            steps.push(match sign {
                '~' => RevisionStep::Ancestor(count),
                '^' => RevisionStep::Parent(count),
                _ => return Err(bad("after the name only ~, ^ and @{...} may follow")),
            });
        }
        Ok(Self { base, steps })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            RevisionBase::Head => f.write_str("HEAD")?,
            RevisionBase::Name(name) => f.write_str(name.as_str())?,
        }
        for step in &self.steps {
            match step {
                RevisionStep::Ancestor(n) => write!(f, "~{n}")?,
                RevisionStep::Parent(n) => write!(f, "^{n}")?,
                RevisionStep::MovesAgo(n) => write!(f, "@{{{n}}}")?,
                RevisionStep::At(time) => write!(f, "@{{{time}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar() {
        use RevisionStep::*;
        let parse = |text: &str| text.parse::<Revision>().map(|r| r.steps);
        assert_eq!(parse("main"), Ok(vec![]));
        assert_eq!(parse("main~2"), Ok(vec![Ancestor(2)]));
        assert_eq!(parse("HEAD^"), Ok(vec![Parent(1)]));
        assert_eq!(parse("a/b~^2~3"), Ok(vec![Ancestor(1), Parent(2), Ancestor(3)]));
        assert_eq!(parse("main@{3}~1"), Ok(vec![MovesAgo(3), Ancestor(1)]));
        let at = "2026-11-23T10:00".parse().expect("time");
        assert_eq!(parse("main@{2026-11-23T10:00}"), Ok(vec![At(at)]));
        for bad in [
            "",
            "~1",
            "main@",
            "main@{",
            "main@{}",
            "main~x",
            "main^@{1}",
            "main~99999999999",
            "a b",
            "main~1x",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hex_names_may_be_ids() {
        let prefix = |text: &str| text.parse::<Revision>().expect("valid").id_prefix().map(str::to_owned);
        assert_eq!(prefix("3fa9"), Some("3fa9".into()));
        assert_eq!(prefix("3fa"), None);
        assert_eq!(prefix("3FA9"), None);
        assert_eq!(prefix(&"a".repeat(65)), None);
        assert_eq!(prefix("main"), None);
    }

    #[test]
    fn display_parses_back() {
        for text in ["main~2", "HEAD^1", "a/b@{3}~1", "x@{2026-11-23T10:00:00.000000Z}"] {
            let revision: Revision = text.parse().expect("valid");
            assert_eq!(revision.to_string(), text);
        }
    }
}
