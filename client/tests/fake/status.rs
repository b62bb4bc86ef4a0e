//! Errors as the brokers encode them.

use highwater_client::Reason;
use highwater_proto::pb::v1;
use prost::Message;
use tonic::Status;
use tonic_types::pb;

pub(crate) fn of(reason: Reason, message: impl Into<String>) -> Status {
    with(reason, message.into(), None)
}

pub(crate) fn not_leader(hint: &v1::NotLeader) -> Status {
    let detail = any("highwater.v1.NotLeader", hint);
    with(Reason::NotLeader, "not the leader".to_owned(), Some(detail))
}

pub(crate) fn gap(gap: &v1::SequenceGap) -> Status {
    let detail = any("highwater.v1.SequenceGap", gap);
    with(
        Reason::SequenceGap,
        "not the next sequence".to_owned(),
        Some(detail),
    )
}

pub(crate) fn out_of_range(range: &v1::OffsetRange) -> Status {
    let detail = any("highwater.v1.OffsetRange", range);
    with(
        Reason::OffsetOutOfRange,
        "no such offset".to_owned(),
        Some(detail),
    )
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn with(reason: Reason, message: String, detail: Option<prost_types::Any>) -> Status {
    let info = pb::ErrorInfo {
        reason: reason.as_str().to_owned(),
        domain: "highwater".to_owned(),
        metadata: Default::default(),
    };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    details.extend(detail);
    let status = pb::Status {
        code: reason.code() as i32,
        message: message.clone(),
        details,
    };
    Status::with_details(reason.code(), message, status.encode_to_vec().into())
}

/// The error of one batch of a session.
pub(crate) fn of_batch(number: u64, status: &Status) -> v1::BatchError {
    v1::BatchError {
        number,
        code: status.code() as i32,
        message: status.message().to_owned(),
        status: status.details().to_vec().into(),
    }
}
