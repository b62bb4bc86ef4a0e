//! Lines of a stream, as they are: split at `\n` alone, bytes unchanged, bounded memory.

use std::io::{self, BufRead, Read};

use bytes::{Bytes, BytesMut};

/// The longest line taken, in bytes. No topic takes a batch of this size.
pub(crate) const MAX_LINE: usize = 4 << 20;

const READ: usize = 256 << 10;

/// A line without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number in its file, from 1.
    pub(crate) number: u64,
    /// Its bytes.
    pub(crate) bytes: Bytes,
}

/// Why lines cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The stream failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The line is longer than [`MAX_LINE`].
    #[error("line {0} is longer than {MAX_LINE} bytes")]
    TooLong(u64),
}

/// Splits a stream into lines. The last line counts even without a newline.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    source: R,
    scratch: Vec<u8>,
    unsplit: BytesMut,
    taken: u64,
    ended: bool,
}

impl<R: Read> Lines<R> {
    /// The lines of `source`.
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            scratch: vec![0; READ],
            unsplit: BytesMut::new(),
            taken: 0,
            ended: false,
        }
    }

    /// Reads once and gives the lines that are complete, so that a slow stream's lines are not
    /// held back. An empty answer means that none is complete yet; `None` that the stream ended.
    pub(crate) fn next_lines(&mut self) -> Result<Option<Vec<Line>>, LineError> {
        if self.ended {
            return Ok(None);
        }
        let read = match self.source.read(&mut self.scratch) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Some(Vec::new()));
            }
            other => other?,
        };
        self.unsplit.extend_from_slice(&self.scratch[..read]);
        let mut lines = self.split();
        if read == 0 {
            self.ended = true;
            if !self.unsplit.is_empty() {
                let rest = self.unsplit.split();
                lines.push(self.line(rest));
            }
        } else if self.unsplit.len() > MAX_LINE {
            return Err(LineError::TooLong(self.taken + 1));
        }
        Ok(Some(lines))
    }

    fn split(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(length) = newline(&self.unsplit) {
            let bytes = self.unsplit.split_to(length);
            drop(self.unsplit.split_to(1));
            lines.push(self.line(bytes));
        }
        lines
    }

    fn line(&mut self, bytes: BytesMut) -> Line {
        self.taken += 1;
        Line {
            number: self.taken,
            bytes: bytes.freeze(),
        }
    }
}

/// The place of the first newline. `skip_until` of a slice is the fast search of the standard
/// library.
fn newline(mut bytes: &[u8]) -> Option<usize> {
    let all = bytes;
    let passed = bytes.skip_until(b'\n').ok()?;
    let last = passed.checked_sub(1)?;
    (all[last] == b'\n').then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in reads of `step`.
    struct Slow<'a> {
        rest: &'a [u8],
        step: usize,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let step = self.step.min(buffer.len());
            self.rest.by_ref().take(step as u64).read(buffer)
        }
    }

    fn lines(input: &[u8], step: usize) -> Vec<(u64, Vec<u8>)> {
        let mut lines = Lines::new(Slow { rest: input, step });
        let mut all = Vec::new();
        while let Some(some) = lines.next_lines().unwrap() {
            all.extend(
                some.into_iter()
                    .map(|line| (line.number, line.bytes.to_vec())),
            );
        }
        all
    }

    #[test]
    fn lines_are_the_same_however_the_stream_comes() {
        let input = b"one\r\n\n\xff\xfe\nlast";
        let expected: Vec<(u64, Vec<u8>)> = vec![
            (1, b"one\r".to_vec()),
            (2, Vec::new()),
            (3, b"\xff\xfe".to_vec()),
            (4, b"last".to_vec()),
        ];
        for step in 1..input.len() + 2 {
            assert_eq!(lines(input, step), expected, "in reads of {step}");
        }
    }

    #[test]
    fn a_final_newline_ends_the_last_line_and_begins_none() {
        assert_eq!(lines(b"a\n", 100), [(1, b"a".to_vec())]);
        assert_eq!(lines(b"\n", 100), [(1, Vec::new())]);
        assert_eq!(lines(b"", 100), []);
    }

    #[test]
    fn a_line_without_end_is_an_error_and_not_unbounded_memory() {
        let mut lines = Lines::new(io::repeat(b'x'));
        let error = loop {
            match lines.next_lines() {
                Ok(some) => assert_eq!(some, Some(Vec::new())),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, LineError::TooLong(1)), "{error}");
    }
}
