//! Why a partition cannot do what is asked.

use highwater_proto::Offset;

/// Why a batch was not appended, or what is known of its fate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// This broker's replica does not lead; nothing was proposed.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// This replica leads, and the first entry of its term is not committed yet.
    #[error("the new leader is not ready yet")]
    NotReady,
    /// The group refused the entry, which was not written: no majority has answered this leader for
    /// long, or it leads no more.
    #[error("nothing was written; it can be tried again: {0}")]
    Refused(String),
    /// A majority of the replicas cannot be reached; nothing was proposed.
    #[error("a majority of the partition's replicas cannot be reached")]
    QuorumLost,
    /// The disk here, or those of so many followers that there is no majority, have no room for
    /// the batch; nothing was proposed.
    #[error("{0}")]
    DiskFull(String),
    /// The batch does not continue the producer's sequence.
    #[error("sequence {actual} of producer {producer} does not follow: {expected} is next")]
    SequenceGap {
        /// The producer.
        producer: i64,
        /// The sequence expected next.
        expected: i32,
        /// The sequence that came.
        actual: i32,
    },
    /// The batch continues a producer that the partition does not know, or no more, or begins one that
    /// may have written before it was forgotten.
    #[error(
        "producer {producer} has nothing here that sequence {actual} could follow, or it is not known \
         any more what it wrote: it never wrote here, or so long ago that it is forgotten"
    )]
    UnknownProducer {
        /// The producer.
        producer: i64,
        /// The sequence that came.
        actual: i32,
    },
    /// The batch repeats records that were appended too long ago to say where.
    #[error("the records of sequence {sequence} of producer {producer} are in the log already")]
    OldDuplicate {
        /// The producer.
        producer: i64,
        /// The sequence that came.
        sequence: i32,
    },
    /// A newer incarnation of the producer has taken over.
    #[error("producer {producer} has epoch {current}; epoch {actual} is over")]
    Fenced {
        /// The producer.
        producer: i64,
        /// The epoch in force.
        current: u16,
        /// The epoch that came.
        actual: u16,
    },
    /// The entry was proposed, and whether it is committed is not known.
    #[error("whether it was committed is not known: {0}")]
    Unknown(String),
    /// The replica has stopped; nothing was proposed.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
}

/// Why a read cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This broker's replica does not lead.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// This replica leads, and the first entry of its term is not committed yet; or its system could
    /// not read from the disk this time.
    #[error("the replica is not ready yet")]
    NotReady,
    /// A majority of the replicas does not confirm that this one still leads.
    #[error("a majority of the partition's replicas does not answer")]
    Unconfirmed,
    /// The offset is outside what can be read.
    #[error("offset {offset} is outside the log, which has {log_start_offset} to {high_watermark}")]
    OutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// The first offset that can be read.
        log_start_offset: Offset,
        /// The end of what can be read.
        high_watermark: Offset,
    },
    /// What this replica has may be older than was asked for.
    #[error("this replica is not known to be as fresh as asked: {0}")]
    Stale(String),
    /// Stored data is damaged; it is not served.
    #[error("stored data cannot be read: {0}")]
    Damaged(String),
}
