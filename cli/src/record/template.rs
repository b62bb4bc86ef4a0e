//! The format of `consume -f`: `%` fields and backslash escapes, as kcat and rpk spell them.

use std::io::{self, Write};

use super::escape::{self, EscapeError};
use super::view::RecordView;

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Timestamp,
    Time,
    AppendTime,
    Headers,
    KeyLength,
    ValueLength,
}

/// Why a format cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// `%` before a letter that names nothing.
    #[error("'%{0}' is no field; there are %t %p %o %k %v %d %T %a %h %K %V %%")]
    UnknownField(char),
    /// The last character is a lone `%`.
    #[error("it ends with a lone '%'; write '%%' for one")]
    Unfinished,
    /// An escape that means nothing.
    #[error(transparent)]
    Escape(#[from] EscapeError),
}

impl Template {
    /// The value and a newline.
    pub(crate) fn value_per_line() -> Self {
        Self {
            parts: vec![Part::Field(Field::Value), Part::Text(b"\n".to_vec())],
        }
    }

    /// Reads a format.
    pub(crate) fn parse(format: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut rest = format.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => text.push(escape::escaped(&mut rest)?),
                '%' => match rest.next().ok_or(TemplateError::Unfinished)? {
                    '%' => text.push(b'%'),
                    letter => {
                        if !text.is_empty() {
                            parts.push(Part::Text(std::mem::take(&mut text)));
                        }
                        parts.push(Part::Field(Field::of(letter)?));
                    }
                },
                other => text.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { parts })
    }

    /// Writes `record` in this format. A key or value that is null writes nothing and has length
    /// -1; headers are `name=value` with commas between.
    pub(crate) fn write(&self, out: &mut impl Write, record: &RecordView<'_>) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => out.write_all(text),
            Part::Field(field) => field.write(out, record),
        })
    }
}

impl Field {
    fn of(letter: char) -> Result<Self, TemplateError> {
        Ok(match letter {
            't' => Self::Topic,
            'p' => Self::Partition,
            'o' => Self::Offset,
            'k' => Self::Key,
            'v' => Self::Value,
            'd' => Self::Timestamp,
            'T' => Self::Time,
            'a' => Self::AppendTime,
            'h' => Self::Headers,
            'K' => Self::KeyLength,
            'V' => Self::ValueLength,
            other => return Err(TemplateError::UnknownField(other)),
        })
    }

    fn write(self, out: &mut impl Write, record: &RecordView<'_>) -> io::Result<()> {
        match self {
            Self::Topic => out.write_all(record.topic.as_bytes()),
            Self::Partition => write!(out, "{}", record.partition),
            Self::Offset => write!(out, "{}", record.offset),
            Self::Key => out.write_all(record.key.unwrap_or_default()),
            Self::Value => out.write_all(record.value.unwrap_or_default()),
            Self::Timestamp => write!(out, "{}", record.timestamp),
            Self::Time => write_time(out, record.timestamp),
            Self::AppendTime => write!(out, "{}", record.append_time),
            Self::KeyLength => write_length(out, record.key),
            Self::ValueLength => write_length(out, record.value),
            Self::Headers => write_headers(out, record),
        }
    }
}

/// RFC 3339 with milliseconds, in UTC. A producer may claim a time that no calendar has: then the
/// number.
fn write_time(out: &mut impl Write, time: i64) -> io::Result<()> {
    match jiff::Timestamp::from_millisecond(time) {
        Ok(time) => write!(out, "{time:.3}"),
        Err(_) => write!(out, "{time}"),
    }
}

fn write_length(out: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => write!(out, "{}", bytes.len()),
        None => out.write_all(b"-1"),
    }
}

fn write_headers(out: &mut impl Write, record: &RecordView<'_>) -> io::Result<()> {
    for (place, header) in record.headers.iter().enumerate() {
        out.write_all(if place == 0 { b"" } else { b"," })?;
        out.write_all(header.name)?;
        out.write_all(b"=")?;
        out.write_all(header.value.unwrap_or_default())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::view::HeaderView;
    use super::*;

    fn written(format: &str, key: Option<&[u8]>) -> String {
        let record = RecordView {
            topic: "changes",
            partition: 3,
            offset: 8012,
            timestamp: 1_370_565_812_000,
            append_time: 1_370_565_812_042,
            key,
            value: Some(b"v1"),
            headers: vec![
                HeaderView {
                    name: b"a",
                    value: Some(b"1"),
                },
                HeaderView {
                    name: b"b",
                    value: None,
                },
            ],
        };
        let mut out = Vec::new();
        Template::parse(format)
            .unwrap()
            .write(&mut out, &record)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_and_escapes_are_filled_in() {
        assert_eq!(written(r"%p:%o %k=%v\n", Some(b"k1")), "3:8012 k1=v1\n");
        assert_eq!(
            written(r"%t\t%d\\%%", Some(b"k1")),
            "changes\t1370565812000\\%"
        );
        assert_eq!(written("%h|%K|%V", Some(b"k1")), "a=1,b=|2|2");
        assert_eq!(
            written("%T %a", None),
            "2013-06-07T00:43:32.000Z 1370565812042"
        );
        assert_eq!(written("", None), "");
    }

    #[test]
    fn a_null_key_is_nothing_of_length_minus_one() {
        assert_eq!(written("<%k>%K", None), "<>-1");
        assert_eq!(written("<%k>%K", Some(b"")), "<>0");
    }

    #[test]
    fn the_default_is_the_value_a_line() {
        assert_eq!(
            Template::parse(r"%v\n").unwrap(),
            Template::value_per_line()
        );
    }

    #[test]
    fn unknown_fields_and_escapes_are_refused() {
        assert_eq!(Template::parse("%z"), Err(TemplateError::UnknownField('z')));
        assert_eq!(Template::parse("100%"), Err(TemplateError::Unfinished));
        let unknown = TemplateError::Escape(EscapeError::Unknown('q'));
        assert_eq!(Template::parse(r"\q"), Err(unknown));
    }
}
