//! Where `consume --from` begins.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;

use crate::args::span;

/// Numbers of more digits than this are milliseconds, others seconds.
const SECONDS_DIGITS: usize = 11;

/// The length of a date without a time of day.
const DATE_LEN: usize = "2026-11-20".len();

/// A position in each partition that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// The first record that is there.
    Start,
    /// The high watermark.
    End,
    /// An offset.
    Offset(u64),
    /// This many records before the high watermark, or the first if there are fewer.
    Last(u64),
    /// The first record of this time or later, in milliseconds since 1970.
    Time(i64),
    /// The same, so many milliseconds before now.
    Ago(i64),
}

/// The text names no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no position{why}; use start, end, an offset such as 42, -10 for the last 10 records, @2026-11-20T10:00:00Z, @1795168800 (seconds), @-10m"
)]
pub(crate) struct PositionError {
    text: String,
    why: String,
}

impl Position {
    /// The same position with a time before now made a time, `now` in milliseconds since 1970.
    pub(crate) fn resolved(self, now: i64) -> Self {
        match self {
            Self::Ago(ago) => Self::Time(now.saturating_sub(ago)),
            other => other,
        }
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| PositionError {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        let plain = || wrong("");
        match text {
            "start" => return Ok(Self::Start),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Some(time) = text.strip_prefix('@') {
            return parse_time(time).map_err(|why| wrong(&why));
        }
        match text.strip_prefix('-') {
            Some(count) if digits(count) => count.parse().map(Self::Last).map_err(|_| plain()),
            None if digits(text) => text.parse().map(Self::Offset).map_err(|_| plain()),
            _ => Err(plain()),
        }
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn parse_time(text: &str) -> Result<Position, String> {
    if digits(text) {
        let number: i64 = text
            .parse()
            .map_err(|_| " (too large a number)".to_owned())?;
        let unit = if text.len() > SECONDS_DIGITS { 1 } else { 1000 };
        return Ok(Position::Time(number.saturating_mul(unit)));
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = span(ago).ok_or_else(|| " (not a span of time such as 10m or 30d)".to_owned())?;
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(Position::Ago(ago));
    }
    // The last hours of the year 9999 are times as well, and nothing is later.
    let last = || Position::Time(Timestamp::MAX.as_millisecond());
    let last_year = || text.starts_with("9999-12-3");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Position::Time(time.as_millisecond()));
    }
    if let Ok(date) = text.parse::<Date>()
        && text.len() == DATE_LEN
    {
        let day = date.to_zoned(TimeZone::UTC);
        return Ok(day.map_or_else(
            |_| last(),
            |day| Position::Time(day.timestamp().as_millisecond()),
        ));
    }
    match Pieces::parse(text) {
        Ok(pieces) if last_year() && pieces.time().is_some() && pieces.offset().is_some() => {
            Ok(last())
        }
        _ => Err(" (not an RFC 3339 time)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn names_offsets_and_counts_are_positions() {
        assert_eq!(position("start"), Position::Start);
        assert_eq!(position("end"), Position::End);
        assert_eq!(position("0"), Position::Offset(0));
        assert_eq!(position("8012"), Position::Offset(8012));
        assert_eq!(position("-10"), Position::Last(10));
    }

    #[test]
    fn times_are_rfc_3339_a_number_or_ago() {
        let at = 1_795_168_800_000;
        assert_eq!(position("@1795168800"), Position::Time(at));
        assert_eq!(position("@1795168800000"), Position::Time(at));
        assert_eq!(position("@2026-11-20T10:00:00Z"), Position::Time(at));
        assert_eq!(position("@2026-11-20T10:00Z"), Position::Time(at));
        assert_eq!(
            position("@2026-11-20T11:00:00.5+01:00"),
            Position::Time(at + 500)
        );
        assert_eq!(position("@2026-11-20"), Position::Time(at - 36_000_000));
        let last = Position::Time(Timestamp::MAX.as_millisecond());
        for text in [
            "@9999-12-31T23:59:59Z",
            "@9999-12-31T23:59:59+01:00",
            "@9999-12-31",
        ] {
            assert_eq!(position(text), last, "{text}");
        }
        assert_eq!(position("@-10m"), Position::Ago(600_000));
        assert_eq!(position("@-1h30m"), Position::Ago(5_400_000));
        assert_eq!(position("@-30d"), Position::Ago(30 * 86_400_000));
    }

    #[test]
    fn ago_is_counted_from_now() {
        assert_eq!(Position::Ago(600).resolved(1000), Position::Time(400));
        assert_eq!(Position::End.resolved(1000), Position::End);
    }

    #[test]
    fn other_texts_are_refused() {
        let wrong = [
            "",
            "-",
            "--1",
            "begin",
            "1.5",
            "@",
            "@yesterday",
            "@2026-11-20T10:00:00",
            "@9999-12-31T25:59:59Z",
            "@9999-12-31T23:59:59",
            "@-",
            "@-10x",
            "+5",
            "99999999999999999999",
        ];
        for text in wrong {
            assert!(text.parse::<Position>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_span_without_a_unit_is_told_what_one_looks_like() {
        for wrong in ["@-10", "@-10x", "@-", "@-1y"] {
            let error = wrong.parse::<Position>().unwrap_err().to_string();
            assert!(error.contains("such as 10m or 30d"), "{error}");
        }
    }
}
