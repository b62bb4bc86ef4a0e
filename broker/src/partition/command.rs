//! PURE. Commands of a partition's log as bytes and back. What a replica does not know stops it:
//! skipping a command would make replicas differ.

use bytes::Bytes;
use highwater_proto::pb::peer as pb;
use highwater_proto::{Offset, ProducerEpoch, ProducerId};
use prost::Message;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// A command of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Moves the log start offset forward to this one, if it is not beyond the high watermark.
    SetLogStart(Offset),
    /// Ends the epochs of a producer below this one.
    FenceProducer(ProducerId, ProducerEpoch),
}

/// The bytes are no command that this version knows.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Not protobuf.
    #[error("a command of the partition cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Written by another version.
    #[error("a command of the partition has version {0}, this broker reads version {VERSION}")]
    Version(u32),
    /// A command of this version that is not known.
    #[error("this version does not know a command of the partition")]
    Unknown,
}

impl Command {
    /// The command as the body of a frame.
    pub fn encode(self) -> Bytes {
        let command = match self {
            Self::SetLogStart(Offset(offset)) => {
                pb::partition_command::Command::SetLogStart(pb::SetLogStart { offset })
            }
            Self::FenceProducer(producer, epoch) => {
                pb::partition_command::Command::FenceProducer(pb::FenceProducer {
                    producer_id: producer.0,
                    epoch: epoch.0.into(),
                })
            }
        };
        let message = pb::PartitionCommand {
            version: VERSION,
            command: Some(command),
        };
        message.encode_to_vec().into()
    }

    /// The command in a frame's body.
    pub fn decode(body: &[u8]) -> Result<Self, CommandError> {
        let message = pb::PartitionCommand::decode(body)?;
        if message.version != VERSION {
            return Err(CommandError::Version(message.version));
        }
        match message.command.ok_or(CommandError::Unknown)? {
            pb::partition_command::Command::SetLogStart(set) => {
                Ok(Self::SetLogStart(Offset(set.offset)))
            }
            pb::partition_command::Command::FenceProducer(fence) => {
                let epoch = u16::try_from(fence.epoch).map_err(|_| CommandError::Unknown)?;
                let producer = ProducerId(fence.producer_id);
                Ok(Self::FenceProducer(producer, ProducerEpoch(epoch)))
            }
        }
    }
}

/// What a command is answered with: the log start offset after it.
pub(super) fn encode_reply(log_start: Offset) -> Bytes {
    let message = pb::PartitionCommandReply {
        log_start_offset: log_start.0,
    };
    message.encode_to_vec().into()
}

pub(super) fn decode_reply(bytes: &[u8]) -> Result<Offset, CommandError> {
    let reply = pb::PartitionCommandReply::decode(bytes)?;
    Ok(Offset(reply.log_start_offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_it_was_written() {
        for offset in [0, 7, u64::MAX >> 1] {
            let command = Command::SetLogStart(Offset(offset));
            assert_eq!(Command::decode(&command.encode()).unwrap(), command);
        }
        let golden = [8, 1, 18, 3, 8, 172, 2];
        assert_eq!(&Command::SetLogStart(Offset(300)).encode()[..], golden);
    }

    #[test]
    fn another_version_and_an_unknown_command_are_errors() {
        let encoded = |version, command| {
            let message = pb::PartitionCommand { version, command };
            message.encode_to_vec()
        };
        let set = pb::partition_command::Command::SetLogStart(pb::SetLogStart { offset: 1 });
        let later = Command::decode(&encoded(2, Some(set)));
        assert!(matches!(later, Err(CommandError::Version(2))));
        let none = Command::decode(&encoded(1, None));
        assert!(matches!(none, Err(CommandError::Unknown)));
        let bytes = Command::decode(&[255, 255]);
        assert!(matches!(bytes, Err(CommandError::Malformed(_))));
    }

    #[test]
    fn a_fence_is_read_as_it_was_written() {
        for epoch in [0, 7, u16::MAX] {
            let command = Command::FenceProducer(ProducerId(1 << 62), ProducerEpoch(epoch));
            assert_eq!(Command::decode(&command.encode()).unwrap(), command);
        }
        let golden = [8, 1, 26, 4, 8, 7, 16, 3];
        let command = Command::FenceProducer(ProducerId(7), ProducerEpoch(3));
        assert_eq!(&command.encode()[..], golden);
    }

    #[test]
    fn a_fence_of_another_version_or_an_epoch_that_cannot_be_is_an_error() {
        let encoded = |version, epoch| {
            let fence = pb::FenceProducer {
                producer_id: 1,
                epoch,
            };
            let command = pb::partition_command::Command::FenceProducer(fence);
            let message = pb::PartitionCommand {
                version,
                command: Some(command),
            };
            Command::decode(&message.encode_to_vec())
        };
        assert!(matches!(encoded(2, 1), Err(CommandError::Version(2))));
        assert!(matches!(encoded(1, 1 << 16), Err(CommandError::Unknown)));
        let bytes = Command::decode(&[255, 255]);
        assert!(matches!(bytes, Err(CommandError::Malformed(_))));
    }
}
