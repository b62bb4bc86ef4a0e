//! Acks of a fake broker: one for several batches where the client takes that.

use std::collections::HashMap;

use highwater_proto::pb::v1::{BatchAck, ProduceSessionRequest};

/// A batch that is acknowledged, or a run of them.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ack: BatchAck,
    /// How many batches it stands for.
    pub(super) batches: usize,
    /// The offset after its last record.
    pub(super) end: u64,
    /// The batch that came before it to its partition.
    pub(super) previous: u64,
}

/// The last batch of each partition that a session brought, whatever became of it.
#[derive(Debug, Default)]
pub(super) struct Latest(HashMap<(String, i32), u64>);

impl Latest {
    /// Notes a batch. Gives the number of the one before it, or 0.
    pub(super) fn follow(&mut self, request: &ProduceSessionRequest) -> u64 {
        let key = (request.topic.clone(), request.partition);
        self.0.insert(key, request.number).unwrap_or(0)
    }
}

/// As few runs as may be, of batches in the order of their numbers.
pub(super) fn merged(batches: Vec<Run>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for next in batches {
        match runs.iter_mut().find(|run| run.continues_with(&next)) {
            Some(run) => {
                let first = match run.ack.first_number {
                    0 => run.ack.number,
                    first => first,
                };
                run.batches += next.batches;
                run.end = next.end;
                run.ack = BatchAck {
                    first_number: first,
                    ..next.ack
                };
            }
            None => runs.push(next),
        }
    }
    runs
}

impl Run {
    fn continues_with(&self, next: &Self) -> bool {
        next.previous == self.ack.number
            && next.ack.base_offset == self.end as i64
            && next.ack.leader_epoch == self.ack.leader_epoch
            && next.ack.duplicate == self.ack.duplicate
    }
}
