//! What the workspace promises about its own shape, checked as text: who may use what, how long a
//! file may be, which words may not appear, and that the documentation's links and proofs lead somewhere.
//! A rule that has to give way to a reason gives way here, with the reason.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod code;
mod layers;
mod places;
mod proofs;
mod prose;
mod strip;

use std::fs;
use std::path::{Path, PathBuf};

/// A tracked text of the workspace.
pub(crate) struct Text {
    /// Its path from the root, with `/` between.
    pub(crate) path: String,
    pub(crate) content: String,
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every text file of the workspace, build products aside.
pub(crate) fn texts() -> Vec<Text> {
    let root = root();
    let mut texts = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name == "target" || name == ".git" || name.starts_with("highwater-") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(content) = fs::read_to_string(&path) {
                let path = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .replace('\\', "/");
                texts.push(Text { path, content });
            }
        }
    }
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    texts
}

/// Fails with all violations of a rule at once.
#[track_caller]
pub(crate) fn assert_none(rule: &str, violations: &[String]) {
    let list = violations.join("\n  ");
    assert!(
        violations.is_empty(),
        "{rule}; {} violations:\n  {list}",
        violations.len()
    );
}

#[test]
fn the_workspace_is_found() {
    let texts = texts();
    for path in [
        "Cargo.toml",
        "README.md",
        "proto/src/lib.rs",
        "tests/tests/tidy/main.rs",
    ] {
        assert!(texts.iter().any(|text| text.path == path), "{path}");
    }
}
