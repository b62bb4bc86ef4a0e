//! An error of a broker, as a client of the generated API sees it.

use std::fmt;

use highwater_proto::pb::v1;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What a call gives: its reply, or why there is none.
pub type Answer<T> = Result<T, Refusal>;

/// A call that failed.
#[derive(Clone)]
pub struct Refusal {
    /// The canonical code.
    pub code: Code,
    /// The reason, such as `TOPIC_NOT_FOUND`; empty when the answer has none.
    pub reason: String,
    /// What, where, why.
    pub message: String,
    /// True when the answer says when to ask again.
    pub retriable: bool,
    details: Vec<prost_types::Any>,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info();
        let details = tonic_types::Status::decode(status.details()).unwrap_or_default();
        if info.is_some() {
            assert_eq!(details.code, i32::from(status.code()), "{status:?}");
            assert_eq!(details.message, status.message(), "{status:?}");
        }
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason).unwrap_or_default(),
            message: status.message().to_owned(),
            retriable: status.get_details_retry_info().is_some(),
            details: details.details,
        }
    }
}

impl From<v1::BatchError> for Refusal {
    fn from(error: v1::BatchError) -> Self {
        let code = Code::from_i32(error.code);
        Status::with_details(code, error.message, error.status).into()
    }
}

impl Refusal {
    /// The detail of this name in `highwater.v1`.
    fn detail<M: Message + Default>(&self, name: &str) -> M {
        let url = format!("type.googleapis.com/highwater.v1.{name}");
        let found = self.details.iter().find(|detail| detail.type_url == url);
        let found = found.unwrap_or_else(|| panic!("no {name} in {self:?}"));
        M::decode(&found.value[..]).expect("a detail can be read")
    }

    /// Where the leader is.
    pub fn not_leader(&self) -> v1::NotLeader {
        self.detail("NotLeader")
    }

    /// What can be read.
    pub fn offset_range(&self) -> v1::OffsetRange {
        self.detail("OffsetRange")
    }

    /// What cannot be read.
    pub fn corrupt_data(&self) -> v1::CorruptData {
        self.detail("CorruptData")
    }

    /// The sequence that was expected.
    pub fn sequence_gap(&self) -> v1::SequenceGap {
        self.detail("SequenceGap")
    }

    /// Fails unless it has this code and reason, and says every part.
    #[track_caller]
    pub fn is(&self, code: Code, reason: &str, parts: &[&str]) {
        assert_eq!(
            (self.code, self.reason.as_str()),
            (code, reason),
            "{self:?}"
        );
        for part in parts {
            assert!(self.message.contains(part), "no {part:?} in {self:?}");
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.code, self.reason, self.message)
    }
}
