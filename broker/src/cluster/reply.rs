//! What the metadata group answers to a command.

use bytes::Bytes;
use highwater_proto::pb::peer::{
    Done, MetadataReply, NamedProducer, Refused, Registered, metadata_reply::Reply as Pb,
};
use highwater_proto::{BrokerId, ProducerId, ReplicaId};
use prost::Message;

use super::command::{ProducerIncarnation, incarnation_of};
use super::refusal::Refusal;

/// The answer to one command of the metadata group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The command is done.
    Done,
    /// The ids of a broker that joined.
    Registered {
        /// The broker.
        broker: BrokerId,
        /// Its replica of the metadata group.
        metadata_replica: ReplicaId,
    },
    /// The first id of a range of producer ids.
    FirstProducerId(ProducerId),
    /// The id and epoch of a named producer.
    NamedProducer(ProducerIncarnation),
    /// The command was refused and changed nothing.
    Refused(Refusal),
}

/// The bytes are not a reply that this version knows.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// Not protobuf.
    #[error("the metadata reply cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A kind of reply, or a reason, from a newer version.
    #[error("the metadata reply is of a kind that this version does not know; update this broker")]
    Unknown,
}

impl Reply {
    /// The answer, or the refusal as an error.
    pub fn accepted(self) -> Result<Self, Refusal> {
        match self {
            Self::Refused(refusal) => Err(refusal),
            accepted => Ok(accepted),
        }
    }

    /// The reply as an encoded [`MetadataReply`].
    pub fn encode(&self) -> Bytes {
        self.to_pb().encode_to_vec().into()
    }

    /// The reply in encoded [`MetadataReply`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReplyError> {
        Self::from_pb(MetadataReply::decode(bytes)?)
    }

    /// The reply as a message.
    pub fn to_pb(&self) -> MetadataReply {
        let reply = match self {
            Self::Done => Pb::Done(Done {}),
            Self::Registered {
                broker,
                metadata_replica,
            } => Pb::Registered(Registered {
                broker_id: broker.0,
                metadata_replica: metadata_replica.0,
            }),
            Self::FirstProducerId(id) => Pb::FirstProducerId(id.0),
            Self::NamedProducer(producer) => Pb::NamedProducer(NamedProducer {
                producer_id: producer.id.0,
                epoch: producer.epoch.0.into(),
            }),
            Self::Refused(refusal) => Pb::Refused(Refused {
                reason: refusal.reason.to_string(),
                message: refusal.message.clone(),
            }),
        };
        MetadataReply { reply: Some(reply) }
    }

    /// The reply in a message.
    pub fn from_pb(message: MetadataReply) -> Result<Self, ReplyError> {
        Ok(match message.reply.ok_or(ReplyError::Unknown)? {
            Pb::Done(Done {}) => Self::Done,
            Pb::Registered(ids) => Self::Registered {
                broker: BrokerId(ids.broker_id),
                metadata_replica: ReplicaId(ids.metadata_replica),
            },
            Pb::FirstProducerId(id) => Self::FirstProducerId(ProducerId(id)),
            Pb::NamedProducer(named) => {
                let producer = incarnation_of(named.producer_id, named.epoch);
                Self::NamedProducer(producer.map_err(|_| ReplyError::Unknown)?)
            }
            Pb::Refused(refused) => Self::Refused(Refusal {
                reason: refused.reason.parse().map_err(|_| ReplyError::Unknown)?,
                message: refused.message,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::Reason;

    use super::*;

    #[test]
    fn every_reply_survives_its_encoding() {
        let replies = [
            Reply::Done,
            Reply::Registered {
                broker: BrokerId(3),
                metadata_replica: ReplicaId(77),
            },
            Reply::FirstProducerId(ProducerId(u64::MAX)),
            Reply::NamedProducer(incarnation_of(1 << 62, 7).unwrap()),
            Reply::Refused(Refusal::new(Reason::TopicExists, "topic \"a\" exists")),
        ];
        for reply in replies {
            assert_eq!(Reply::decode(&reply.encode()).unwrap(), reply);
        }
    }

    #[test]
    fn an_empty_or_damaged_reply_is_an_error() {
        assert!(matches!(Reply::decode(b""), Err(ReplyError::Unknown)));
        assert!(matches!(
            Reply::decode(&[0xff, 0xff, 0xff]),
            Err(ReplyError::Malformed(_))
        ));
    }
}
