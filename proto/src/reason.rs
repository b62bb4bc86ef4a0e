//! The reasons of errors: one table for the wire, the client's error type, the command line and
//! the documentation. A reason's text is part of the API; its gRPC code never changes.

use std::fmt;
use std::str::FromStr;

use tonic::Code;

/// The domain of every `google.rpc.ErrorInfo` that Highwater sends.
pub const DOMAIN: &str = "highwater";

/// What a client may conclude about the request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was written by this request; asking again in the same way cannot help.
    Refused,
    /// Nothing was written; asking again, perhaps elsewhere, may help.
    Retriable,
    /// It is not known whether it was written. Only a sequenced batch may safely be sent again.
    Unknown,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $code:ident, $outcome:ident, $hint:literal;)+) => {
        /// Why a request failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The text on the wire and in `error[…]`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The canonical gRPC code.
            pub fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)+ }
            }

            /// What the client may conclude.
            pub fn outcome(self) -> Outcome {
                match self { $(Self::$name => Outcome::$outcome,)+ }
            }

            /// What it means, in a sentence or two.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// What a person can do next.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint,)+ }
            }
        }
    };
}

reasons! {
    /// The broker asked does not lead the partition. The detail names the leader.
    NotLeader = "NOT_LEADER", FailedPrecondition, Retriable, "ask the broker that the answer names; the client library does so by itself";
    /// The partition has no leader that can answer yet.
    NoLeader = "NO_LEADER", Unavailable, Retriable, "try again; `highwater cluster health` says which partitions wait";
    /// A majority of the partition's replicas cannot be reached; nothing was proposed.
    QuorumLost = "QUORUM_LOST", Unavailable, Retriable, "bring brokers back; `highwater cluster brokers` shows which are down";
    /// The batch was proposed, and whether it was committed is not known.
    OutcomeUnknown = "OUTCOME_UNKNOWN", Unavailable, Unknown, "look at what is there before sending it again: only the client library, or the same sequenced batch, does not write it twice";
    /// No topic has this name.
    TopicNotFound = "TOPIC_NOT_FOUND", NotFound, Refused, "highwater topic list";
    /// The topic has no partition with this number.
    PartitionNotFound = "PARTITION_NOT_FOUND", NotFound, Refused, "highwater topic describe TOPIC";
    /// The topic of this name is not the one with the id asked for: it was re-created.
    TopicIdMismatch = "TOPIC_ID_MISMATCH", FailedPrecondition, Refused, "start over with the new topic, from its first offset";
    /// A topic of this name exists.
    TopicExists = "TOPIC_EXISTS", AlreadyExists, Refused, "choose another name, or use --if-not-exists";
    /// The offset is below the log start or above the high watermark. The detail names both.
    OffsetOutOfRange = "OFFSET_OUT_OF_RANGE", OutOfRange, Refused, "read from an offset inside the range that the answer names";
    /// The batch does not continue the producer's sequence. The detail names the one expected.
    SequenceGap = "SEQUENCE_GAP", FailedPrecondition, Refused, "an earlier batch of this producer failed; start a new producer";
    /// The batch repeats records that an earlier attempt appended, too long ago to say where: they are in the log, once. Nothing was written by this attempt.
    DuplicateSequence = "DUPLICATE_SEQUENCE", AlreadyExists, Refused, "take it as an acknowledgement without an offset, and do not send the records again";
    /// The producer id or its epoch was never given out, or the partition has forgotten the producer or later ones. Nothing was written by this attempt.
    UnknownProducer = "UNKNOWN_PRODUCER", FailedPrecondition, Refused, "if an earlier attempt of the batch may have been written, read before sending it again; else go on under a new id from InitProducer";
    /// A newer incarnation of this producer has taken over.
    ProducerFenced = "PRODUCER_FENCED", FailedPrecondition, Refused, "stop this producer; another one has its identity";
    /// The cluster remembers as many named producers as it can.
    TooManyProducers = "TOO_MANY_PRODUCERS", ResourceExhausted, Refused, "use fewer producer names; unused ones are forgotten after 28 days";
    /// The batch is damaged or not of a kind that a producer may send.
    BadBatch = "BAD_BATCH", InvalidArgument, Refused, "docs/format.md draws the batch; the message says which field is wrong";
    /// The batch is larger than the topic allows.
    BatchTooLarge = "BATCH_TOO_LARGE", InvalidArgument, Refused, "send smaller batches, or raise max.batch.bytes of the topic";
    /// A field of the request has a value it cannot have.
    InvalidRequest = "INVALID_REQUEST", InvalidArgument, Refused, "the message says which field and what it may be";
    /// The request is larger than the broker takes.
    RequestTooLarge = "REQUEST_TOO_LARGE", ResourceExhausted, Refused, "send less at a time; a batch has at most 3 MiB";
    /// A topic name that is empty, too long, reserved, or has characters outside [A-Za-z0-9._-].
    InvalidTopicName = "INVALID_TOPIC_NAME", InvalidArgument, Refused, "use 1 to 249 of letters, digits, '.', '_' and '-'";
    /// A topic setting that does not exist or cannot have this value.
    InvalidConfig = "INVALID_CONFIG", InvalidArgument, Refused, "`highwater topic create --help` lists the topic settings";
    /// More replicas were asked for than there are brokers.
    InvalidReplication = "INVALID_REPLICATION", InvalidArgument, Refused, "start more brokers, or ask for fewer replicas";
    /// The disk of a replica's broker is full; nothing was written.
    DiskFull = "DISK_FULL", ResourceExhausted, Retriable, "free space on the disk that the error names, or have retention delete more; appends then go on by themselves";
    /// There is no room for the request: a producer's buffer is full, or a broker has as much unfinished work as it takes. Nothing was sent or written.
    Overloaded = "OVERLOADED", ResourceExhausted, Retriable, "slow down: `send` of the client library waits where `try_send` says this; or raise `buffer_bytes`";
    /// The request was not answered within its deadline.
    TimedOut = "TIMED_OUT", DeadlineExceeded, Unknown, "allow more time with --timeout; `highwater cluster health` says what is wrong";
    /// No broker could be reached.
    Unreachable = "UNREACHABLE", Unavailable, Retriable, "is a broker running there? `highwater serve` starts one";
    /// The broker, or what it needs of its cluster, is not ready: it starts or stops, or cannot reach the metadata. Or the producer was shut down.
    NotReady = "NOT_READY", Unavailable, Retriable, "try again, or ask another broker";
    /// The replica could not make sure with the leader that what it has is as fresh as was asked.
    Stale = "STALE", Unavailable, Retriable, "ask the leader or another replica, or allow a greater age";
    /// The broker belongs to another cluster.
    WrongCluster = "WRONG_CLUSTER", FailedPrecondition, Refused, "check the addresses";
    /// The two sides have no protocol version in common.
    UnsupportedVersion = "UNSUPPORTED_VERSION", FailedPrecondition, Refused, "update the older side";
    /// The principal may not do this.
    Denied = "DENIED", PermissionDenied, Refused, "ask an operator for the right";
    /// Stored data is damaged and never served, or a batch unpacks to more than 32 MiB, is malformed inside, or has a codec that this version does not know, or a record takes more than the 3.75 MiB that an answer of records carries (it can be read as a batch). The detail names what cannot be read and, where that is known, the next offset that can be.
    CorruptData = "CORRUPT_DATA", DataLoss, Refused, "if the error names the next offset, read on there: such a batch is the same on every replica; else the broker's log names a damaged file, and other replicas may have the data";
    /// The broker met an error it did not foresee.
    Internal = "INTERNAL", Internal, Unknown, "the broker's log has the details";
}

impl Reason {
    /// True when nothing was written and asking again may help.
    pub fn is_retriable(self) -> bool {
        self.outcome() == Outcome::Retriable
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a reason that this version knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a known reason")]
pub struct UnknownReason(pub String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text);
        found.ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_parses_from_its_text_and_has_a_meaning_and_a_hint() {
        for reason in Reason::ALL.iter().copied() {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert!(
                !reason.meaning().is_empty() && !reason.hint().is_empty(),
                "{reason}"
            );
        }
        assert!("NOPE".parse::<Reason>().is_err());
    }
}
