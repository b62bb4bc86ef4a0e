//! Input to send through brokers: JSON lines with a few busy keys and many quiet ones, as in life,
//! the same in every run.

use std::collections::BTreeMap;
use std::fmt::Write;

/// JSON lines `{"path":…,"version":…,"size":…}`, the versions of each path counted from 0.
pub fn changes(count: usize) -> String {
    let mut versions: BTreeMap<u64, u64> = BTreeMap::new();
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut text = String::with_capacity(count * 64);
    for _ in 0..count {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // The product of three draws favours small numbers.
        let draw = |shift: u32| (random >> shift) & 0xffff;
        let path = (((draw(48) * draw(32)) >> 16) * draw(16)) >> 20;
        let version = versions.entry(path).or_default();
        let size = random % 997;
        writeln!(
            text,
            "{{\"path\":\"src/file-{path}.rs\",\"version\":{version},\"size\":{size}}}"
        )
        .expect("a string takes any text");
        *version += 1;
    }
    text
}

/// The lines of each path, in the order of `text`.
pub fn by_path(text: &str) -> BTreeMap<String, Vec<&str>> {
    let mut paths: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for line in text.lines() {
        let change: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let path = change["path"].as_str().expect("a change has a path");
        paths.entry(path.to_owned()).or_default().push(line);
    }
    paths
}

/// The lines in alphabetical order.
pub fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_the_same_every_time_and_its_keys_are_uneven() {
        let text = changes(5000);
        assert_eq!(text, changes(5000));
        assert_eq!(text.lines().count(), 5000);
        let paths = by_path(&text);
        let busiest = paths.values().map(Vec::len).max().unwrap();
        let alone = paths.values().filter(|lines| lines.len() == 1).count();
        assert!(
            busiest > 20 && alone > 500,
            "busiest {busiest}, alone {alone}"
        );
        for lines in paths.values() {
            for (version, line) in lines.iter().enumerate() {
                assert!(line.contains(&format!("\"version\":{version},")), "{line}");
            }
        }
    }
}
