//! Which partitions a consumer reads, and where it goes on: pause, resume, seek, assign.
//!
//! A partition that is paused or moved gives up its subscription with everything that was sent
//! ahead, and begins a new one when it goes on. So nothing of an old position can come after the
//! call, and a paused partition costs its broker nothing and holds up no other.

use std::sync::Arc;

use highwater_proto::{Offset, PartitionIndex, Reason};
use tokio::time::Instant;

use super::cursor::Cursor;
use super::position::Start;
use super::reader::Reader;
use super::{Consumer, Progress};
use crate::admin::no_partition;
use crate::error::{Error, Result};

/// A partition of a consumer.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) progress: Progress,
    pub(super) reading: Reading,
    /// Where to end.
    end: Option<Offset>,
}

/// Whether a partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// It has a reader, which may have reached the end.
    Running,
    /// It goes on when it is resumed.
    Paused,
    /// It failed.
    Ended,
}

impl Assigned {
    pub(super) fn is_paused(&self) -> bool {
        self.reading == Reading::Paused
    }
}

impl Consumer {
    /// Stops reading a partition until [`Consumer::resume`]. What its broker has sent ahead is
    /// dropped, and read again later. Pausing one that is paused or has failed changes nothing.
    ///
    /// Fails with `PARTITION_NOT_FOUND` when the consumer does not have the partition.
    pub fn pause(&mut self, partition: PartitionIndex) -> Result<()> {
        if self.assigned(partition)?.reading == Reading::Running {
            self.stop_reading(partition);
            self.assigned(partition)?.reading = Reading::Paused;
        }
        Ok(())
    }

    /// Goes on with a paused partition, at the record after the last one handed out. Resuming one
    /// that is not paused changes nothing.
    ///
    /// Fails with `PARTITION_NOT_FOUND` when the consumer does not have the partition.
    pub fn resume(&mut self, partition: PartitionIndex) -> Result<()> {
        let assigned = self.assigned(partition)?;
        if assigned.is_paused() {
            let (from, end) = (assigned.progress.next_offset, assigned.end);
            self.read_from(partition, from, end);
        }
        Ok(())
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> Vec<PartitionIndex> {
        let assigned = self.partitions.iter();
        let paused = assigned.filter(|(_, assigned)| assigned.is_paused());
        paused.map(|(partition, _)| *partition).collect()
    }

    /// Goes on with a partition at another position, and gives the offset of it. No record of the
    /// old position comes after that, not even one that was there already. A partition that has
    /// failed or is at its end goes on; one that is paused stays so.
    ///
    /// The position is looked up at the leader first. Until that has succeeded nothing changes: not
    /// when this fails, and not when the future is dropped. Fails with `PARTITION_NOT_FOUND` when
    /// the consumer does not have the partition, and with `OFFSET_OUT_OF_RANGE` when the offset is
    /// below the log start or above the end.
    pub async fn seek(&mut self, partition: PartitionIndex, to: Start) -> Result<Offset> {
        self.assigned(partition)?;
        let deadline = self.source.metadata.deadline();
        let offset = self.look_up(partition, to, deadline).await?;
        self.stop_reading(partition);
        let assigned = self.assigned(partition)?;
        assigned.progress.next_offset = offset;
        if !assigned.is_paused() {
            let end = assigned.end;
            self.read_from(partition, offset, end);
        }
        Ok(offset)
    }

    /// Reads one more partition of the topic, from `start` on and without an end. One that the
    /// consumer has already is sought to `start`. Nothing changes when this fails, as when the
    /// future is dropped.
    pub async fn assign(&mut self, partition: PartitionIndex, start: Start) -> Result<Offset> {
        if self.partitions.contains_key(&partition) {
            return self.seek(partition, start).await;
        }
        let deadline = self.source.metadata.deadline();
        let routes = self.source.metadata.topic(&self.topic, deadline).await?;
        let count = routes.partition_count();
        if partition.0 >= count {
            return Err(no_partition(&self.topic, partition, count));
        }
        let offset = self.look_up(partition, start, deadline).await?;
        self.read_from(partition, offset, None);
        Ok(offset)
    }

    /// Reads a partition no more and forgets how far it was read.
    ///
    /// Fails with `PARTITION_NOT_FOUND` when the consumer does not have the partition.
    pub fn unassign(&mut self, partition: PartitionIndex) -> Result<()> {
        self.assigned(partition)?;
        self.stop_reading(partition);
        self.partitions.remove(&partition);
        Ok(())
    }

    fn assigned(&mut self, partition: PartitionIndex) -> Result<&mut Assigned> {
        let topic = &self.topic;
        self.partitions.get_mut(&partition).ok_or_else(|| {
            let message = format!("this consumer does not read partition {partition} of {topic:?}");
            Error::new(Reason::PartitionNotFound, message)
        })
    }

    /// The offset of a position, known to be within the range that can be read. The future holds
    /// nothing of the readers, so that it may go from thread to thread.
    fn look_up(
        &self,
        partition: PartitionIndex,
        to: Start,
        deadline: Instant,
    ) -> impl Future<Output = Result<Offset>> + Send + use<> {
        let (client, topic) = (self.client.clone(), Arc::clone(&self.topic));
        let source = Arc::clone(&self.source);
        async move {
            let place = format!("{topic}/{partition}");
            let topic = (&*topic, source.topic_id.as_str());
            let found = client.offsets_of(topic, partition, to.position(), deadline);
            let found = found.await?;
            let offset = to.resolve(partition, &found);
            match offset < found.log_start_offset || offset > found.high_watermark {
                false => Ok(offset),
                true => Err(Error::out_of_range(place, offset, &found)),
            }
        }
    }

    /// Begins to read a partition.
    pub(super) fn read_from(
        &mut self,
        partition: PartitionIndex,
        from: Offset,
        end: Option<Offset>,
    ) {
        let cursor = Cursor::new(Arc::clone(&self.topic), partition, from, end);
        self.readers
            .push(Reader::new(Arc::clone(&self.source), cursor));
        let known = self.partitions.get(&partition);
        let high_watermark = known.map_or(from, |known| known.progress.high_watermark);
        let assigned = Assigned {
            progress: Progress {
                next_offset: from,
                high_watermark,
                ..Progress::default()
            },
            reading: Reading::Running,
            end,
        };
        self.partitions.insert(partition, assigned);
    }

    /// Drops the partition's reader with all that came ahead; its progress is that of the last
    /// record handed out.
    pub(super) fn stop_reading(&mut self, partition: PartitionIndex) {
        if let Some(current) = &self.current
            && current.batch().partition() == partition
        {
            let next_offset = current.next_offset();
            self.current = None;
            if let Some(assigned) = self.partitions.get_mut(&partition) {
                assigned.progress.next_offset = next_offset;
            }
        }
        let readers = std::mem::take(&mut self.readers).into_iter();
        self.readers = readers
            .filter(|reader| reader.partition() != partition)
            .collect();
    }
}
