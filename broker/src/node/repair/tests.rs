//! A repair and the rest of the broker do not wait for each other.

use std::sync::mpsc;

use highwater_proto::{ClusterId, Incarnation};
use tokio::time::timeout;

use super::*;
use crate::clock::SystemClock;
use crate::cluster::MetadataMachine;
use crate::log::{FsDir, HardState, Job};
use crate::metrics::Metrics;
use crate::peer::{Identity, Peers};
use crate::tasks::Tasks;

const LIMIT: Duration = Duration::from_secs(30);

fn groups(root: Arc<dyn Dir>, tasks: &Tasks) -> Groups {
    let identity = Identity {
        cluster: ClusterId::from_bytes([2; 16]),
        broker: BrokerId(1),
        incarnation: Incarnation::from_bytes([3; 16]),
    };
    let hard_state = HardState::open(root.subdir("hard-state").unwrap()).unwrap();
    Groups {
        root,
        hard_state: Arc::new(hard_state),
        peers: Arc::new(Peers::new(identity, tasks.clone())),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new([])),
    }
}

/// Work that does not end until the result is dropped.
fn held(queue: impl FnOnce(Job)) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    queue(Box::new(move || _ = released.recv()));
    release
}

#[tokio::test]
async fn a_repair_and_what_runs_in_the_background_do_not_wait_for_each_other() {
    let place = tempfile::tempdir().unwrap();
    let root: Arc<dyn Dir> = Arc::new(FsDir::open(place.path(), 1).unwrap());
    let tasks = Tasks::new();
    let groups = groups(Arc::clone(&root), &tasks);
    let (group, id) = (GroupId::Metadata, ReplicaId(1));
    let machine = Box::new(MetadataMachine::new().0);
    let opened = groups.open(group, id, None, machine, &tasks);
    let replica = timeout(LIMIT, opened).await.unwrap().unwrap();
    replica.initialize([(id, BrokerId(1))]).await.unwrap();
    replica.shutdown().await;
    drop(replica);

    let release = held(|job| root.offload(job));
    let repaired = timeout(LIMIT, groups.repair(group, id, None, &[])).await;
    assert_eq!(repaired.unwrap(), Ok(Vec::new()));
    drop(release);

    let release = held(|job| root.run_apart(job));
    let repair = groups.repair(group, id, None, &[]);
    tokio::pin!(repair);
    let background = async {
        let (done, ran) = tokio::sync::oneshot::channel();
        root.offload(Box::new(move || _ = done.send(())));
        ran.await.unwrap();
    };
    let first = tokio::select! {
        _ = &mut repair => "the repair",
        ran = timeout(LIMIT, background) => {
            ran.unwrap();
            "the background"
        }
    };
    assert_eq!(first, "the background");
    drop(release);
    let repaired = timeout(LIMIT, repair).await;
    assert_eq!(repaired.unwrap(), Ok(Vec::new()));
    tasks.stop().await;
}
