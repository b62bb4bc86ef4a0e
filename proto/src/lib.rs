//! What both ends of Highwater agree on: numbers with a type each, the record batch, the reasons
//! of errors, and the generated gRPC API. No runtime and no file system of its own.

pub mod batch;
pub mod codec;
pub mod id;
pub mod name;
pub mod offset;
pub mod partitioner;
pub mod pb;
pub mod reason;
mod weight;

pub use id::{
    BrokerId, ClusterId, Incarnation, PartitionIndex, ProducerEpoch, ProducerId, ReplicaId,
    Sequence, TopicId,
};
pub use name::{NameError, ProducerName, ProducerNameError, TopicName};
pub use offset::{EntryId, LogIndex, Offset, Term, Timestamp};
pub use reason::Reason;
