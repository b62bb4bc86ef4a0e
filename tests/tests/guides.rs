//! The guides: their commands are run against a broker and print what the page shows, and their code is
//! quoted from programs that run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use highwater_broker::testing::Broker;
use highwater_tests::Program;
use highwater_tests::guide::{Step, blocks, matches, steps};

/// Ends what a command printed; its exit code follows.
const END: &str = "@@ended ";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn pages() -> Vec<PathBuf> {
    let guides = fs::read_dir(root().join("docs/guides")).unwrap();
    let mut pages: Vec<PathBuf> = guides.map(|entry| entry.unwrap().path()).collect();
    pages.push(root().join("README.md"));
    pages.push(root().join("docs/client.md"));
    pages.sort();
    pages
}

/// Runs the commands of a page one after the other in one shell, and gives what each printed, and its
/// exit code. The broker is there as for somebody who follows the page.
fn run(page: &[Step]) -> Vec<(Vec<String>, String)> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let broker = runtime.block_on(Broker::start()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let highwater = env!("CARGO_BIN_EXE_highwater-under-test");
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(highwater, bin.join("highwater")).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut script = String::from("exec 2>&1\n");
    for step in page {
        script += &format!("{}\nprintf '\\n{END}%d\\n' $?\n", step.command);
    }
    let ended = Program::at("bash")
        .run(["-c", &script])
        .in_dir(dir.path())
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("HIGHWATER_BROKERS", broker.address())
        .within(Duration::from_secs(120))
        .ok();
    let mut printed = vec![Vec::new()];
    let mut results = Vec::new();
    for line in ended.lines() {
        match line.strip_prefix(END) {
            Some(code) => {
                let mut lines: Vec<String> = printed.pop().unwrap();
                // The line break before the mark, if the output ended with one of its own.
                if lines.last().is_some_and(String::is_empty) {
                    lines.pop();
                }
                results.push((lines, code.to_owned()));
                printed.push(Vec::new());
            }
            None => printed.last_mut().unwrap().push(line.to_owned()),
        }
    }
    results
}

#[test]
fn the_commands_of_the_guides_do_what_the_page_shows() {
    let mut count = 0;
    for page in pages() {
        let steps = steps(&fs::read_to_string(&page).unwrap());
        if steps.is_empty() {
            continue;
        }
        count += steps.len();
        let results = run(&steps);
        assert_eq!(
            results.len(),
            steps.len(),
            "{}: {results:?}",
            page.display()
        );
        for (step, (printed, code)) in steps.iter().zip(&results) {
            let place = format!("{}:{}: {}", page.display(), step.line, step.command);
            assert_eq!(code, "0", "{place}\n{printed:#?}");
            let lines: Vec<&str> = printed.iter().map(String::as_str).collect();
            assert!(matches(&step.shown, &lines), "{place} prints\n{printed:#?}");
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

#[test]
fn the_code_of_the_guides_is_quoted_from_programs_that_run() {
    let examples = fs::read_dir(root().join("client/examples")).unwrap();
    let mut programs: Vec<String> = examples
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for test in ["app.rs", "quoted.rs"] {
        let path = root().join("client/tests").join(test);
        programs.push(fs::read_to_string(path).unwrap());
    }
    let mut count = 0;
    for page in pages() {
        for (line, quote) in blocks(&fs::read_to_string(&page).unwrap(), "rust") {
            count += 1;
            let quoted = programs.iter().any(|program| program.contains(&quote));
            assert!(quoted, "{}:{line} is in no example", page.display());
        }
    }
    assert!(count >= 14, "only {count} quotes were found");
}
