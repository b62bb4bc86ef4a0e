//! The values of settings: text to number and back. A number may carry a suffix.

use std::ops::RangeInclusive;

use super::{CleanupPolicy, Durability};

/// The largest number a setting takes: what other clients can hold in a signed 64-bit integer.
pub(super) const MAX: u64 = i64::MAX as u64;

const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
];
const SIZES: [(&str, u64); 4] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Milliseconds, or a number with one of `ms`, `s`, `m`, `h`, `d`.
pub(super) fn time(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    number(text, &TIMES)
        .ok_or("give milliseconds, or a number with ms, s, m, h or d")
        .map_err(str::to_owned)
        .and_then(|ms| within(ms, range, "milliseconds"))
}

/// Bytes, or a number with one of `KiB`, `MiB`, `GiB`, `TiB`.
pub(super) fn size(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    number(text, &SIZES)
        .ok_or("give bytes, or a number with KiB, MiB, GiB or TiB")
        .map_err(str::to_owned)
        .and_then(|bytes| within(bytes, range, "bytes"))
}

/// `-1` for no limit, or what `limited` takes.
pub(super) fn or_unlimited(
    text: &str,
    limited: impl FnOnce(&str) -> Result<u64, String>,
) -> Result<Option<u64>, String> {
    match text {
        "-1" => Ok(None),
        text => limited(text)
            .map(Some)
            .map_err(|why| format!("{why}, or -1 for no limit")),
    }
}

pub(super) fn show_or_unlimited(limit: Option<u64>) -> String {
    limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string())
}

pub(super) fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "quorum-fsync" => Ok(Durability::QuorumFsync),
        "quorum-memory" | "leader-memory" => Err(format!(
            "{text} is not offered yet, because a power cut could lose acknowledged records; \
             use quorum-fsync"
        )),
        _ => Err("it must be quorum-fsync".to_owned()),
    }
}

pub(super) fn show_durability(durability: Durability) -> String {
    match durability {
        Durability::QuorumFsync => "quorum-fsync".to_owned(),
    }
}

pub(super) fn cleanup_policy(text: &str) -> Result<CleanupPolicy, String> {
    match text {
        "delete" => Ok(CleanupPolicy::Delete),
        "compact" | "compact,delete" | "delete,compact" => {
            Err("compaction is not offered yet; use delete".to_owned())
        }
        _ => Err("it must be delete".to_owned()),
    }
}

pub(super) fn show_cleanup_policy(policy: CleanupPolicy) -> String {
    match policy {
        CleanupPolicy::Delete => "delete".to_owned(),
    }
}

/// Digits, then nothing or one of `units`; `None` for anything else and above [`MAX`].
fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    let value = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (value <= MAX).then_some(value)
}

fn within(value: u64, range: RangeInclusive<u64>, unit: &str) -> Result<u64, String> {
    match range {
        range if range.contains(&value) => Ok(value),
        range if *range.end() == MAX => {
            Err(format!("it must be at least {} {unit}", range.start()))
        }
        range => Err(format!(
            "it must be from {} to {} {unit}",
            range.start(),
            range.end()
        )),
    }
}
