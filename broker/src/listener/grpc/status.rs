//! The one map from errors to gRPC: canonical code, `ErrorInfo` with the reason, `RetryInfo` where
//! asking again may help, and the typed detail.

use std::collections::HashMap;
use std::time::Duration;

use highwater_proto::Offset;
use highwater_proto::pb::v1;
use highwater_proto::reason::DOMAIN;
use prost::Message;
use tonic::Status;
use tonic_types::pb;

use crate::service::{Detail, Error};

/// How long a client should wait before it asks again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// The status that tells a client of `error`.
pub(crate) fn status(error: &Error) -> Status {
    let encoded = encode(error);
    Status::with_details(error.reason.code(), error.message.clone(), encoded.into())
}

/// The encoded `google.rpc.Status` of `error`, as in-band errors and trailers carry it.
pub(crate) fn encode(error: &Error) -> Vec<u8> {
    let mut details = vec![any(
        "google.rpc.ErrorInfo",
        &pb::ErrorInfo {
            reason: error.reason.as_str().to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: HashMap::new(),
        },
    )];
    if error.reason.is_retriable() {
        let retry_delay = prost_types::Duration::try_from(RETRY_AFTER).ok();
        details.push(any("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay }));
    }
    details.extend(detail(&error.detail));
    let status = tonic_types::Status {
        code: error.reason.code().into(),
        message: error.message.clone(),
        details,
    };
    status.encode_to_vec()
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn detail(detail: &Detail) -> Option<prost_types::Any> {
    match detail {
        Detail::None => None,
        Detail::NotLeader(hint) => {
            let (leader, leader_listen) = match &hint.leader {
                Some((broker, address)) => (wire_number(broker.0), address.clone()),
                None => (0, String::new()),
            };
            let detail = v1::NotLeader {
                topic: hint.topic.clone(),
                partition: wire_number(hint.partition.0),
                leader,
                leader_listen,
                leader_epoch: hint.leader_epoch,
            };
            Some(any("highwater.v1.NotLeader", &detail))
        }
        Detail::OffsetRange {
            offset,
            log_start_offset,
            high_watermark,
        } => {
            let detail = v1::OffsetRange {
                offset: *offset,
                log_start_offset: log_start_offset.to_i64(),
                high_watermark: high_watermark.to_i64(),
            };
            Some(any("highwater.v1.OffsetRange", &detail))
        }
        Detail::CorruptData {
            topic,
            partition,
            offset,
            next_offset,
        } => {
            let detail = v1::CorruptData {
                topic: topic.clone(),
                partition: wire_number(partition.0),
                offset: *offset,
                next_offset: next_offset.map(Offset::to_i64),
            };
            Some(any("highwater.v1.CorruptData", &detail))
        }
        Detail::SequenceGap {
            producer_id,
            expected,
            actual,
        } => {
            let detail = v1::SequenceGap {
                producer_id: *producer_id,
                expected_sequence: *expected,
                actual_sequence: *actual,
            };
            Some(any("highwater.v1.SequenceGap", &detail))
        }
    }
}

/// A number of the vocabulary as the wire's signed field.
pub(crate) fn wire_number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use highwater_proto::Reason;
    use tonic_types::StatusExt;

    use tonic::Code;

    use super::*;

    #[test]
    fn a_status_carries_code_reason_and_typed_detail() {
        let error = Error::new(Reason::OffsetOutOfRange, "offset 9 is above the end").with(
            Detail::OffsetRange {
                offset: 9,
                log_start_offset: Offset(2),
                high_watermark: Offset(5),
            },
        );
        let status = status(&error);
        assert_eq!(status.code(), Code::OutOfRange);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("OFFSET_OUT_OF_RANGE", DOMAIN)
        );
        let details = tonic_types::Status::decode(status.details())
            .unwrap()
            .details;
        let range = v1::OffsetRange::decode(details[1].value.as_slice()).unwrap();
        assert_eq!(
            (range.offset, range.log_start_offset, range.high_watermark),
            (9, 2, 5)
        );
    }

    #[test]
    fn retriable_reasons_say_when_to_ask_again() {
        let retry = |reason| {
            status(&Error::new(reason, "x"))
                .get_details_retry_info()
                .is_some()
        };
        assert!(retry(Reason::NoLeader) && !retry(Reason::BadBatch));
    }
}
