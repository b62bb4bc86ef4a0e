use bytes::Bytes;
use highwater_proto::pb::v1;
use prost::Message;
use tonic::{Code, ConnectError, Status};
use tonic_types::pb;

use super::*;

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn info(reason: &str, domain: &str) -> prost_types::Any {
    let info = pb::ErrorInfo {
        reason: reason.to_owned(),
        domain: domain.to_owned(),
        metadata: [("broker".to_owned(), "2".to_owned())].into(),
    };
    any("google.rpc.ErrorInfo", &info)
}

fn encoded(code: Code, details: Vec<prost_types::Any>) -> Bytes {
    let status = pb::Status {
        code: code as i32,
        message: "m".to_owned(),
        details,
    };
    status.encode_to_vec().into()
}

fn status(code: Code, details: Vec<prost_types::Any>) -> Error {
    Status::with_details(code, "m", encoded(code, details)).into()
}

#[test]
fn a_status_gives_its_reason_outcome_metadata_and_leader() {
    let leader = NotLeader {
        topic: "t".to_owned(),
        partition: 3,
        leader: 2,
        leader_listen: "127.0.0.1:9".to_owned(),
        leader_epoch: 7,
    };
    let details = vec![
        info("NOT_LEADER", "highwater"),
        any("highwater.v1.NotLeader", &leader),
    ];
    let error = status(Code::FailedPrecondition, details);
    assert_eq!(error.reason(), Some(Reason::NotLeader));
    assert!(error.is_retriable());
    assert_eq!(error.not_leader(), Some(&leader));
    assert_eq!(error.metadata(), [("broker".to_owned(), "2".to_owned())]);
}

#[test]
fn the_status_of_one_batch_decodes_like_that_of_a_call() {
    let gap = SequenceGap {
        producer_id: 1,
        expected_sequence: 5,
        actual_sequence: 9,
    };
    let details = vec![
        info("SEQUENCE_GAP", "highwater"),
        any("highwater.v1.SequenceGap", &gap),
    ];
    let error = Error::from(v1::BatchError {
        number: 1,
        code: Code::FailedPrecondition as i32,
        message: "gap".to_owned(),
        status: encoded(Code::FailedPrecondition, details),
    });
    assert_eq!(error.reason(), Some(Reason::SequenceGap));
    assert_eq!(error.outcome(), Outcome::Refused);
    assert_eq!(error.sequence_gap(), Some(&gap));
    assert_eq!(error.message(), "gap");
}

#[test]
fn the_offset_range_and_the_delay_are_kept() {
    let range = OffsetRange {
        offset: 1,
        log_start_offset: 5,
        high_watermark: 9,
    };
    let retry = pb::RetryInfo {
        retry_delay: Some(prost_types::Duration {
            seconds: 1,
            nanos: 500_000_000,
        }),
    };
    let details = vec![
        any("google.rpc.RetryInfo", &retry),
        info("OFFSET_OUT_OF_RANGE", "highwater"),
        any("highwater.v1.OffsetRange", &range),
    ];
    let error = status(Code::OutOfRange, details);
    assert_eq!(error.offset_range(), Some(&range));
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
}

#[test]
fn a_status_without_a_reason_of_ours_leaves_the_outcome_unknown() {
    for details in [
        vec![],
        vec![info("NOT_LEADER", "another.domain")],
        vec![info("A_LATER_REASON", "highwater")],
        vec![prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            value: vec![0xff; 9],
        }],
    ] {
        let error = status(Code::Unavailable, details);
        assert_eq!(error.reason(), None, "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert!(!error.is_retriable());
    }
    let damaged = Status::with_details(Code::Internal, "m", Bytes::from_static(&[0xff; 7]));
    assert_eq!(Error::from(damaged).outcome(), Outcome::Unknown);
}

#[test]
fn a_method_the_broker_does_not_have_was_refused() {
    assert_eq!(
        status(Code::Unimplemented, vec![]).outcome(),
        Outcome::Refused
    );
}

#[test]
fn the_reason_of_a_later_version_stays_readable() {
    let error = status(Code::Unavailable, vec![info("A_LATER_REASON", "highwater")]);
    assert!(error.to_string().contains("A_LATER_REASON"));
}

#[test]
fn a_connection_that_was_never_made_sent_nothing_and_one_that_broke_is_unknown() {
    let refused: Box<dyn std::error::Error + Send + Sync> = "connection refused".into();
    let never = Status::from_error(Box::new(ConnectError(refused)));
    let error = Error::from(never);
    assert_eq!(error.reason(), Some(Reason::Unreachable));
    assert_eq!(error.outcome(), Outcome::Retriable);
    assert!(error.message().contains("connection refused"), "{error}");

    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let error = Error::from(Status::from_error(Box::new(reset)));
    assert_eq!(error.reason(), Some(Reason::Unreachable));
    assert_eq!(error.outcome(), Outcome::Unknown);
}
