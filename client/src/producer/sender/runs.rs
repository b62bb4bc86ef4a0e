//! Acks that stand for one batch or for a run of them.

use highwater_proto::pb::v1;
use highwater_proto::{PartitionIndex, Timestamp};

use super::Sender;
use crate::producer::delivery::Ack;
use crate::producer::lane::SessionId;

impl Sender {
    /// Takes an ack. Gives the partition that it is about, if that waited for it.
    pub(super) fn on_batch_ack(
        &mut self,
        id: SessionId,
        ack: &v1::BatchAck,
    ) -> Option<PartitionIndex> {
        let mut acked = std::mem::take(&mut self.acked);
        self.sessions.acknowledged(id, ack, &mut acked);
        let partition = acked.first().map(|last| last.sent.partition);
        // In the order of the log.
        for batch in acked.drain(..).rev() {
            let ack = Ack {
                partition: batch.sent.partition,
                offset: batch.base,
                append_time: Some(Timestamp(ack.append_time)),
                leader_epoch: Some(ack.leader_epoch),
                duplicate: ack.duplicate,
            };
            self.on_ack(batch.sent.partition, batch.sent.serial, ack);
        }
        self.acked = acked;
        partition
    }
}
