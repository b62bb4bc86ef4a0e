//! What the leader does while a disk holds up what it has a majority for.

use futures_util::FutureExt;

use super::*;
use crate::log::HeldDisk;

#[tokio::test]
async fn a_line_on_a_slow_disk_ends_with_one_entry_and_what_waits_for_long_is_refused() {
    let (shared, (mut held, disk)) = (machine::Shared::new(), HeldDisk::new());
    let partition = partition_on(&disk, &shared, Arc::new(|_| Ok(())), &BTreeMap::new()).await;
    let term = ready(&partition).await;
    let (line, replica) = (Line::begin(), partition.replica.clone());
    let (requests, queue) = mpsc::channel(4);
    let appending = AppendLoop {
        mending: Mending::for_at_most(Duration::from_millis(300)),
        ..in_line(&partition, term, &line)
    };
    partition.tasks.spawn(appending.run(queue));
    cut(&replica, term, &line).await;
    let last = || replica.reader().last().unwrap().index;
    let before = last();
    held.hold();
    for _ in 0..2 {
        let refused = append(&requests).await;
        assert!(
            matches!(refused, Err(AppendError::QuorumLost)),
            "{refused:?}"
        );
    }
    assert_eq!(last().0, before.0 + 1, "one entry ends the line");
    held.release();
    let appended = append_at_last(&requests).await;
    assert_eq!(appended.base_offset, Offset(0));
    partition.tasks.stop().await;
}

#[tokio::test]
async fn after_long_waits_for_a_slow_disk_nothing_more_is_waited_for() {
    let (shared, (mut held, disk)) = (machine::Shared::new(), HeldDisk::new());
    let alone = BTreeMap::new();
    let partition = partition_on(&disk, &shared, Arc::new(|_| Ok(())), &alone).await;
    let term = ready(&partition).await;
    let line = Line::begin();
    cut(&partition.replica, term, &line).await;
    held.hold();
    let settling = timeout(LIMIT, partition.replica.settle(term)).await;
    let mut appending = AppendLoop {
        mending: Mending::waiting_for_disks(term, settling.unwrap().unwrap()),
        ..in_line(&partition, term, &line)
    };
    assert_eq!(appending.leading(), Ok(term));
    for _ in 0..3 {
        let refused = appending.mend(term).now_or_never();
        assert_eq!(refused, Some(Err(AppendError::QuorumLost)));
    }
    held.release();
    let mended = async {
        while appending.mend(term).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, mended).await.unwrap();
    assert!(!appending.line.is_cut());
    partition.tasks.stop().await;
}
