//! What the page on reliability names as a proof is there: files, modules and tests.

use crate::code::{Source, sources};
use crate::{assert_none, texts};

/// What a page quotes as code, line by line.
fn quoted(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(page.lines());
    lines.flat_map(|(at, line)| {
        line.split('`')
            .skip(1)
            .step_by(2)
            .map(move |code| (at, code))
    })
}

/// True for `some_name`, as functions and modules have.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !text.is_empty() && text.chars().all(fits)
}

/// True when the folders and the stem of a file have all these modules in their order; `tests` may be
/// inside of it.
fn is_below(path: &str, modules: &[&str]) -> bool {
    let mut parts = path.trim_end_matches(".rs").split('/');
    let mut modules = modules.iter().filter(|module| **module != "tests");
    modules.all(|module| parts.any(|part| part == *module))
}

fn has_test(source: &Source, name: &str) -> bool {
    source.code.contains(&format!("fn {name}("))
}

/// Whether what is quoted is there; `None` for what names no proof.
fn is_there(sources: &[Source], quoted: &str) -> Option<bool> {
    if quoted.ends_with(".rs") {
        let named = |source: &Source| {
            let rest = source.path.strip_suffix(quoted);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        return Some(sources.iter().any(named));
    }
    let path: Vec<&str> = quoted.split("::").collect();
    if !path.iter().all(|part| is_name(part)) {
        return None;
    }
    let (last, modules) = path.split_last()?;
    let is_sentence = last.matches('_').count() >= 3;
    if modules.is_empty() && !is_sentence {
        return None;
    }
    let found = |source: &Source| match is_sentence {
        true => is_below(&source.path, modules) && has_test(source, last),
        false => is_below(&source.path, &path),
    };
    Some(sources.iter().any(found))
}

#[test]
fn proofs_of_promises_are_there() {
    let texts = texts();
    let page = texts.iter().find(|text| text.path == "docs/reliability.md");
    let sources = sources();
    let missing = quoted(&page.unwrap().content)
        .filter(|(_, code)| is_there(&sources, code) == Some(false))
        .map(|(at, code)| format!("line {at}: {code}"));
    assert_none(
        "docs/reliability.md names files and tests that are there",
        &missing.collect::<Vec<_>>(),
    );
}

#[test]
fn proofs_are_found_by_file_module_and_name() {
    let source = |path: &str, code: &str| Source {
        path: path.to_owned(),
        code: code.to_owned(),
        product: String::new(),
    };
    let sources = [
        source(
            "broker/src/log/tests/cuts.rs",
            "fn what_is_cut_never_comes_back() {}",
        ),
        source("tests/tests/storage/main.rs", "fn a_name() {}"),
    ];
    for (quoted, there) in [
        ("tests/tests/storage/main.rs", Some(true)),
        ("log/tests/cuts.rs", Some(true)),
        ("tests/storage.rs", Some(false)),
        ("uts.rs", Some(false)),
        ("log::tests::cuts", Some(true)),
        ("log::tests::cuts::what_is_cut_never_comes_back", Some(true)),
        ("what_is_cut_never_comes_back", Some(true)),
        ("log::tests::rot::what_is_cut_never_comes_back", Some(false)),
        ("what_is_cut_always_comes_back", Some(false)),
        ("log::rot", Some(false)),
        ("fdatasync", None),
        ("HIGHWATER_SEED=n", None),
    ] {
        assert_eq!(is_there(&sources, quoted), there, "{quoted}");
    }
}
