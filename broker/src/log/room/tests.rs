use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::log::dir::is_full;
use crate::log::{HeldDisk, MemDir};

const MIB: u64 = 1 << 20;

/// A disk with room for `capacity` bytes of files, and the room of a log on it without any.
fn room(capacity: u64) -> (MemDir, Room) {
    let dir = MemDir::new();
    dir.set_capacity(capacity);
    (dir.clone(), Room::new(Arc::new(dir), MIB, 1))
}

fn ask(room: &Room, body: u64, purpose: Purpose) -> Result<Held, Shortage> {
    room.reserve([body as usize], purpose, None)
}

/// Asks as often as asking again is what the room says.
fn insist(room: &Room, body: u64, purpose: Purpose) -> Result<Held, NoRoom> {
    let mut seen = None;
    loop {
        match room.reserve([body as usize], purpose, seen) {
            Ok(held) => return Ok(held),
            Err(Shortage::Full(no_room)) => return Err(no_room),
            Err(Shortage::Wait(now)) => seen = Some(now),
        }
    }
}

#[test]
fn what_fits_into_the_active_file_short_of_its_reserve_is_granted() {
    let (_, room) = room(0);
    room.moved(200 << 10, MIB, 0);
    let held = ask(&room, 100 << 10, Purpose::Data).unwrap();
    assert!(
        insist(&room, 40 << 10, Purpose::Data).is_err(),
        "the reserve"
    );
    assert!(ask(&room, 40 << 10, Purpose::Raft).is_ok());
    assert!(
        insist(&room, 1, Purpose::Cut).is_err(),
        "a cut needs a file"
    );
    drop(held);
    assert!(ask(&room, 40 << 10, Purpose::Data).is_ok());
}

#[test]
fn what_is_proposed_counts_until_it_is_appended() {
    let (_, room) = room(0);
    room.moved(200 << 10, MIB, 0);
    room.propose(100 << 10);
    assert!(insist(&room, 40 << 10, Purpose::Data).is_err());
    room.moved(200 << 10, MIB, frame_bytes(100 << 10));
    drop(ask(&room, 40 << 10, Purpose::Data).unwrap());
    room.propose(100 << 10);
    room.forget_proposed();
    assert!(ask(&room, 40 << 10, Purpose::Data).is_ok());
}

#[test]
fn the_next_file_is_made_before_anything_is_granted_that_needs_it() {
    let (dir, room) = room(10 * MIB);
    let Err(Shortage::Wait(_)) = ask(&room, MIB, Purpose::Data) else {
        panic!("granted before there is a file");
    };
    assert_eq!(dir.list().unwrap(), ["00000001.seg"]);
    let held = ask(&room, MIB, Purpose::Data).unwrap();
    assert!(matches!(
        ask(&room, MIB, Purpose::Data),
        Err(Shortage::Wait(_))
    ));
    assert_eq!(room.take_file(MIB, MIB).unwrap().number, 1);
    drop(held);
}

#[tokio::test]
async fn a_file_too_small_is_removed_late_without_harm_to_one_that_has_its_number_by_then() {
    let (mut disk, dir) = HeldDisk::new();
    dir.set_capacity(100 * MIB);
    let room = Room::new(Arc::new(dir.clone()), MIB, 1);
    drop(insist(&room, MIB / 2, Purpose::Data).unwrap());
    assert_eq!(dir.list().unwrap(), ["00000001.seg"]);
    disk.hold();
    let Err(Shortage::Wait(_)) = ask(&room, 3 * MIB, Purpose::Data) else {
        panic!("the file is too small");
    };
    let replacing = tokio::time::timeout(Duration::from_secs(30), disk.next());
    let replacing = replacing.await.expect("it is replaced");
    // As the log does that is opened meanwhile.
    drop(dir.remove("00000001.seg"));
    dir.create("00000001.seg", MIB).unwrap();
    replacing();
    let names = dir.list().unwrap();
    assert_eq!(names, ["00000001.seg", "00000002.seg"]);
}

#[test]
fn a_name_that_is_taken_is_passed_over_and_no_reason_to_call_the_disk_full() {
    let (dir, room) = room(100 * MIB);
    dir.create("00000001.seg", MIB).unwrap();
    assert!(insist(&room, MIB / 2, Purpose::Data).is_ok());
    assert!(!dir.space().is_short());
    assert_eq!(dir.list().unwrap(), ["00000001.seg", "00000002.seg"]);
    dir.create("00000003.seg", MIB).unwrap();
    assert_eq!(room.take_file(4 * MIB, 4 * MIB).unwrap().number, 4);
}

#[test]
fn a_full_disk_is_said_at_once_and_heals_by_itself() {
    let (dir, room) = room(0);
    for _ in 0..3 {
        let Err(Shortage::Full(no_room)) = ask(&room, 1000, Purpose::Data) else {
            panic!("there is no room");
        };
        assert_eq!((no_room.place.as_str(), no_room.free), ("memory", 0));
    }
    assert!(dir.space().is_short());
    assert!(dir.list().unwrap().is_empty());
    dir.set_capacity(64 * MIB);
    assert!(insist(&room, 1000, Purpose::Data).is_ok());
    assert!(!dir.space().is_short());
}

#[test]
fn a_disk_that_promises_more_than_it_has_is_full_after_one_try() {
    let (dir, room) = room(10 * MIB);
    dir.fail_from_operation(Some(0));
    assert!(insist(&room, 1000, Purpose::Data).is_err());
    dir.fail_from_operation(None);
    assert!(insist(&room, 1000, Purpose::Data).is_ok());
}

#[test]
fn a_disk_with_plenty_of_room_needs_no_file_in_advance() {
    let (dir, room) = room(4096 * MIB);
    let held: Vec<_> = (0..32)
        .map(|_| ask(&room, MIB, Purpose::Data).unwrap())
        .collect();
    assert!(dir.list().unwrap().is_empty());
    let last = room.lock().promised;
    assert!(last > 32 * MIB, "{last}");
    drop(held);
    assert_eq!(room.lock().promised, 0);
}

#[test]
fn a_file_is_smaller_where_there_is_no_room_for_a_regular_one() {
    let (_, room) = room(6 * MIB);
    room.moved(0, 64 * MIB, 0);
    assert!(insist(&room, 1000, Purpose::Data).is_ok());
    let blank = room.take_file(8192, 64 * MIB).unwrap();
    assert_eq!(blank.file.len(), 4 * MIB);
    let needed = 3 * MIB;
    let full = room.take_file(needed, 64 * MIB).unwrap_err();
    assert!(is_full(&full), "{full}");
}

#[test]
fn what_is_kept_free_stays_free_when_a_stranger_has_just_filled_the_disk() {
    let (dir, room) = room(10 * MIB);
    dir.set_capacity_unseen(MIB);
    assert!(insist(&room, 1000, Purpose::Data).is_err());
    dir.set_capacity(10 * MIB);
    dir.set_capacity_unseen(MIB);
    room.prepare(None);
    assert!(dir.list().unwrap().is_empty());
    dir.set_capacity(10 * MIB);
    dir.set_capacity_unseen(3 * MIB);
    let blank = room.take_file(1000, 8 * MIB).unwrap();
    assert_eq!(blank.file.len(), 2 * MIB);
}

#[tokio::test]
async fn a_file_that_nobody_waits_for_and_that_is_not_made_refuses_nobody() {
    let (mut disk, dir) = HeldDisk::new();
    dir.set_capacity(10 * MIB);
    let room = Room::new(Arc::new(dir.clone()), MIB, 1);
    disk.hold();
    room.prepare(None);
    let making = tokio::time::timeout(Duration::from_secs(30), disk.next());
    let making = making.await.expect("it is to be made");
    let Err(Shortage::Wait(seen)) = ask(&room, 1000, Purpose::Replicated) else {
        panic!("a file is on its way");
    };
    dir.set_capacity_unseen(MIB);
    making();
    let asked = room.reserve([1000], Purpose::Replicated, Some(seen));
    assert!(matches!(asked, Err(Shortage::Wait(_))), "{asked:?}");
    let making = disk.next().await;
    making();
    room.reserve([1000], Purpose::Replicated, Some(seen))
        .unwrap();
}

#[test]
fn whoever_waits_is_called_once_something_changes() {
    let (_, room) = room(10 * MIB);
    room.moved(0, 2 * MIB, 0);
    let calls = Arc::new(AtomicUsize::new(0));
    let wake = || -> Wake {
        let calls = Arc::clone(&calls);
        Box::new(move || _ = calls.fetch_add(1, Ordering::Relaxed))
    };
    let held = insist(&room, MIB, Purpose::Data).unwrap();
    let Err(Shortage::Wait(seen)) = ask(&room, MIB, Purpose::Data) else {
        panic!("two such entries do not fit into the next file");
    };
    room.when_changed(seen, wake());
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    drop(held);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    room.when_changed(seen, wake());
    assert_eq!(calls.load(Ordering::Relaxed), 2, "it has changed since");
}

#[test]
fn what_a_leader_had_room_for_may_take_what_leaders_keep_free() {
    let (_, room) = room(MIB);
    assert!(insist(&room, 1000, Purpose::Data).is_err());
    assert_eq!(room.left(), 0);
    drop(insist(&room, 1000, Purpose::Replicated).unwrap());
    assert!(
        insist(&room, 1000, Purpose::Data).is_ok(),
        "the file is there"
    );
}

/// Has the room know of one file of so many bytes, another one for each size.
fn holds(room: &Room, bytes: u64) {
    let number = u32::try_from(bytes >> 10).unwrap();
    room.holds([(number, bytes)].into_iter());
}

/// A room whose files take so much, at a limit of 10 MiB, with nothing left in the active one.
fn limited(files: u64) -> (MemDir, Room) {
    let (dir, room) = room(4096 * MIB);
    room.limit(Some(10 * MIB));
    room.moved(0, MIB, 0);
    holds(&room, files);
    (dir, room)
}

fn waits(asked: Result<Held, Shortage>) -> bool {
    matches!(asked, Err(Shortage::Wait(_)))
}

#[test]
fn at_the_limit_records_wait_until_files_are_gone() {
    let (dir, room) = limited(10 * MIB);
    let Err(Shortage::Wait(seen)) = ask(&room, 1000, Purpose::Data) else {
        panic!("granted above the limit");
    };
    let woken = Arc::new(AtomicUsize::new(0));
    let wake = Arc::clone(&woken);
    room.when_changed(
        seen,
        Box::new(move || _ = wake.fetch_add(1, Ordering::Relaxed)),
    );
    assert!(room.is_pressed());
    holds(&room, 9 * MIB);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert!(!room.is_pressed());
    holds(&room, 10 * MIB);
    room.prepare(None);
    assert!(dir.list().unwrap().is_empty(), "no file was made");
    holds(&room, 9 * MIB);
    assert!(insist(&room, 1000, Purpose::Data).is_ok());
    assert_eq!(dir.list().unwrap().len(), 1);
}

#[test]
fn what_moves_the_log_start_elects_leaders_or_is_sent_by_one_never_waits_for_files_to_go() {
    let (_, room) = limited(10 * MIB);
    assert!(insist(&room, 1000, Purpose::Replicated).is_ok());
    assert!(insist(&room, 1000, Purpose::Raft).is_ok());
    assert!(insist(&room, 1000, Purpose::Cut).is_ok());
    assert!(!room.is_pressed());
}

#[test]
fn what_is_on_its_way_never_needs_more_files_than_the_limit_allows() {
    let (_, room) = limited(0);
    let granted = std::iter::from_fn(|| ask(&room, 64 << 10, Purpose::Data).ok());
    let granted: Vec<_> = granted.take(1000).collect();
    let bytes: u64 = granted.iter().map(|held| held.bytes).sum();
    assert!((MIB..10 * MIB).contains(&bytes), "{bytes}");
}

#[test]
fn where_nothing_can_go_the_limit_is_passed_by_one_file() {
    let (dir, room) = limited(10 * MIB);
    assert!(waits(ask(&room, 1000, Purpose::Data)));
    room.lift();
    assert!(insist(&room, 1000, Purpose::Data).is_ok());
    assert_eq!(dir.list().unwrap().len(), 1);
    drop(room.take_file(MIB, MIB).unwrap());
    holds(&room, 11 * MIB);
    assert!(waits(ask(&room, 1000, Purpose::Data)));
    assert!(room.is_pressed());
    // Once something went, or below the limit, the exception is over.
    for fewer in [21 * MIB / 2, 8 * MIB] {
        room.lift();
        holds(&room, fewer);
        holds(&room, 10 * MIB);
        assert!(waits(ask(&room, 1000, Purpose::Data)));
    }
}

#[test]
fn whoever_deletes_is_told_that_somebody_waits() {
    let (_, room) = limited(10 * MIB);
    let told = Arc::new(AtomicUsize::new(0));
    let watch = || {
        let told = Arc::clone(&told);
        room.when_pressed(Box::new(move || _ = told.fetch_add(1, Ordering::Relaxed)));
    };
    watch();
    assert_eq!(told.load(Ordering::Relaxed), 0);
    assert!(waits(ask(&room, 1000, Purpose::Data)));
    assert_eq!(told.load(Ordering::Relaxed), 1);
    watch();
    assert_eq!(told.load(Ordering::Relaxed), 2, "at once");
    room.limit(None);
    assert!(ask(&room, 1000, Purpose::Data).is_ok());
}

#[test]
fn what_files_give_back_counts_when_it_is_given() {
    let (_, room) = limited(10 * MIB);
    room.gives_back();
    assert!(room.is_giving_back());
    assert!(waits(ask(&room, 1000, Purpose::Data)));
    room.gave_back(10 << 10, 8 * MIB);
    assert!(!room.is_giving_back());
    assert!(insist(&room, 1000, Purpose::Data).is_ok());
}
