//! The commands of a partition's log: entries without records, protobuf in a frame.

use bytes::Bytes;
use highwater_proto::pb::peer::partition_command::Command as Pb;
use highwater_proto::pb::peer::{FenceProducer, PartitionCommand};
use highwater_proto::{ProducerEpoch, ProducerId, Timestamp};
use prost::Message;

use super::state::Body;
use crate::raft::NotUnderstood;

/// The command that ends the epochs of `producer` below `epoch`.
pub(super) fn fence(producer: ProducerId, epoch: ProducerEpoch) -> Bytes {
    let fence = FenceProducer {
        producer_id: producer.0,
        epoch: epoch.0.into(),
    };
    let command = PartitionCommand {
        command: Some(Pb::FenceProducer(fence)),
    };
    command.encode_to_vec().into()
}

/// What an entry with this body, appended at `append_time`, does. A command of a newer version is
/// an error: to skip it would make replicas differ.
pub(super) fn read(body: &Bytes, append_time: Timestamp) -> Result<Body<'static>, NotUnderstood> {
    let command = PartitionCommand::decode(body.clone());
    let command = command.map_err(|error| {
        NotUnderstood(format!(
            "a command of the partition cannot be read: {error}"
        ))
    })?;
    match command.command {
        Some(Pb::FenceProducer(fence)) => Ok(Body::Fence {
            producer: ProducerId(fence.producer_id),
            epoch: ProducerEpoch(u16::try_from(fence.epoch).map_err(|_| {
                NotUnderstood(format!("a producer cannot have epoch {}", fence.epoch))
            })?),
            append_time,
        }),
        None => Err(NotUnderstood(
            "this version does not know a command of the partition; update this broker".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_reads_as_it_was_written() {
        let body = fence(ProducerId(1 << 62), ProducerEpoch(u16::MAX));
        let Ok(Body::Fence {
            producer,
            epoch,
            append_time,
        }) = read(&body, Timestamp(7))
        else {
            panic!("not a fence");
        };
        assert_eq!(
            (producer, epoch),
            (ProducerId(1 << 62), ProducerEpoch(u16::MAX))
        );
        assert_eq!(append_time, Timestamp(7));
    }

    #[test]
    fn a_command_that_is_unknown_or_damaged_stops_the_group() {
        let beyond = FenceProducer {
            producer_id: 1,
            epoch: 1 << 16,
        };
        let beyond = PartitionCommand {
            command: Some(Pb::FenceProducer(beyond)),
        };
        for body in [vec![], vec![0xff; 9], vec![0x7a, 0], beyond.encode_to_vec()] {
            assert!(read(&body.into(), Timestamp(0)).is_err());
        }
    }
}
