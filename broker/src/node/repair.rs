//! Giving a damaged replica back what it lost, from the other replicas of its group. Until that is
//! done the replica stays out: it neither votes nor acknowledges.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::pb::peer::FetchEntriesRequest;
use highwater_proto::{BrokerId, LogIndex, ReplicaId};

use super::groups::{Groups, PartitionLog, offloaded};
use crate::log::repair::{Repair, RepairedFile, Step, Supply};
use crate::log::{Dir, LogOptions};
use crate::peer;
use crate::raft::{GroupId, decode_supply};

/// How long another broker may take for one answer: it may have to ask a majority first.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How often, and in what intervals, the others are asked for metadata that this broker lost.
const METADATA_TRIES: usize = 20;
const METADATA_PAUSE: Duration = Duration::from_secs(1);
/// The most files repaired in one go.
const MAX_FILES: usize = 10_000;

impl Groups {
    /// Repairs every damaged file of the replica, asking the brokers in turn. Without damage it
    /// does nothing. An error says what is damaged and why nobody could help.
    pub(super) async fn repair(
        &self,
        group: GroupId,
        id: ReplicaId,
        partition: Option<PartitionLog<'_>>,
        others: &[BrokerId],
    ) -> Result<Vec<RepairedFile>, String> {
        let dir = self.directory(group, id, true).await?;
        let options = self.options(group, id, partition);
        let mut repaired = Vec::new();
        while let Some(file) = self.repair_one(group, &dir, &options, others).await? {
            let (name, kept) = (&file.file, &file.quarantined);
            tracing::warn!(
                %group, replica = %id, file = %name, kept_as = ?kept,
                frames = file.frames, first = ?file.first, last = ?file.last,
                "a damaged file was repaired from another replica",
            );
            repaired.push(file);
            if repaired.len() >= MAX_FILES {
                return Err("a repair does not end".to_owned());
            }
        }
        Ok(repaired)
    }

    /// Repairs this broker's replica of the metadata from those of the others, if it is damaged.
    /// Without it the broker does not start.
    pub(super) async fn repair_metadata(&self, id: ReplicaId) -> Result<(), String> {
        if !self.was_placed(id) {
            return Ok(());
        }
        let others: Vec<_> = self.peers.all().keys().copied().collect();
        let mut tries = 0..METADATA_TRIES;
        loop {
            let Err(why) = self.repair(GroupId::Metadata, id, None, &others).await else {
                return Ok(());
            };
            if others.is_empty() || tries.next().is_none() {
                return Err(format!("the metadata of this broker: {why}"));
            }
            tracing::warn!(%why, "the metadata of this broker is damaged; asking the others again");
            tokio::time::sleep(METADATA_PAUSE).await;
        }
    }

    /// Repairs the oldest damaged file.
    async fn repair_one(
        &self,
        group: GroupId,
        dir: &Arc<dyn Dir>,
        options: &LogOptions,
        others: &[BrokerId],
    ) -> Result<Option<RepairedFile>, String> {
        let mut reasons = Vec::new();
        for broker in others {
            let Some(repair) = self.begin(dir, options).await? else {
                return Ok(None);
            };
            match self.repair_from(group, repair, *broker).await {
                Ok(file) => return Ok(Some(file)),
                Err(why) => reasons.push(format!("broker {broker}: {why}")),
            }
        }
        match self.begin(dir, options).await? {
            None => Ok(None),
            Some(repair) if reasons.is_empty() => Err(format!(
                "{} is damaged and there is no other replica to repair it from",
                repair.file()
            )),
            Some(repair) => Err(format!(
                "{} is damaged and not repaired yet: {}",
                repair.file(),
                reasons.join("; ")
            )),
        }
    }

    async fn begin(
        &self,
        dir: &Arc<dyn Dir>,
        options: &LogOptions,
    ) -> Result<Option<Repair>, String> {
        let (dir, options) = (Arc::clone(dir), options.clone());
        offloaded(&self.root, move || {
            Repair::begin(&dir, &options).map_err(|error| error.to_string())
        })
        .await
    }

    async fn repair_from(
        &self,
        group: GroupId,
        mut repair: Repair,
        broker: BrokerId,
    ) -> Result<RepairedFile, String> {
        let mut supply = None;
        loop {
            let step;
            (repair, step) = offloaded(&self.root, move || {
                let step = repair.step(supply).map_err(|error| error.to_string())?;
                Ok((repair, step))
            })
            .await?;
            match step {
                Step::Repaired(file) => return Ok(file),
                Step::Need(from) => supply = Some(self.ask(group, broker, from).await?),
            }
        }
    }

    async fn ask(
        &self,
        group: GroupId,
        broker: BrokerId,
        from: LogIndex,
    ) -> Result<Supply, String> {
        let link = self.peers.link(broker).ok_or("its address is not known")?;
        let request = FetchEntriesRequest {
            hello: Some(self.peers.me().hello()),
            group: Some(group.to_pb()),
            from_index: from.0,
        };
        let mut calls = link.calls();
        let answer = peer::call(ANSWER_LIMIT, calls.fetch_entries(request)).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let supply = decode_supply(answer).map_err(|error| error.to_string())?;
        supply.ok_or_else(|| "its replica of the group is not open".to_owned())
    }
}
