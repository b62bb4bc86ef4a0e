//! What is watched of each replica: who leads, whether the leader may propose, and its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::ReplicaId;
use tokio::sync::{mpsc, watch};

use crate::cluster::Liveness;
use crate::log::HardState;
use crate::partition::{AppendError, Permission};
use crate::raft::{GroupId, Members, Replica};
use crate::service::{FaultKind, Services};
use crate::tasks::Tasks;

/// How often what waits for another leader looks whether it still must.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Tells the table of leaders what the replica knows, whenever it changes.
pub(super) fn watch_leadership(replica: &Replica, services: &Services, tasks: &Tasks) {
    let (group, leaders) = (replica.group(), Arc::clone(&services.leaders));
    let metrics = Arc::clone(&services.metrics);
    let mut leadership = replica.leadership();
    tasks.spawn(async move {
        let mut led = None;
        loop {
            let now = *leadership.borrow_and_update();
            let leads = now.mine.then_some(now.term);
            if leads.is_some() && leads != led {
                metrics.leaderships.add(1);
            }
            led = leads;
            leaders.see(group, now);
            if leadership.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Whether the leader may propose: not while a majority of the replica's voters cannot be reached,
/// as the pings have it, or has no room, as they say, and not while this broker leaves leading to others
/// that can. Then what comes waits until another broker leads and is sent there.
pub(super) fn permission(services: &Arc<Services>, replica: &Replica) -> Permission {
    let (services, replica) = (Arc::clone(services), replica.clone());
    let suspected = services.liveness.suspected();
    Arc::new(move |on_its_way| {
        let liveness = &services.liveness;
        let calm = !liveness.is_leaving() && suspected.borrow().is_empty();
        if calm && replica.followers_have_plenty() {
            return Ok(());
        }
        if services.is_held_back(&replica) {
            return Err(AppendError::NotReady);
        }
        let members = replica.members();
        let answers = |id: &ReplicaId| answers(liveness, &members, *id);
        if !members.have_majorities(answers) {
            return Err(AppendError::QuorumLost);
        }
        let little = replica.little_room();
        let short = little.iter().filter(|(_, left)| **left < on_its_way);
        let short: BTreeMap<_, _> = short.collect();
        let takes = |id: &ReplicaId| answers(id) && !short.contains_key(id);
        match short.first_key_value() {
            Some((id, left)) if !members.have_majorities(takes) => {
                let broker = members.brokers.get(id).map_or(0, |broker| broker.0);
                Err(AppendError::DiskFull(format!(
                    "the disk of broker {broker} is full: its replica has room for {left} bytes; \
                     free space there, and appends go on by themselves"
                )))
            }
            _ => Ok(()),
        }
    })
}

/// Whether the brokers of a majority of a group's voters answer.
pub(super) fn reaches_majority(liveness: Arc<Liveness>) -> impl Fn(&Members) -> bool {
    move |members| members.have_majorities(|id| answers(&liveness, members, *id))
}

fn answers(liveness: &Liveness, members: &Members, id: ReplicaId) -> bool {
    let broker = members.brokers.get(&id);
    broker.is_some_and(|broker| liveness.answers(*broker))
}

/// While this broker leaves leading to others, what comes waits for them: it looks again when they
/// come and go, and now and then, since it does not wait for ever.
pub(super) fn watch_successors(services: &Arc<Services>, tasks: &Tasks) {
    let services = Arc::clone(services);
    let mut suspected = services.liveness.suspected();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                changed = suspected.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            if services.liveness.is_leaving() {
                services.wake_partitions();
            }
        }
    });
}

/// A replica whose core has ended by itself.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) group: GroupId,
    pub(super) replica: ReplicaId,
    pub(super) kind: FaultKind,
    pub(super) why: String,
}

/// Watches for the end of the replica's core. After a failed sync nothing on this disk can be
/// trusted to become durable, and without its metadata a broker cannot serve: it must exit. Any
/// other error of a partition keeps that replica out of its group for a while. A leader with another
/// history does not prove that the one here is wrong: the metadata replica is not marked for that.
pub(super) fn watch_end(
    replica: &Replica,
    ending: mpsc::UnboundedSender<Ended>,
    failed: watch::Sender<Option<String>>,
    tasks: &Tasks,
) {
    let replica = replica.clone();
    let own = tasks.clone();
    tasks.spawn(async move {
        let why = replica.ended().await;
        let group = replica.group();
        if own.is_cancelled() {
            return;
        }
        if let Some(error) = replica.sync_failed() {
            let why = after_failed_sync(error);
            tracing::error!(%group, %why, "the broker cannot go on");
            failed.send_replace(Some(why));
        } else if group == GroupId::Metadata {
            tracing::error!(%group, %why, "the broker cannot go on");
            failed.send_replace(Some(format!("{group}: {why}")));
        } else {
            drop(ending.send(Ended {
                group,
                replica: replica.id(),
                kind: match (replica.diverged(), replica.reader().damage()) {
                    (Some(_), _) => FaultKind::Diverged,
                    (None, Some(_)) => FaultKind::Damaged,
                    (None, None) => FaultKind::Stopped,
                },
                why: replica.diverged().map_or(why, str::to_owned),
            }));
        }
    });
}

/// Watches what all replicas note beside their logs. After a failure there no vote is given, no replica
/// made and none deleted: the broker must exit, also if no replica notices.
pub(super) fn watch_notes(hard_state: &HardState, failed: watch::Sender<Option<String>>) {
    hard_state.when_failed(Box::new(move |failure| {
        if let Err(error) = failure {
            let why = after_failed_sync(&error.to_string());
            tracing::error!(%why, "the broker cannot go on");
            failed.send_replace(Some(why));
        }
    }));
}

fn after_failed_sync(error: &str) -> String {
    format!(
        "{error}. What was given to the disk since the last sync may be lost; what was \
         acknowledged was synced before. Nothing is acknowledged any more, and no sync is \
         tried again: check the disk (dmesg, its health), then start this broker again"
    )
}
