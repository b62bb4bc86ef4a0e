//! The one error of this crate: a reason of the shared table, what may be concluded about the
//! request (its [`Outcome`]), and the typed details that the broker sent.

mod decode;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::Offset;
pub use highwater_proto::pb::v1::{CorruptData, NotLeader, OffsetRange, SequenceGap};
pub use highwater_proto::reason::{Outcome, Reason};
use tonic::Code;

use crate::admin::Offsets;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and whether anything may have been written.
///
/// Cheap to clone: all records of a failed batch share one. An outcome that is not known stays
/// [`Outcome::Unknown`]; no error claims that nothing was written unless that is proven.
#[derive(Debug, Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    reason: Option<Reason>,
    code: Code,
    outcome: Outcome,
    message: String,
    detail: Option<Detail>,
    metadata: Vec<(String, String)>,
    retry_after: Option<Duration>,
    last: Option<Error>,
    /// Whether a broker has answered so; else the client found it.
    answered: bool,
}

/// The typed part of an error, for the reasons that have one.
#[derive(Debug, Clone)]
enum Detail {
    NotLeader(NotLeader),
    OffsetRange(OffsetRange),
    SequenceGap(SequenceGap),
    CorruptData(CorruptData),
}

impl Error {
    /// An error that the client itself found.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            reason: Some(reason),
            code: reason.code(),
            outcome: reason.outcome(),
            message: message.into(),
            detail: None,
            metadata: Vec::new(),
            retry_after: None,
            last: None,
            answered: false,
        }))
    }

    /// Time ran out after this error, if there was one; it is told, too.
    pub(crate) fn after(mut self, last: Option<&Self>) -> Self {
        if let Some(last) = last {
            let inner = Arc::make_mut(&mut self.0);
            inner.message = format!("{}; the last answer was: {last}", inner.message);
            inner.last = Some(last.clone());
        }
        self
    }

    /// The same error, of a request of which an earlier attempt may have taken effect.
    pub(crate) fn maybe_done(mut self) -> Self {
        if self.outcome() != Outcome::Unknown {
            let inner = Arc::make_mut(&mut self.0);
            inner.message = format!(
                "{}; an earlier attempt may have taken effect",
                inner.message
            );
        }
        self.with_outcome(Outcome::Unknown)
    }

    /// The offset is outside the range that was found.
    pub(crate) fn out_of_range(place: impl fmt::Display, offset: Offset, found: &Offsets) -> Self {
        let (start, end) = (found.log_start_offset, found.high_watermark);
        let message =
            format!("{place}: offset {offset} is outside the log, which has {start} to {end}");
        let mut error = Self::new(Reason::OffsetOutOfRange, message);
        let range = OffsetRange {
            offset: offset.to_i64(),
            log_start_offset: start.to_i64(),
            high_watermark: end.to_i64(),
        };
        Arc::make_mut(&mut error.0).detail = Some(Detail::OffsetRange(range));
        error
    }

    /// Data that cannot be read.
    pub(crate) fn corrupt(why: String, detail: CorruptData) -> Self {
        let mut error = Self::new(Reason::CorruptData, why);
        Arc::make_mut(&mut error.0).detail = Some(Detail::CorruptData(detail));
        error
    }

    /// The same error with another conclusion about what was written.
    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        Arc::make_mut(&mut self.0).outcome = outcome;
        self
    }

    /// The same error with the place or the attempt it belongs to in front of its message.
    pub(crate) fn in_context(mut self, context: impl fmt::Display) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.message = format!("{context}: {}", inner.message);
        self
    }

    /// The reason, when the broker gave one that this version knows, or the client found one.
    /// `UNREACHABLE` is also that of a connection that broke in the middle of a call; whether the
    /// call had an effect is then said by [`Error::outcome`] alone.
    pub fn reason(&self) -> Option<Reason> {
        self.0.reason
    }

    /// The canonical gRPC code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What may be concluded about the request that failed.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// True when nothing was written and asking again may help.
    pub fn is_retriable(&self) -> bool {
        self.0.outcome == Outcome::Retriable
    }

    /// True when nothing was written, so that sending the same again cannot write it twice. False
    /// when that is not known. Whether it helps is another question: [`Error::is_retriable`].
    pub fn is_retry_safe(&self) -> bool {
        self.0.outcome != Outcome::Unknown
    }

    /// True if a broker has said so.
    pub(crate) fn is_answer(&self) -> bool {
        self.0.answered
    }

    /// True if a broker does not know the topic as it was asked for. One that has just started may
    /// not know it *yet*, so this is believed only when the cluster confirms it.
    pub(crate) fn is_missing_topic(&self) -> bool {
        matches!(
            self.reason(),
            Some(Reason::TopicNotFound | Reason::PartitionNotFound | Reason::TopicIdMismatch)
        )
    }

    /// True if a broker refused what was for another topic than the one that has the name. It has made
    /// sure first that its metadata is current.
    pub(crate) fn is_another_topic(&self) -> bool {
        self.is_answer() && self.reason() == Some(Reason::TopicIdMismatch)
    }

    /// What, where and why, in a sentence for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where the leader is, when a broker said that it is not the leader.
    pub fn not_leader(&self) -> Option<&NotLeader> {
        match &self.0.detail {
            Some(Detail::NotLeader(detail)) => Some(detail),
            _ => None,
        }
    }

    /// What can be read, when the offset asked for cannot.
    pub fn offset_range(&self) -> Option<&OffsetRange> {
        match &self.0.detail {
            Some(Detail::OffsetRange(detail)) => Some(detail),
            _ => None,
        }
    }

    /// Which sequence the partition expected, when a batch did not continue it.
    pub fn sequence_gap(&self) -> Option<&SequenceGap> {
        match &self.0.detail {
            Some(Detail::SequenceGap(detail)) => Some(detail),
            _ => None,
        }
    }

    /// What cannot be read, and where to go on, when data is damaged or not what it should be.
    pub fn corrupt_data(&self) -> Option<&CorruptData> {
        match &self.0.detail {
            Some(Detail::CorruptData(detail)) => Some(detail),
            _ => None,
        }
    }

    /// The last error before time ran out, when that is what failed in the end. The message tells it,
    /// too.
    pub fn last_error(&self) -> Option<&Self> {
        self.0.last.as_ref()
    }

    /// Names and values that the broker sent beside the reason.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.0.metadata
    }

    /// How long the broker asks to wait before asking again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.reason {
            Some(reason) => write!(f, "{} ({reason})", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl std::error::Error for Error {}
