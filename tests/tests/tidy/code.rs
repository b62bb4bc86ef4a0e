//! The Rust files of the workspace, product and tests apart, and the rules on every one of them.

use std::collections::BTreeSet;

use crate::strip::{blank_prose, blank_tests};
use crate::{Text, assert_none, texts};

/// A Rust file, prose blanked.
pub(crate) struct Source {
    pub(crate) path: String,
    /// All its code.
    pub(crate) code: String,
    /// Its code without what is compiled for tests alone; empty for a file of tests.
    pub(crate) product: String,
}

/// Files that may be longer than [`MAX_LINES`], each with its reason.
const LONG: &[(&str, &str)] = &[];

/// The most lines of a file, tests aside.
const MAX_LINES: usize = 400;

/// Names that say nothing about what is inside.
const BANNED_NAMES: [&str; 5] = ["utils", "helpers", "common", "misc", "manager"];

/// Things that are never finished, never run, or wait for luck.
const BANNED_CODE: [&str; 5] = [
    "todo!",
    "unimplemented!",
    "#[ignore",
    "thread::sleep",
    "dbg!",
];

/// Every Rust file of the workspace.
pub(crate) fn sources() -> Vec<Source> {
    let rust: Vec<Text> = texts()
        .into_iter()
        .filter(|text| text.path.ends_with(".rs"))
        .collect();
    let mut test_modules = BTreeSet::new();
    let mut sources = Vec::new();
    for text in rust {
        let code = blank_prose(&text.content);
        let (product, modules) = blank_tests(&code);
        let folder = module_folder(&text.path);
        test_modules.extend(modules.into_iter().map(|name| format!("{folder}/{name}")));
        sources.push(Source {
            path: text.path,
            code,
            product,
        });
    }
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs");
        let in_test_module = test_modules
            .iter()
            .any(|module| stem == module || stem.starts_with(&format!("{module}/")));
        if in_test_module || is_test_target(&source.path) {
            source.product.clear();
        }
    }
    sources
}

/// The folder in which the modules of a file are looked for.
fn module_folder(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    match stem.rsplit_once('/') {
        Some((folder, "lib" | "main" | "mod")) => folder.to_owned(),
        _ => stem.to_owned(),
    }
}

fn is_test_target(path: &str) -> bool {
    path.starts_with("tests/") || path.starts_with("benches/") || path.contains("/tests/")
}

/// The numbered lines of `code` that contain `pattern` as a word of its own.
pub(crate) fn lines_with<'a>(
    code: &'a str,
    pattern: &'a str,
) -> impl Iterator<Item = (usize, &'a str)> + 'a {
    let numbered = code.lines().enumerate().map(|(at, line)| (at + 1, line));
    numbered.filter(move |(_, line)| has_word(line, pattern))
}

fn has_word(line: &str, pattern: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(pattern).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + pattern.len()..].chars().next();
        let open_end = !pattern.ends_with(word);
        !(before.is_some_and(word) && pattern.starts_with(word))
            && (open_end || !after.is_some_and(word))
    })
}

#[test]
fn no_file_is_longer_than_its_idea() {
    let mut violations = Vec::new();
    for source in sources() {
        let product = source
            .product
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        let lines = if product == 0 {
            0
        } else {
            source.product.trim_end().lines().count()
        };
        let allowed = LONG.iter().any(|(path, _)| *path == source.path);
        if lines > MAX_LINES && !allowed {
            violations.push(format!("{}: {lines} lines", source.path));
        }
    }
    assert_none("a file has at most 400 lines, tests aside", &violations);
}

#[test]
fn long_files_are_listed_with_a_reason_and_are_there() {
    let paths: BTreeSet<String> = sources().into_iter().map(|source| source.path).collect();
    for (path, reason) in LONG {
        assert!(
            paths.contains(*path) && reason.len() > 20,
            "{path}: {reason}"
        );
    }
}

#[test]
fn names_say_what_is_inside() {
    let mut violations = Vec::new();
    for text in texts() {
        let parts = text
            .path
            .split('/')
            .map(|part| part.split('.').next().unwrap_or(part));
        violations.extend(
            parts
                .filter(|part| BANNED_NAMES.contains(part))
                .map(|part| format!("{}: {part:?} says nothing", text.path)),
        );
    }
    assert_none("no file or folder has an empty name", &violations);
}

#[test]
fn nothing_is_unfinished_unrun_or_left_to_luck() {
    let mut violations = Vec::new();
    for source in sources() {
        for banned in BANNED_CODE {
            for (number, line) in lines_with(&source.code, banned) {
                violations.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(
        "no stub, no ignored test, no sleep that blocks a thread",
        &violations,
    );
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("a unsafe {", "unsafe") && !has_word("unsafe_code", "unsafe"));
    assert!(has_word("use openraft::X", "openraft::") && !has_word("my_openraft::X", "openraft::"));
    assert!(has_word("#[ignore]", "#[ignore") && has_word("todo!()", "todo!"));
}
