//! How data leaves a command: a table for people, JSON or JSON lines for programs. Data goes to
//! stdout, talk to stderr.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::error::Failure;

/// How often a command that waits looks whether anybody reads what it will write.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The form of the data on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Columns for people; may change from version to version.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// An item of a list: its JSON is the contract, its cells are for people.
pub(crate) trait Row: Serialize {
    /// The headings of the columns.
    const COLUMNS: &'static [&'static str];

    /// The texts of the columns, as many as there are headings.
    fn cells(&self) -> Vec<String>;
}

/// Stdout, locked and buffered.
pub(crate) type Stdout = BufWriter<StdoutLock<'static>>;

/// Stdout, buffered. Dropping it flushes without telling of errors, so commands flush it.
pub(crate) fn stdout() -> Stdout {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// Resolves when whoever read stdout has gone. A write would tell that as well, but there may be
/// nothing to write for ever. Cancel-safe.
pub(crate) async fn reader_gone() {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if is_abandoned(io::stdout()) {
            return;
        }
    }
}

/// True for a pipe or a socket whose other end is closed.
fn is_abandoned(out: impl AsFd) -> bool {
    let mut out = [PollFd::new(&out, PollFlags::empty())];
    let gone = PollFlags::ERR | PollFlags::HUP;
    poll(&mut out, Some(&Timespec::default())).is_ok() && out[0].revents().intersects(gone)
}

/// Writes a list to stdout.
pub(crate) fn list<T: Row>(form: Form, items: &[T]) -> Result<(), Failure> {
    let mut out = stdout();
    write_list(&mut out, form, items)?;
    Ok(out.flush()?)
}

/// Writes one object to stdout; `for_people` is its text in table form.
pub(crate) fn object<T: Serialize>(
    form: Form,
    value: &T,
    for_people: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let mut out = stdout();
    match form {
        Form::Table => out.write_all(for_people(value).as_bytes())?,
        Form::Json => write_pretty(&mut out, value)?,
        Form::Jsonl => write_line(&mut out, value)?,
    }
    Ok(out.flush()?)
}

fn write_list<T: Row>(out: &mut impl Write, form: Form, items: &[T]) -> io::Result<()> {
    match form {
        Form::Table => out.write_all(table(items).as_bytes()),
        Form::Json => write_pretty(out, &items),
        Form::Jsonl => items.iter().try_for_each(|item| write_line(out, item)),
    }
}

/// Writes `value` as one line of JSON.
pub(crate) fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn write_pretty(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}

/// So many of what `noun` names one of: "1 broker", "3 brokers".
pub(crate) fn count(number: impl Display + PartialEq + From<bool>, noun: &str) -> String {
    // `true` is the one of every integer.
    let one = number == true.into();
    format!("{number} {noun}{}", if one { "" } else { "s" })
}

/// The items in aligned columns under their headings, each line ended.
pub(crate) fn table<T: Row>(items: &[T]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(T::COLUMNS.iter().copied());
    for item in items {
        table.add_row(item.cells());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// A JSON array or JSON lines, written item by item as they come.
#[derive(Debug)]
pub(crate) struct JsonStream {
    array: bool,
    empty: bool,
}

impl JsonStream {
    /// A stream of JSON lines, or of one array.
    pub(crate) fn new(array: bool) -> Self {
        Self { array, empty: true }
    }

    /// Writes the next item.
    pub(crate) fn item(&mut self, out: &mut impl Write, item: &impl Serialize) -> io::Result<()> {
        if !self.array {
            return write_line(out, item);
        }
        out.write_all(if self.empty { b"[\n" } else { b",\n" })?;
        self.empty = false;
        Ok(serde_json::to_writer(out, item)?)
    }

    /// Ends the array. A command that `failed` and did nothing leaves stdout empty.
    pub(crate) fn end(self, out: &mut impl Write, failed: bool) -> io::Result<()> {
        match (self.array, self.empty) {
            (false, _) => Ok(()),
            (true, true) if failed => Ok(()),
            (true, true) => out.write_all(b"[]\n"),
            (true, false) => out.write_all(b"\n]\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fruit {
        name: &'static str,
        count: Option<u32>,
    }

    impl Row for Fruit {
        const COLUMNS: &'static [&'static str] = &["NAME", "COUNT"];

        fn cells(&self) -> Vec<String> {
            let count = self.count.map_or_else(|| "-".to_owned(), |n| n.to_string());
            vec![self.name.to_owned(), count]
        }
    }

    const FRUITS: [Fruit; 2] = [
        Fruit {
            name: "apple",
            count: Some(3),
        },
        Fruit {
            name: "fig",
            count: None,
        },
    ];

    fn written(form: Form, fruits: &[Fruit]) -> String {
        let mut out = Vec::new();
        write_list(&mut out, form, fruits).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_has_headings_and_aligned_columns() {
        let expected = "NAME   COUNT\napple  3\nfig    -\n";
        assert_eq!(written(Form::Table, &FRUITS), expected);
        assert_eq!(written(Form::Table, &[]), "NAME  COUNT\n");
    }

    #[test]
    fn json_is_one_document_and_jsonl_one_object_a_line() {
        let parsed: serde_json::Value =
            serde_json::from_str(&written(Form::Json, &FRUITS)).unwrap();
        assert_eq!(parsed[1]["count"], serde_json::Value::Null);
        let lines = "{\"name\":\"apple\",\"count\":3}\n{\"name\":\"fig\",\"count\":null}\n";
        assert_eq!(written(Form::Jsonl, &FRUITS), lines);
        assert_eq!(written(Form::Json, &[]), "[]\n");
    }

    #[test]
    fn a_pipe_without_a_reader_is_abandoned() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_abandoned(&writer));
        drop(reader);
        assert!(is_abandoned(&writer));
        assert!(!is_abandoned(tempfile::tempfile().unwrap()));
    }

    #[test]
    fn a_failure_before_anything_was_done_prints_nothing() {
        let mut out = Vec::new();
        JsonStream::new(true).end(&mut out, true).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn a_streamed_array_is_one_document() {
        for count in 0..3 {
            let mut out = Vec::new();
            let mut stream = JsonStream::new(true);
            for n in 0..count {
                stream.item(&mut out, &n).unwrap();
            }
            stream.end(&mut out, count > 0).unwrap();
            let parsed: Vec<u32> = serde_json::from_slice(&out).unwrap();
            assert_eq!(parsed, (0..count).collect::<Vec<_>>());
        }
    }
}
