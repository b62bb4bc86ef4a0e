//! What batches take of the budget when nobody waits for them any more, and the wait for a share.

use futures_util::FutureExt;

use super::*;
use crate::log::HeldDisk;

/// Whether nothing may be proposed, and why; and the most that was on its way when that was asked.
fn permission() -> (
    Permission,
    watch::Sender<Option<AppendError>>,
    watch::Receiver<u64>,
) {
    let (refuse, refused) = watch::channel(None);
    let (tell, on_its_way) = watch::channel(0);
    let permission = move |on_its_way: u64| {
        tell.send_modify(|most| *most = on_its_way.max(*most));
        refused.borrow().clone().map_or(Ok(()), Err)
    };
    (Arc::new(permission), refuse, on_its_way)
}

/// Hands over a batch for which nobody waits then; how long it is.
async fn abandon(partition: &Partition) -> u64 {
    let batch = batch();
    let len = batch.len() as u64;
    drop(partition.enqueue(batch).await.unwrap());
    len
}

#[tokio::test]
async fn a_batch_that_waits_for_the_leader_counts_also_when_its_sender_has_left() {
    let shared = machine::Shared::new();
    let (permission, refuse, mut on_its_way) = permission();
    let partition = partition(&shared, permission).await;
    ready(&partition).await;
    refuse.send_replace(Some(AppendError::NotReady));
    let mut all = 0;
    for _ in 0..3 {
        all += abandon(&partition).await;
    }
    let counted = on_its_way.wait_for(|on_its_way| *on_its_way == all);
    timeout(LIMIT, counted).await.unwrap().unwrap();

    refuse.send_replace(None);
    let last = partition.enqueue(batch()).await.unwrap();
    let last = timeout(LIMIT, last).await.unwrap().unwrap();
    assert_eq!(last.base_offset, Offset(3), "they were not forgotten");
    assert_eq!(partition.budget.taken(), 0);
    partition.tasks.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_not_committed_counts_also_when_its_sender_has_left() {
    let (shared, (mut held, disk)) = (machine::Shared::new(), HeldDisk::new());
    let alone = BTreeMap::new();
    let partition = partition_on(&disk, &shared, Arc::new(|_| Ok(())), &alone).await;
    ready(&partition).await;
    let last = || partition.replica.reader().last().unwrap().index;
    let before = last();
    held.hold();
    let len = abandon(&partition).await;
    let proposed = async {
        while last() == before {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, proposed).await.unwrap();
    assert_eq!(partition.budget.taken(), len);

    held.release();
    let last = partition.enqueue(batch()).await.unwrap();
    let last = timeout(LIMIT, last).await.unwrap().unwrap();
    assert_eq!(last.base_offset, Offset(1));
    assert_eq!(partition.budget.taken(), 0);
    partition.tasks.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_share_is_refused_once_there_is_no_majority() {
    let shared = machine::Shared::new();
    let (permission, refuse, _) = permission();
    let partition = partition(&shared, permission).await;
    ready(&partition).await;
    let all = partition.fill().await;
    for waited_for in [None, Some(AppendError::NotReady)] {
        refuse.send_replace(waited_for);
        let waits = partition.enqueue(batch()).now_or_never();
        assert!(waits.is_none());
    }
    let mut waiting = Box::pin(partition.enqueue(batch()));
    assert!(waiting.as_mut().now_or_never().is_none());
    refuse.send_replace(Some(AppendError::QuorumLost));
    let refused = timeout(LIMIT, waiting).await.unwrap().map(drop);
    assert_eq!(refused, Err(AppendError::QuorumLost));

    // Who gave up waiting has taken nothing.
    drop(all);
    assert_eq!(partition.budget.taken(), 0);
    partition.tasks.stop().await;
}
