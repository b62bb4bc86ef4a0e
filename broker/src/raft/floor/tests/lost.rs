//! The state before a whole log is lost: the replica goes on with one of its own or of another
//! replica, with all that its log has, or stays as it was.

use highwater_proto::Offset;

use super::*;
use crate::raft::begin_again::FloorState;
use crate::raft::lost_state::LostState;
use crate::raft::noted::{note_vote, vote};
use crate::raft::types::{LeaderId, Vote};

fn vote_of(term: u64) -> Vote {
    Vote {
        leader_id: LeaderId { term, voted_for: 2 },
        committed: false,
    }
}

/// A disk with entries up to `end`, the first two segments purged, a vote of term 3, and no state.
/// The entries that it still has, and the last one that it has purged.
async fn lost(end: u64, damage: impl FnOnce(&Disk)) -> (Disk, Vec<Frame>, u64) {
    let disk = Disk::new();
    let mut opened = disk.open().await.unwrap();
    append(&mut opened.log, 0..end);
    let upto = boundary(&opened.log);
    let hard_state = Arc::clone(&opened.hard_state);
    let noted = note_vote(&hard_state, REPLICA, &vote_of(3)).await;
    noted.unwrap().unwrap();
    let left = frames(&opened.log, upto + 1);
    let state = state_at(end_at(&opened.log, upto));
    move_floor(opened, state).await.unwrap();
    damage(&disk);
    (disk, left, upto)
}

fn remove(disk: &Disk) {
    disk.dir.remove(FILE).unwrap();
    disk.dir.sync_dir().unwrap();
}

fn flip(disk: &Disk, at: usize) {
    let file = disk.dir.open(FILE).unwrap();
    let mut bytes = Vec::from(file.slice(0..file.len()));
    bytes[at] ^= 0x10;
    disk.dir.remove(FILE).unwrap();
    let file = disk.dir.create(FILE, bytes.len() as u64).unwrap();
    let parts = [io::IoSlice::new(&bytes)];
    file.write_at(&parts, 0).unwrap();
    file.sync_now().unwrap();
    disk.dir.sync_dir().unwrap();
}

async fn find(disk: &Disk) -> Option<LostState> {
    let hard_state = disk.hard_state();
    let found = LostState::find(&disk.dir, &hard_state, REPLICA).await;
    found.unwrap()
}

/// What a replica finds among its own files.
async fn restore_here(disk: &Disk) -> bool {
    let lost = find(disk).await.unwrap();
    let (log, _) = Log::open(Arc::clone(&disk.dir), options()).unwrap();
    lost.restore_here(&disk.dir, &log.reader()).unwrap()
}

fn given(end: LastFrame) -> FloorState {
    let encoded = state_at(end).encode();
    FloorState::decode(&encoded.into()).unwrap().unwrap()
}

/// Takes up the state of another replica that stands after the entry `end` says.
async fn stand_in(disk: &Disk, end: LastFrame) -> Result<(), OpenError> {
    let hard_state = disk.hard_state();
    given(end).stand_in(&disk.dir, &hard_state, REPLICA).await
}

/// How the log of another replica with 40 entries stands after `index`.
async fn end_elsewhere(index: u64) -> LastFrame {
    let (_disk, opened) = Disk::filled().await;
    end_at(&opened.log, index)
}

#[tokio::test]
async fn a_state_that_rots_at_any_byte_or_is_gone_is_found_lost() {
    let (disk, ..) = lost(40, |_| ()).await;
    assert!(find(&disk).await.is_none());
    let len = disk.dir.open(FILE).unwrap().len() as usize;
    for at in 0..len {
        flip(&disk, at);
        assert!(find(&disk).await.is_some(), "byte {at}");
        let refused = disk.open().await.map(|_| ()).unwrap_err();
        let lost = matches!(refused, OpenError::StateLost(_));
        assert!(lost, "byte {at}: {refused}");
        flip(&disk, at);
    }
    assert!(find(&disk).await.is_none());
    remove(&disk);
    assert!(find(&disk).await.is_some());
}

#[tokio::test]
async fn a_lost_state_is_replaced_by_the_first_that_was_saved_further_up() {
    for damage in [remove, |disk: &Disk| flip(disk, 30)] {
        let (disk, left, upto) = lost(40, damage).await;
        assert!(!restore_here(&disk).await, "there is none");
        let heads = [left.len() / 2, left.len() - 1].map(|at| left[at].head);
        for head in heads {
            let state = state_at(LastFrame::from(&head));
            saved::save(disk.dir.as_ref(), head.index.0, &state.encode()).unwrap();
        }
        assert!(restore_here(&disk).await);
        let opened = disk.open().await.unwrap();
        assert_eq!(opened.floor.index(), Some(heads[0].index.0));
        assert_eq!(frames(&opened.log, upto + 1), left);
    }
}

#[tokio::test]
async fn a_saved_state_of_another_history_replaces_nothing() {
    let (disk, left, _) = lost(40, remove).await;
    let mut end = LastFrame::from(&left[left.len() / 2].head);
    end.chain ^= 1;
    saved::save(disk.dir.as_ref(), end.index.0, &state_at(end).encode()).unwrap();
    assert!(!restore_here(&disk).await);
    assert!(disk.open().await.is_err());
}

#[tokio::test]
async fn a_log_that_was_never_purged_needs_no_state() {
    let (disk, mut opened) = Disk::filled().await;
    let all = frames(&opened.log, 0);
    opened.floor.keep(state_at(end_at(&opened.log, 9))).unwrap();
    append(&mut opened.log, 40..41);
    drop(opened);
    flip(&disk, 30);
    assert!(restore_here(&disk).await);
    let opened = disk.open().await.unwrap();
    assert_eq!(frames(&opened.log, 0)[..40], all);
    assert_eq!(opened.floor.index(), None);
}

#[tokio::test]
async fn with_another_replicas_state_the_log_keeps_all_that_it_has() {
    let (disk, left, upto) = lost(40, |disk| flip(disk, 30)).await;
    for index in [upto, upto + 5, 39] {
        stand_in(&disk, end_elsewhere(index).await).await.unwrap();
        let opened = disk.open().await.unwrap();
        assert_eq!(opened.floor.index(), Some(index));
        assert_eq!(frames(&opened.log, upto + 1), left);
        drop(opened);
        remove(&disk);
    }
}

#[tokio::test]
async fn behind_another_replicas_state_that_the_log_does_not_reach_it_begins_again() {
    let (disk, ..) = lost(20, remove).await;
    let end = end_elsewhere(30).await;
    stand_in(&disk, end).await.unwrap();
    let opened = disk.open().await.unwrap();
    assert_eq!(opened.floor.index(), Some(30));
    assert_eq!(opened.log.last(), Some(end));
    assert_eq!(opened.log.first_index(), LogIndex(31));
    assert_eq!(opened.log.next_offset(), Offset(0));
}

#[tokio::test]
async fn a_state_before_what_is_purged_here_is_refused() {
    let (disk, _, upto) = lost(40, |disk| flip(disk, 30)).await;
    let refused = stand_in(&disk, end_elsewhere(upto - 1).await).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("begins behind entry"), "{refused}");
    assert!(find(&disk).await.is_some());
}

#[tokio::test]
async fn a_state_of_a_later_term_raises_the_vote_and_without_a_vote_none_is_taken_up() {
    let (disk, ..) = lost(20, remove).await;
    let mut end = end_elsewhere(30).await;
    end.term = Term(8);
    stand_in(&disk, end).await.unwrap();
    let hard_state = disk.hard_state();
    let raised = vote(&hard_state, REPLICA).unwrap().unwrap();
    let LeaderId { term, voted_for } = raised.leader_id;
    assert_eq!((term, voted_for, raised.committed), (8, REPLICA.0, false));

    let disk = Disk::new();
    let refused = stand_in(&disk, end).await.unwrap_err();
    assert!(matches!(refused, OpenError::VoteLost { .. }), "{refused}");
    assert!(disk.dir.list().unwrap().is_empty());
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_the_state_lost_or_replaced() {
    let mut end = end_elsewhere(30).await;
    end.term = Term(8);
    for step in 0.. {
        let (disk, left, upto) = lost(20, remove).await;
        let hard_state = disk.hard_state();
        disk.root.fail_from_operation(Some(step));
        let taken = given(end).stand_in(&disk.dir, &hard_state, REPLICA).await;
        drop(hard_state);
        disk.root.fail_from_operation(None);
        disk.root.power_cut(step);
        match find(&disk).await {
            Some(_) => {
                assert!(taken.is_err(), "step {step}");
                let (log, _) = Log::open(Arc::clone(&disk.dir), options()).unwrap();
                assert_eq!(frames(&log, upto + 1), left, "step {step}");
            }
            None => {
                let opened = disk.open().await.unwrap();
                assert_eq!(opened.log.last(), Some(end), "step {step}");
                let vote = vote(&opened.hard_state, REPLICA).unwrap().unwrap();
                assert_eq!(vote.leader_id.term, 8, "step {step}");
            }
        }
        if taken.is_ok() {
            assert!(step > 4, "{step} steps");
            return;
        }
    }
}
