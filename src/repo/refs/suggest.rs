//! Which names were perhaps meant.

/// How many names are suggested.
const SUGGESTIONS: usize = 3;

/// The names nearest to `typed`, nearest first: same but for case, beginning so, or a few letters apart.
pub(super) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    // A third of the letters may be wrong: more would suggest anything for a short name.
    let limit = (typed.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = names
        .filter_map(|name| {
            if name.eq_ignore_ascii_case(typed) {
                return Some((0, name));
            }
            let distance = distance(typed, name);
            let begins = typed.len() >= 2 && name.starts_with(typed);
            (distance <= limit || begins).then_some((distance, name))
        })
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
}

/// Levenshtein's distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_name() {
        let names = ["main", "ingest/2026", "release", "Main", "maine-coast"];
        assert_eq!(
            nearest("mian", names.into_iter()),
            Vec::<&str>::new(),
            "two letters of four are too many"
        );
        assert_eq!(nearest("mai", names.into_iter()), ["main", "maine-coast"]);
        assert_eq!(nearest("relaese", names.into_iter()), ["release"]);
        assert_eq!(nearest("MAIN", names.into_iter()), ["Main", "main"]);
        assert_eq!(nearest("ingest", names.into_iter()), ["ingest/2026"]);
    }

    #[test]
    fn distances() {
        for (a, b, d) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ü", "u", 1)] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
