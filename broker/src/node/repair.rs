//! Giving a damaged replica back what it lost, from the other replicas of its group. Until that is
//! done the replica stays out: it neither votes nor acknowledges.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::pb::peer::FetchEntriesRequest;
use highwater_proto::{BrokerId, LogIndex, ReplicaId};

use super::groups::{Groups, PartitionLog, apart, beside};
use crate::log::repair::{Repair, RepairError, RepairedFile, Step, Supply};
use crate::log::{Dir, LastFrame, Log, LogOptions};
use crate::peer;
use crate::raft::{FloorState, GroupId, LostState, decode_supply};

/// How long another broker may take for one answer: it may have to ask a majority first.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How often, and in what intervals, the others are asked for metadata that this broker lost.
const METADATA_TRIES: usize = 20;
const METADATA_PAUSE: Duration = Duration::from_secs(1);
/// The most files repaired in one go.
const MAX_FILES: usize = 10_000;

/// The log of a replica that is out.
struct DamagedLog<'a> {
    group: GroupId,
    id: ReplicaId,
    dir: &'a Arc<dyn Dir>,
    options: &'a LogOptions,
}

impl Groups {
    /// Repairs every damaged file of the replica, asking the brokers in turn, and then the state
    /// before its log if that is lost. Without damage it does nothing. An error says what is damaged
    /// and why nobody could help.
    pub(super) async fn repair(
        &self,
        group: GroupId,
        id: ReplicaId,
        partition: Option<PartitionLog<'_>>,
        others: &[BrokerId],
    ) -> Result<Vec<RepairedFile>, String> {
        let dir = self.directory(group, id, true).await?;
        let mut repaired = Vec::new();
        loop {
            let options = self.options(group, id, partition);
            let log = DamagedLog {
                group,
                id,
                dir: &dir,
                options: &options,
            };
            let Some(file) = self.repair_one(&log, others).await? else {
                self.restore_state(&log, others).await?;
                return Ok(repaired);
            };
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
        log: &DamagedLog<'_>,
        others: &[BrokerId],
    ) -> Result<Option<RepairedFile>, String> {
        let Some(repair) = self.begin(log, None).await? else {
            return Ok(None);
        };
        let file = repair.file().to_owned();
        // To begin takes a look through all files before that one.
        let mut begun = Some(repair);
        let mut reasons = Vec::new();
        for broker in others {
            let repair = match begun.take() {
                Some(repair) => Some(repair),
                None => self.begin(log, None).await?,
            };
            let Some(repair) = repair else {
                return Ok(None);
            };
            match self.repair_from(log, repair, *broker).await {
                Ok(file) => return Ok(Some(file)),
                Err(why) => reasons.push(format!("broker {broker}: {why}")),
            }
        }
        Err(match reasons.is_empty() {
            true => format!("{file} is damaged and there is no other replica to repair it from"),
            false => format!(
                "{file} is damaged and not repaired yet: {}",
                reasons.join("; ")
            ),
        })
    }

    /// Begins to repair the oldest damaged file, or to begin the log anew behind `floor`.
    async fn begin(
        &self,
        log: &DamagedLog<'_>,
        floor: Option<LastFrame>,
    ) -> Result<Option<Repair>, String> {
        let (dir, options) = (Arc::clone(log.dir), log.options.clone());
        let begun = move || match floor {
            Some(floor) => Repair::behind(&dir, &options, floor),
            None => Repair::begin(&dir, &options),
        };
        apart(&self.root, move || {
            begun().map_err(|error| error.to_string())
        })
        .await
    }

    async fn repair_from(
        &self,
        log: &DamagedLog<'_>,
        mut repair: Repair,
        broker: BrokerId,
    ) -> Result<RepairedFile, String> {
        let (mut supply, mut behind) = (None, None);
        loop {
            let (there, floor) = supply.take().unzip();
            let step;
            (repair, step) = apart(&self.root, move || {
                let step = repair.step(there);
                Ok((repair, step))
            })
            .await?;
            match (step, floor.flatten()) {
                (Ok(Step::Repaired(file)), _) => return Ok(file),
                (Ok(Step::Need(from)), _) => {
                    supply = Some(self.ask(log.group, broker, from).await?);
                }
                (Ok(Step::Note(file)), _) => self.note(log, behind.take(), file).await?,
                (Err(RepairError::Purged { .. }), Some(floor)) if behind.is_none() => {
                    let begun = self.begin(log, Some(floor.end())).await?;
                    repair = begun.ok_or("it is damaged no more")?;
                    behind = Some(floor);
                }
                (Err(error), _) => return Err(error.to_string()),
            }
        }
    }

    /// Notes that the log begins anew with `file`, behind this state.
    async fn note(
        &self,
        log: &DamagedLog<'_>,
        behind: Option<FloorState>,
        file: u32,
    ) -> Result<(), String> {
        let behind = behind.ok_or("nothing says what the log begins behind")?;
        tracing::warn!(
            group = %log.group, replica = %log.id, file, last_purged = %behind.end().index,
            "what a damaged replica needs is committed and purged everywhere; its log begins again \
             behind that",
        );
        let noted = behind.note(log.dir, &self.hard_state, log.id, file);
        noted.await.map_err(|error| error.to_string())
    }

    /// Gives a whole log the state before it back, if that is lost: from what this replica saved
    /// itself, or from another one.
    async fn restore_state(&self, log: &DamagedLog<'_>, others: &[BrokerId]) -> Result<(), String> {
        let (group, replica) = (log.group, log.id);
        let lost = LostState::find(log.dir, &self.hard_state, replica).await;
        let Some(lost) = lost.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let why = lost.why().to_owned();
        let (dir, options) = (Arc::clone(log.dir), log.options.clone());
        let restored = beside(&self.root, move || {
            let (log, _) =
                Log::open(Arc::clone(&dir), options).map_err(|error| error.to_string())?;
            let restored = lost.restore_here(&dir, &log.reader());
            restored.map_err(|error| error.to_string())
        });
        if restored.await? {
            tracing::warn!(
                %group, %replica, %why,
                "the state before a log was lost; the replica goes on with one that it saved itself",
            );
            return Ok(());
        }
        let mut reasons = Vec::new();
        for broker in others {
            match self.state_from(log, *broker).await {
                Ok(after) => {
                    tracing::warn!(
                        %group, %replica, %why, %broker, %after,
                        "the state before a log was lost; the replica goes on with another one's",
                    );
                    return Ok(());
                }
                Err(why) => reasons.push(format!("broker {broker}: {why}")),
            }
        }
        Err(match reasons.is_empty() {
            true => format!(
                "the state before its log is lost ({why}), and there is no other replica to get one \
                 from; put the file snapshot back from a copy of the data directory that was made \
                 since the log was purged last, or put an older copy of the whole data directory \
                 in its place"
            ),
            false => format!(
                "the state before its log is lost ({why}) and not replaced yet: {}",
                reasons.join("; ")
            ),
        })
    }

    /// Takes the state before another replica's log; says after which entry that stands.
    async fn state_from(&self, log: &DamagedLog<'_>, broker: BrokerId) -> Result<LogIndex, String> {
        let (_, state) = self.ask(log.group, broker, LogIndex(0)).await?;
        let state =
            state.ok_or("it has purged nothing, or its state does not fit into a message")?;
        let after = state.end().index;
        let taken = state.stand_in(log.dir, &self.hard_state, log.id).await;
        taken.map_err(|error| error.to_string())?;
        Ok(after)
    }

    async fn ask(
        &self,
        group: GroupId,
        broker: BrokerId,
        from: LogIndex,
    ) -> Result<(Supply, Option<FloorState>), String> {
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

#[cfg(test)]
mod tests;
