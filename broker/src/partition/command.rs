//! PURE. Commands of a partition's log as bytes and back. What a replica does not know stops it:
//! skipping a command would make replicas differ.

use bytes::Bytes;
use highwater_proto::Offset;
use highwater_proto::pb::peer as pb;
use prost::Message;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// A command of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Moves the log start offset forward to this one, if it is not beyond the high watermark.
    SetLogStart(Offset),
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
}
