//! Tells the program which commit it is built from: `HIGHWATER_COMMIT` if it is set (for builds from
//! an archive), else what git says of the checkout, else nothing.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=HIGHWATER_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("HIGHWATER_COMMIT").is_some() {
        return;
    }
    // A commit, a checkout and a merge each add a line to this log.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo::rustc-env=HIGHWATER_COMMIT={commit}");
    }
}

/// What git prints for a question about the checkout; `None` outside of one or without git.
fn git(args: &[&str]) -> Option<String> {
    let asked = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(asked.stdout).ok()?;
    let line = text.trim();
    (asked.status.success() && !line.is_empty()).then(|| line.to_owned())
}
