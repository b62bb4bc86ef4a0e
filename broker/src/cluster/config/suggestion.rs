//! "Did you mean …": the nearest of some names by edit distance.

/// Names longer than this are not compared: the work grows with the product of the lengths.
const LONGEST: usize = 64;

/// The nearest name, when it is near enough to be what was meant.
pub(super) fn nearest<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if wanted.is_empty() || wanted.len() > LONGEST {
        return None;
    }
    // `retention_ms` and `Retention.MS` are the same word in other clothes.
    let wanted = wanted.to_ascii_lowercase().replace(['_', '-'], ".");
    names
        .into_iter()
        .map(|name| (distance(wanted.as_bytes(), name.as_bytes()), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .map(|(_, name)| name)
}

/// How many insertions, deletions and replacements of a byte make `a` into `b` (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("retention.m", "retention.ms", 1),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let names = ["retention.ms", "retention.bytes", "durability"];
        assert_eq!(nearest("retention_ms", names), Some("retention.ms"));
        assert_eq!(nearest("retentoin.byte", names), Some("retention.bytes"));
        assert_eq!(nearest("durabilty", names), Some("durability"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest(&"x".repeat(10_000), names), None);
    }
}
