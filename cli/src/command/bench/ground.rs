//! The topic of a run: its own, or a named one that nobody else is to use.

use std::collections::BTreeMap;

use highwater_client::{Client, NewTopic, Offset, PartitionIndex, Position, Start, Until};

use crate::connection::about_topic;
use crate::error::{Failure, Label, talk};
use crate::exit::ExitCode;
use crate::output::count;

use super::plan::Plan;
use super::record::Content;

/// Where a run takes place.
#[derive(Debug)]
pub(super) struct Ground {
    client: Client,
    pub(super) topic: String,
    pub(super) partitions: u32,
    /// Made for this run.
    pub(super) own: bool,
    /// How many records were there before.
    pub(super) records: u64,
    /// The high watermarks before the run.
    pub(super) ends: BTreeMap<PartitionIndex, Offset>,
}

impl Ground {
    /// Creates the topic of the run, or checks the one that is named.
    pub(super) async fn prepare(client: &Client, plan: &Plan, run: u64) -> Result<Self, Failure> {
        let Some(topic) = &plan.topic else {
            return Self::create(client, plan, run).await;
        };
        let partitions = match client.partition_count(topic).await {
            Ok(count) => count,
            Err(error) => return Err(about_topic(client, topic, error).await),
        };
        let mut ground = Self {
            client: client.clone(),
            topic: topic.clone(),
            partitions,
            own: false,
            records: 0,
            ends: BTreeMap::new(),
        };
        ground.check().await?;
        Ok(ground)
    }

    async fn create(client: &Client, plan: &Plan, run: u64) -> Result<Self, Failure> {
        let name = format!("bench-{run:016x}");
        let mut topic = NewTopic::new(&name).partitions(plan.partitions);
        if let Some(replication) = plan.replication {
            topic = topic.replication(replication);
        }
        client.create_topic(topic).await?;
        let partitions = (0..plan.partitions).map(PartitionIndex);
        Ok(Self {
            client: client.clone(),
            topic: name,
            partitions: plan.partitions,
            own: true,
            records: 0,
            ends: partitions.map(|partition| (partition, Offset(0))).collect(),
        })
    }

    /// Looks at the first batch and the last record of each partition: a topic that somebody uses
    /// must not be written to. To read all of it could take hours; what lies between shows when it is read.
    async fn check(&mut self) -> Result<(), Failure> {
        let content = Content::new();
        for partition in (0..self.partitions).map(PartitionIndex) {
            let latest = Position::Latest;
            let offsets = self
                .client
                .list_offsets(&self.topic, partition, latest)
                .await?;
            let (first, end) = (offsets.log_start_offset, offsets.high_watermark);
            self.ends.insert(partition, end);
            self.records += end.since(first);
            if first == end {
                continue;
            }
            for start in [Start::Earliest, Start::LastN(1)] {
                let builder = self.client.consumer(&self.topic).partitions([partition]);
                let mut consumer = builder.start(start).until(Until::Latest).build().await?;
                let Some(batch) = consumer.next_batch().await else {
                    continue;
                };
                for record in batch?.records()?.views() {
                    let record = record?;
                    if content.read(record.value.unwrap_or_default()).is_err() {
                        return Err(self.taken());
                    }
                }
            }
        }
        Ok(())
    }

    /// The failure that somebody else uses the topic, before anything was written to it.
    fn taken(&self) -> Failure {
        let topic = &self.topic;
        conflict(format!(
            "topic {topic:?} has records that no bench wrote; nothing was written to it"
        ))
    }

    /// The failure that records were read that no bench wrote, or not this run.
    pub(super) fn foreign(&self, records: u64) -> Failure {
        let (topic, records) = (&self.topic, count(records, "record"));
        conflict(format!(
            "reading topic {topic:?} gave {records} of others; nothing counts as verified"
        ))
    }

    /// Deletes the topic if it was made for the run.
    pub(super) async fn clear(&self) {
        if !self.own {
            return;
        }
        if let Err(error) = self.client.delete_topic(&self.topic).await {
            let topic = &self.topic;
            talk(format!(
                "warning: topic {topic} could not be deleted: {error}"
            ));
        }
    }
}

fn conflict(message: String) -> Failure {
    Failure::new(Label::Bench, ExitCode::Conflict, message)
        .hint("leave out --topic, or name a topic that nobody else uses")
}
