//! From the metadata of a call to the context that services ask.

use std::time::Duration;

use tonic::metadata::MetadataMap;

use crate::service;

/// The context of a call.
pub type Context = service::Context;

/// What a call may take when it does not say.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// The most of a call's time that is kept for the answer's way back: a caller that has just stopped
/// waiting never learns why.
const WAY_BACK: Duration = Duration::from_millis(200);
const FORWARD_HEADER: &str = "highwater-forward";

/// The context of a call with this metadata.
pub(crate) fn context(metadata: &MetadataMap) -> Context {
    let deadline = metadata
        .get("grpc-timeout")
        .and_then(|value| parse_timeout(value.to_str().ok()?));
    let forward = metadata
        .get(FORWARD_HEADER)
        .and_then(|value| value.to_str().ok());
    Context {
        principal: "anonymous".to_owned(),
        deadline: deadline.map_or(DEFAULT_DEADLINE, time_to_answer),
        may_forward: forward != Some("never"),
    }
}

/// What of the time that a caller waits may be used up before the answer.
fn time_to_answer(waits: Duration) -> Duration {
    waits.saturating_sub((waits / 10).min(WAY_BACK))
}

/// gRPC's timeout header: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_parse_as_grpc_spells_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in ["", "S", "12", "999999999S", "-1S", "1é"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_is_due_before_the_caller_stops_waiting() {
        let mut metadata = MetadataMap::new();
        assert_eq!(context(&metadata).deadline, DEFAULT_DEADLINE);
        for (waits, due) in [("1000m", 900), ("30S", 29_800), ("1m", 0)] {
            metadata.insert("grpc-timeout", waits.parse().unwrap());
            assert_eq!(context(&metadata).deadline.as_millis(), due, "{waits}");
        }
    }

    #[test]
    fn a_call_may_be_forwarded_unless_it_says_never() {
        let mut metadata = MetadataMap::new();
        assert!(context(&metadata).may_forward);
        metadata.insert(FORWARD_HEADER, "never".parse().unwrap());
        assert!(!context(&metadata).may_forward);
    }
}
