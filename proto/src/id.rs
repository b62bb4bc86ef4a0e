//! Identities. Names are for people; everything that lives on a disk or in the Raft log refers to
//! ids, so that a re-created topic or a re-placed replica inherits nothing.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id!(
    /// A broker, numbered from 1 by the metadata group when it joins.
    BrokerId(u32)
);
number_id!(
    /// One placement of one replica: a Raft node id, allocated by the metadata group, never reused.
    ReplicaId(u64)
);
number_id!(
    /// A partition of a topic, numbered from 0.
    PartitionIndex(u32)
);
number_id!(
    /// A producer, from the ranges of the metadata group. Batches without one are not deduplicated.
    ProducerId(u64)
);
impl ProducerId {
    /// The lowest id of a named producer; those without a name are below.
    pub const FIRST_NAMED: Self = Self(1 << 62);

    /// True for the ids of named producers: that a producer is named shows in its id, for ever.
    pub fn is_named(self) -> bool {
        self >= Self::FIRST_NAMED
    }
}

number_id!(
    /// The incarnation of a producer id; a higher one fences the lower ones.
    ProducerEpoch(u16)
);
number_id!(
    /// The number of a producer's record within a partition; wraps to 0 after `i32::MAX`.
    Sequence(i32)
);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with these 16 bytes. Fresh ids come from the caller's source of randomness.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }

            /// The 16 bytes of the id, in the order of its text.
            pub fn to_bytes(self) -> [u8; 16] {
                *self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// A cluster, fixed when its first broker founds it.
    ClusterId
);
uuid_id!(
    /// A topic, fixed at creation; its name may later stand for another topic.
    TopicId
);
uuid_id!(
    /// One life of a broker process: drawn afresh at every start.
    Incarnation
);
