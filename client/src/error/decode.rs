//! From what arrives (a gRPC status, the encoded status of one batch of a session) to an [`Error`].

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::pb::v1;
use highwater_proto::reason::{DOMAIN, Outcome, Reason};
use prost::Message;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::pb;

use super::{CorruptData, Detail, Error, Inner, NotLeader, OffsetRange, SequenceGap};

const NOT_LEADER: &str = "type.googleapis.com/highwater.v1.NotLeader";
const OFFSET_RANGE: &str = "type.googleapis.com/highwater.v1.OffsetRange";
const SEQUENCE_GAP: &str = "type.googleapis.com/highwater.v1.SequenceGap";
const CORRUPT_DATA: &str = "type.googleapis.com/highwater.v1.CorruptData";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        if let Some(error) = transport(&status) {
            return error;
        }
        let details = pb::Status::decode(status.details()).map(|s| s.details);
        let mut inner = without_details(status.code(), transport_message(&status));
        inner.take_details(details.unwrap_or_default());
        Self(Arc::new(inner))
    }
}

impl From<v1::BatchError> for Error {
    fn from(error: v1::BatchError) -> Self {
        let status = decode_status(&error.status);
        let mut inner = without_details(Code::from(error.code), error.message);
        inner.take_details(status.details);
        Self(Arc::new(inner))
    }
}

fn decode_status(bytes: &Bytes) -> pb::Status {
    pb::Status::decode(bytes.clone()).unwrap_or_default()
}

/// What a status says that carries no reason of ours: it may come from the transport or from
/// something between client and broker, so only what never ran a handler counts as refused.
fn without_details(code: Code, message: String) -> Inner {
    let outcome = match code {
        Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied => Outcome::Refused,
        _ => Outcome::Unknown,
    };
    // What listens there has cut off a call that took as long as the caller waits.
    let late = code == Code::DeadlineExceeded
        || (code == Code::Cancelled && message == TimeoutExpired(()).to_string());
    Inner {
        reason: late.then_some(Reason::TimedOut),
        code,
        outcome,
        message,
        detail: None,
        metadata: Vec::new(),
        retry_after: None,
        last: None,
        answered: false,
    }
}

impl Inner {
    fn take_details(&mut self, details: Vec<prost_types::Any>) {
        for any in details {
            let body = any.value.as_slice();
            match any.type_url.as_str() {
                ERROR_INFO => self.take_info(pb::ErrorInfo::decode(body).unwrap_or_default()),
                RETRY_INFO => self.take_retry(pb::RetryInfo::decode(body).unwrap_or_default()),
                NOT_LEADER => {
                    self.detail = NotLeader::decode(body).ok().map(Detail::NotLeader);
                }
                OFFSET_RANGE => {
                    self.detail = OffsetRange::decode(body).ok().map(Detail::OffsetRange);
                }
                SEQUENCE_GAP => {
                    self.detail = SequenceGap::decode(body).ok().map(Detail::SequenceGap);
                }
                CORRUPT_DATA => {
                    self.detail = CorruptData::decode(body).ok().map(Detail::CorruptData);
                }
                _ => {}
            }
        }
    }

    fn take_info(&mut self, info: pb::ErrorInfo) {
        if info.domain != DOMAIN {
            return;
        }
        self.answered = true;
        self.metadata = info.metadata.into_iter().collect();
        self.metadata.sort();
        match info.reason.parse::<Reason>() {
            Ok(reason) => {
                self.outcome = reason.outcome();
                self.reason = Some(reason);
            }
            // A newer broker's reason: its text is kept for people, its outcome is not known.
            Err(_) => self.message = format!("{} ({})", self.message, info.reason),
        }
    }

    fn take_retry(&mut self, retry: pb::RetryInfo) {
        let delay = retry.retry_delay.unwrap_or_default();
        let seconds = u64::try_from(delay.seconds).unwrap_or(0);
        let nanos = u32::try_from(delay.nanos).unwrap_or(0);
        self.retry_after = Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()));
    }
}

/// The error of a call that no broker answered: it has a cause on this side. Nothing was sent if
/// there was no connection; else nobody knows.
fn transport(status: &Status) -> Option<Error> {
    status.source()?;
    let message = transport_message(status);
    if causes(status).any(|cause| cause.is::<ConnectError>()) {
        return Some(Error::new(Reason::Unreachable, message));
    }
    let reason = match causes(status).any(|cause| cause.is::<TimeoutExpired>()) {
        true => Reason::TimedOut,
        false => Reason::Unreachable,
    };
    Some(Error::new(reason, message).with_outcome(Outcome::Unknown))
}

fn causes<'a>(
    status: &'a Status,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> + 'a {
    std::iter::successors(status.source(), |cause| (*cause).source())
}

/// The message with its deepest cause, which for transport errors is the one that says something.
fn transport_message(status: &Status) -> String {
    let cause = causes(status).last().map(ToString::to_string);
    match cause {
        Some(cause) if !status.message().contains(&cause) => {
            format!("{}: {cause}", status.message())
        }
        _ if status.message().is_empty() => status.code().description().to_owned(),
        _ => status.message().to_owned(),
    }
}
