//! Backslash escapes in arguments: `\t`, `\n`, `\r`, `\0`, `\\` and `\xHH`.

/// Why a text with escapes cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EscapeError {
    /// The last character is a lone backslash.
    #[error("it ends with a lone backslash; write '\\\\' for one")]
    Unfinished,
    /// A backslash before a character that means nothing there.
    #[error("'\\{0}' is no escape; there are \\t \\n \\r \\0 \\\\ \\xHH")]
    Unknown(char),
    /// `\x` without two hexadecimal digits.
    #[error("'\\x' needs two hexadecimal digits, such as '\\x1f'")]
    Hex,
}

/// The bytes that `text` stands for.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, EscapeError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\\' {
            bytes.push(escaped(&mut rest)?);
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(bytes)
}

/// The byte of an escape whose backslash has been read.
pub(crate) fn escaped(rest: &mut std::str::Chars<'_>) -> Result<u8, EscapeError> {
    match rest.next().ok_or(EscapeError::Unfinished)? {
        't' => Ok(b'\t'),
        'n' => Ok(b'\n'),
        'r' => Ok(b'\r'),
        '0' => Ok(0),
        '\\' => Ok(b'\\'),
        'x' => {
            let mut digit = || {
                rest.next()
                    .and_then(|c| c.to_digit(16))
                    .ok_or(EscapeError::Hex)
            };
            let value = digit()? * 16 + digit()?;
            u8::try_from(value).map_err(|_| EscapeError::Hex)
        }
        other => Err(EscapeError::Unknown(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_their_bytes() {
        assert_eq!(unescape(r"a\tb\n\r\0\\").unwrap(), b"a\tb\n\r\0\\");
        assert_eq!(unescape(r"\x1f\xFF").unwrap(), [0x1f, 0xff]);
        assert_eq!(unescape("é=").unwrap(), "é=".as_bytes());
        assert_eq!(unescape("").unwrap(), b"");
    }

    #[test]
    fn other_escapes_are_refused() {
        assert_eq!(unescape(r"a\"), Err(EscapeError::Unfinished));
        assert_eq!(unescape(r"\q"), Err(EscapeError::Unknown('q')));
        assert_eq!(unescape(r"\x1"), Err(EscapeError::Hex));
        assert_eq!(unescape(r"\xzz"), Err(EscapeError::Hex));
    }
}
