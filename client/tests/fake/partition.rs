//! A partition's log in memory, with the judgement of sequences.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use highwater_client::{Offset, Reason};
use highwater_proto::batch::{RecordBatch, StoredBatch, stamped_prefix};
use highwater_proto::pb::v1;
use tonic::Status;

use super::status;

/// How many batches of a producer a partition remembers.
const REMEMBERED: usize = 5;

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) base: u64,
    pub(crate) records: u32,
    pub(crate) bytes: Bytes,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: u16,
    next_sequence: i32,
    /// First sequence and base offset of the latest batches.
    recent: VecDeque<(i32, u64)>,
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    pub(crate) log: Vec<Stored>,
    pub(crate) next_offset: u64,
    pub(crate) log_start: u64,
    /// The base offsets of batches of which no acknowledgement was sent yet.
    pub(crate) unanswered: BTreeSet<u64>,
    producers: HashMap<u64, Producer>,
    /// Producers that may have written before they were forgotten, and up to which epoch.
    forgotten: HashMap<u64, u16>,
}

/// Where a batch is.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) base: u64,
    /// The offset after its last record.
    pub(crate) end: u64,
    pub(crate) duplicate: bool,
}

impl Partition {
    pub(crate) fn new(leader: i32) -> Self {
        Self {
            leader,
            epoch: 1,
            log: Vec::new(),
            next_offset: 0,
            log_start: 0,
            unanswered: BTreeSet::new(),
            producers: HashMap::new(),
            forgotten: HashMap::new(),
        }
    }

    /// Appends a batch, or says where it is already.
    pub(crate) fn append(&mut self, bytes: Bytes, max_bytes: usize) -> Result<Appended, Status> {
        let batch = RecordBatch::parse(bytes, max_bytes)
            .map_err(|error| status::of(error.reason(), error.to_string()))?;
        let records = batch.record_count();
        if let Some(stamp) = batch.header().producer() {
            let sequence = stamp.base_sequence.0;
            let left = self.forgotten.get(&stamp.id.0);
            let begins = sequence == 0 && left.is_none_or(|last| stamp.epoch.0 > *last);
            if !self.producers.contains_key(&stamp.id.0) && !begins {
                return Err(status::of(Reason::UnknownProducer, "nothing to follow"));
            }
            let producer = self.producers.entry(stamp.id.0).or_default();
            if producer.epoch < stamp.epoch.0 {
                *producer = Producer {
                    epoch: stamp.epoch.0,
                    ..Producer::default()
                };
            }
            let known = producer.recent.iter().find(|(first, _)| *first == sequence);
            if let Some((_, base)) = known {
                return Ok(Appended {
                    base: *base,
                    end: *base + u64::from(records),
                    duplicate: true,
                });
            }
            let expected = producer.next_sequence;
            if sequence < expected {
                return Err(status::of(
                    Reason::DuplicateSequence,
                    "too old to say where",
                ));
            }
            if sequence > expected {
                let gap = v1::SequenceGap {
                    producer_id: stamp.id.0 as i64,
                    expected_sequence: expected,
                    actual_sequence: sequence,
                };
                return Err(status::gap(&gap));
            }
            producer.next_sequence += records as i32;
            producer.recent.push_back((sequence, self.next_offset));
            if producer.recent.len() > REMEMBERED {
                producer.recent.pop_front();
            }
        }
        let base = self.next_offset;
        let prefix = stamped_prefix(batch.header(), Offset(base), self.epoch);
        let mut stamped = BytesMut::from(&batch.into_bytes()[..]);
        stamped[..16].copy_from_slice(&prefix);
        self.log.push(Stored {
            base,
            records,
            bytes: stamped.freeze(),
        });
        self.next_offset += u64::from(records);
        self.unanswered.insert(base);
        Ok(Appended {
            base,
            end: self.next_offset,
            duplicate: false,
        })
    }

    /// Forgets every producer, as brokers do after a while.
    pub(crate) fn forget_producers(&mut self) {
        let known = std::mem::take(&mut self.producers);
        let forgotten = known.into_iter().map(|(id, known)| (id, known.epoch));
        self.forgotten.extend(forgotten);
    }

    pub(super) fn distrust(&mut self, last: u64) {
        for id in 0..=last {
            self.forgotten.entry(id).or_default();
        }
    }

    /// The epochs in which the batches were written, in order.
    pub(crate) fn epochs(&self) -> Vec<i16> {
        let header = |stored: &Stored| StoredBatch::decode(stored.bytes.clone()).unwrap();
        let epochs = self.log.iter().map(header);
        epochs.map(|batch| batch.header().producer_epoch).collect()
    }

    /// The whole batches from `offset` on, up to `max_bytes` but at least one.
    pub(crate) fn read(&self, offset: u64, max_bytes: usize) -> Vec<Stored> {
        let first = self
            .log
            .partition_point(|b| b.base + u64::from(b.records) <= offset);
        let mut bytes = 0;
        let fits = |batch: &&Stored| {
            let fits = bytes == 0 || bytes + batch.bytes.len() <= max_bytes;
            bytes += batch.bytes.len();
            fits
        };
        self.log[first..].iter().take_while(fits).cloned().collect()
    }

    pub(crate) fn values(&self) -> Vec<String> {
        let mut values = Vec::new();
        for batch in &self.log {
            let batch = StoredBatch::decode(batch.bytes.clone()).unwrap();
            for record in batch.records().unwrap() {
                let value = record.unwrap().value.unwrap_or_default();
                values.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
        values
    }
}
