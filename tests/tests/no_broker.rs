//! What the program does without a broker: completion of shells, explanations, its version.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::{Command, Stdio};

use highwater_tests::program;

#[test]
fn each_shell_gets_a_script_that_knows_the_commands_and_their_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = program!().run(["completion", shell]).ok();
        for word in ["topic", "consume", "partitions", "from"] {
            assert!(script.text().contains(word), "{shell}: no {word:?}");
        }
    }
    program!().run(["completion", "cmd"]).end().exited(2);
}

#[test]
fn bash_completes_a_command_and_a_flag() {
    let mut script = program!()
        .run(["completion", "bash"])
        .ok()
        .text()
        .to_owned();
    let complete = |words: &str, at: usize| {
        format!(
            "COMP_WORDS=({words}); COMP_CWORD={at}; COMPREPLY=(); \
             _highwater highwater \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{}]}}\"; \
             echo \"${{COMPREPLY[@]}}\"\n",
            at - 1
        )
    };
    script.push('\n');
    script.push_str(&complete("highwater top", 1));
    script.push_str(&complete("highwater topic create t --part", 4));
    let mut bash = Command::new("bash")
        .args(["--norc", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let ended = bash.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines, ["topic", "--partitions"], "{:?}", ended.stderr);
}

#[test]
fn a_reason_is_explained_and_one_that_is_none_gets_the_nearest() {
    let explained = program!().run(["explain", "quorum-lost"]).ok();
    assert!(explained.text().contains("QUORUM_LOST"), "{explained}");
    let all = program!().run(["explain", "-o", "json"]).ok().json();
    assert!(all.as_array().unwrap().len() > 20);
    let unknown = program!().run(["explain", "QUORUM_LOSS"]).end().exited(2);
    assert!(unknown.stderr.contains("QUORUM_LOST"), "{unknown}");
}

#[test]
fn the_version_tells_a_commit_of_this_repository() {
    let version = program!().run(["--version"]).ok();
    let told = version
        .lines()
        .into_iter()
        .find_map(|line| line.strip_prefix("commit"));
    let told = told.unwrap().trim();
    let git = |args: &[&str]| Command::new("git").args(args).output().unwrap();
    // What is built from an archive has what the builder said, if anything.
    if git(&["rev-parse", "HEAD"]).status.success() && option_env!("HIGHWATER_COMMIT").is_none() {
        let known = git(&["cat-file", "-t", told]);
        assert_eq!(known.stdout, b"commit\n", "{told}: {known:?}");
    }
}
