//! What the leader does while the brokers of the other replicas stand still, and when they go on.

use super::*;
use crate::peer::fake::FakePeer;

#[tokio::test]
async fn a_rest_ends_when_the_others_go_on() {
    let shared = machine::Shared::new();
    let (others_run, running) = watch::channel(true);
    let mut others = BTreeMap::new();
    for broker in [BrokerId(2), BrokerId(3)] {
        let other = FakePeer::start().await;
        others.insert(broker, other.address.clone());
        tokio::spawn(other.follow(broker.0.into(), running.clone()));
    }
    let permission = Arc::new(|_| Ok(()));
    let partition = partition_on(&MemDir::new(), &shared, permission, &others).await;
    partition.replica.lead_if_new().await;
    let term = ready(&partition).await;
    let line = Line::begin();
    let (requests, queue) = mpsc::channel(4);
    let appending = AppendLoop {
        mending: Mending::at_rest(100 * LIMIT),
        ..in_line(&partition, term, &line)
    };
    cut(&partition.replica, term, &line).await;
    partition.tasks.spawn(appending.run(queue));

    others_run.send_replace(false);
    for _ in 0..2 {
        assert_eq!(append(&requests).await, Err(AppendError::QuorumLost));
        assert!(!partition.replica.is_heard(), "others may elect");
    }
    others_run.send_replace(true);
    append_at_last(&requests).await;
    assert!(partition.replica.is_heard());
    partition.tasks.stop().await;
}
