//! The input: files and stdin, read by a thread of their own, a few chunks ahead.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::acks::Place;
use crate::error::Failure;
use crate::record::lines::{Line, LineError, Lines};

/// How many chunks may wait; each is one read.
const AHEAD: usize = 4;

/// Lines of one file.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) file: usize,
    pub(super) lines: Vec<Line>,
}

/// The chunks of all files, in order; ends after the last or after a failure.
pub(super) type Chunks = mpsc::Receiver<Result<Chunk, Failure>>;

/// The names of the files, to say where a line is.
#[derive(Debug)]
pub(super) struct Names(Vec<String>);

impl Names {
    /// The names of these arguments.
    pub(super) fn of(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|file| name(file)).collect())
    }

    /// `file:line`.
    pub(super) fn place(&self, place: Place) -> impl fmt::Display + use<'_> {
        let name = self.0.get(place.file).map_or("stdin", String::as_str);
        format!("{name}:{}", place.line)
    }
}

fn name(file: &Path) -> String {
    match is_stdin(file) {
        true => "stdin".to_owned(),
        false => file.display().to_string(),
    }
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// True if these arguments have stdin read.
pub(super) fn reads_stdin(files: &[PathBuf]) -> bool {
    files.is_empty() || files.iter().any(|file| is_stdin(file))
}

/// Fails if one of the files cannot be opened, so that nothing is sent in vain.
pub(super) fn check(files: &[PathBuf]) -> Result<(), Failure> {
    for file in files.iter().filter(|file| !is_stdin(file)) {
        let found = fs::metadata(file).map_err(|error| not_opened(file, &error))?;
        // A pipe is opened once: that waits for its writer, and to close it would end the writer.
        if found.is_file() {
            open(file)?;
        }
    }
    Ok(())
}

fn open(file: &Path) -> Result<File, Failure> {
    File::open(file).map_err(|error| not_opened(file, &error))
}

fn not_opened(file: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("opening {}", file.display()), error)
}

/// Reads the files in order, stdin if there are none.
pub(super) fn read(files: Vec<PathBuf>) -> Chunks {
    let (sender, chunks) = mpsc::channel(AHEAD);
    let files = if files.is_empty() {
        vec![PathBuf::from("-")]
    } else {
        files
    };
    tokio::task::spawn_blocking(move || {
        for (number, file) in files.iter().enumerate() {
            let ended = match is_stdin(file) {
                true => read_file(number, file, io::stdin().lock(), &sender),
                false => open(file).and_then(|open| read_file(number, file, open, &sender)),
            };
            if let Err(failure) = ended {
                drop(sender.blocking_send(Err(failure)));
                return;
            }
        }
    });
    chunks
}

fn read_file(
    number: usize,
    path: &Path,
    source: impl Read,
    sender: &mpsc::Sender<Result<Chunk, Failure>>,
) -> Result<(), Failure> {
    let mut lines = Lines::new(source);
    loop {
        match lines.next_lines() {
            Ok(None) => return Ok(()),
            Ok(Some(some)) if some.is_empty() => {}
            Ok(Some(lines)) => {
                if sender
                    .blocking_send(Ok(Chunk {
                        file: number,
                        lines,
                    }))
                    .is_err()
                {
                    return Ok(());
                }
            }
            Err(LineError::Io(error)) => {
                return Err(Failure::io(format!("reading {}", name(path)), &error));
            }
            Err(error) => return Err(Failure::input(name(path), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_file_and_line() {
        let names = Names::of(&[PathBuf::from("a.jsonl"), PathBuf::from("-")]);
        let place = |file| names.place(Place { file, line: 7 }).to_string();
        assert_eq!([place(0), place(1)], ["a.jsonl:7", "stdin:7"]);
        let none = Names::of(&[]);
        assert_eq!(
            none.place(Place { file: 0, line: 1 }).to_string(),
            "stdin:1"
        );
    }

    #[test]
    fn a_missing_file_is_found_before_anything_is_sent() {
        let missing = check(&[PathBuf::from("-"), PathBuf::from("no/such.txt")]);
        let Err(Failure::Report(report)) = missing else {
            panic!("{missing:?}")
        };
        assert!(
            report
                .to_string()
                .starts_with("error[IO]: opening no/such.txt: "),
            "{report}"
        );
    }

    #[tokio::test]
    async fn files_come_in_order_with_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let mut chunks = read(vec![file("a", "1\n2"), file("b", "3\n")]);
        let mut seen = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk.unwrap();
            seen.extend(chunk.lines.iter().map(|line| (chunk.file, line.number)));
        }
        assert_eq!(seen, [(0, 1), (0, 2), (1, 1)]);
    }
}
