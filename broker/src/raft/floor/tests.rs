//! The floor moves, or a snapshot is taken up, and the disk fails or loses power at any step.

use highwater_proto::{ClusterId, Offset, Term, Timestamp};
use openraft::storage::RaftLogStorage;

use super::*;
use crate::clock::SystemClock;
use crate::log::{Frame, FrameKind, LogOptions, MemDir, NewFrame, Owner, Source};
use crate::raft::log_store::LogStore;
use crate::raft::types::{StoredMembership, log_id};

mod lost;

const REPLICA: ReplicaId = ReplicaId(1);
/// What stands in the machine's place: the tests look at positions only.
const MACHINE: &[u8] = b"machine";

struct Disk {
    root: MemDir,
    dir: Arc<dyn Dir>,
}

struct Opened {
    log: Log,
    floor: Floor,
    hard_state: Arc<HardState>,
}

fn options() -> LogOptions {
    LogOptions {
        first_segment_bytes: 8 << 10,
        max_segment_bytes: 8 << 10,
        max_unsynced_bytes: 8 << 10,
        ..LogOptions::new(Owner {
            cluster: ClusterId::from_bytes([1; 16]),
            group: [2; 16],
            partition: 0,
            replica: REPLICA,
        })
    }
}

impl Disk {
    fn new() -> Self {
        let root = MemDir::new();
        let dir = root.subdir("group").unwrap();
        Self { root, dir }
    }

    fn hard_state(&self) -> Arc<HardState> {
        let dir = self.root.subdir("hard-state").unwrap();
        Arc::new(HardState::open(dir).unwrap())
    }

    async fn open(&self) -> Result<Opened, OpenError> {
        let hard_state = self.hard_state();
        let (log, _) = Log::open(Arc::clone(&self.dir), options()).unwrap();
        let (log, floor) = settle(log, &self.dir, &hard_state, REPLICA).await?;
        Ok(Opened {
            log,
            floor,
            hard_state,
        })
    }

    /// A disk with entries 0 to 39 of term 3, all durable, in many segments.
    async fn filled() -> (Self, Opened) {
        let disk = Self::new();
        let mut opened = disk.open().await.unwrap();
        append(&mut opened.log, 0..40);
        (disk, opened)
    }
}

fn append(log: &mut Log, indexes: std::ops::Range<u64>) {
    for index in indexes {
        let frame = NewFrame {
            term: Term(3),
            index: LogIndex(index),
            kind: FrameKind::Command,
            body: vec![index as u8; 1000].into(),
            source: Source::Local {
                append_time: Timestamp(1000 + index as i64),
            },
        };
        let (done, durable) = std::sync::mpsc::channel();
        log.append([frame], Box::new(move |synced| done.send(synced).unwrap()))
            .unwrap();
        durable.recv().unwrap().unwrap();
    }
}

fn frames(log: &Log, from: u64) -> Vec<Frame> {
    log.reader()
        .frames(LogIndex(from), LogIndex(u64::MAX), usize::MAX)
        .unwrap()
}

fn state_at(end: LastFrame) -> Saved {
    Saved {
        last_applied: Some(log_id(end.term, end.index)),
        membership: StoredMembership::default(),
        machine: MACHINE.into(),
        log_end: Some(end),
    }
}

/// The end of the log after one of its entries.
fn end_at(log: &Log, index: u64) -> LastFrame {
    let head = log.reader().head(LogIndex(index)).unwrap();
    LastFrame::from(&head.unwrap())
}

/// The last entry of the second segment.
fn boundary(log: &Log) -> u64 {
    let segments = log.reader().segments();
    assert!(segments.len() > 4, "{segments:?}");
    segments[1].next_index.0 - 1
}

/// What the core does: the state first, then the purge.
async fn move_floor(opened: Opened, state: Saved) -> io::Result<()> {
    let Opened {
        log,
        floor,
        hard_state,
    } = opened;
    let upto = state.last_applied.unwrap();
    match saved::indexes(floor.dir().as_ref())?.contains(&upto.index) {
        true => floor.adopt(state)?,
        false => floor.keep(state)?,
    }
    let clock = Arc::new(SystemClock);
    let mut store = LogStore::new(log, hard_state, REPLICA, clock, floor).unwrap();
    store.purge(upto).await
}

fn segment_files(dir: &dyn Dir) -> usize {
    let names = dir.list().unwrap();
    names.iter().filter(|name| name.ends_with(".seg")).count()
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_purge_costs_no_entry_above_the_floor() {
    let mut step = 0;
    loop {
        let (disk, opened) = Disk::filled().await;
        let all = frames(&opened.log, 0);
        let upto = boundary(&opened.log);
        let state = state_at(end_at(&opened.log, upto));
        saved::save(disk.dir.as_ref(), upto, &state.encode()).unwrap();
        disk.root.fail_from_operation(Some(step));
        let moved = move_floor(opened, state).await;
        disk.root.fail_from_operation(None);
        disk.root.power_cut(step);

        let opened = disk.open().await;
        let opened = opened.unwrap_or_else(|error| panic!("step {step}: {error}"));
        let first = opened.log.first_index().0;
        assert!(first == 0 || first == upto + 1, "step {step}: {first}");
        assert!(
            first == 0 || opened.floor.index() == Some(upto),
            "step {step}"
        );
        assert_eq!(
            frames(&opened.log, first),
            all[first as usize..],
            "step {step}"
        );
        if moved.is_ok() {
            assert_eq!(first, upto + 1);
            let left = opened.log.reader().segments().len();
            drop(opened);
            assert!(segment_files(disk.dir.as_ref()) <= left + 1, "files stay");
            break;
        }
        step += 1;
    }
    assert!(step > 8, "{step} steps");
}

#[tokio::test]
async fn a_crash_at_any_step_of_taking_up_a_snapshot_leaves_the_old_or_the_new_state() {
    let (_, other) = Disk::filled().await;
    let upto = 30;
    let end = end_at(&other.log, upto);
    let rest: Vec<NewFrame> = frames(&other.log, upto + 1)
        .into_iter()
        .map(|frame| NewFrame {
            term: frame.head.term,
            index: frame.head.index,
            kind: frame.head.kind,
            body: frame.body,
            source: Source::Replicated(frame.head),
        })
        .collect();
    let mut step = 0;
    loop {
        let disk = Disk::new();
        let mut opened = disk.open().await.unwrap();
        append(&mut opened.log, 0..12);
        let old = frames(&opened.log, 0);
        disk.root.fail_from_operation(Some(step));
        let moved = move_floor(opened, state_at(end)).await;
        disk.root.fail_from_operation(None);
        disk.root.power_cut(step);

        let mut opened = disk
            .open()
            .await
            .unwrap_or_else(|e| panic!("step {step}: {e}"));
        match opened.floor.index() {
            None => {
                assert!(moved.is_err());
                assert_eq!(frames(&opened.log, 0), old, "step {step}");
            }
            Some(floor) => {
                assert_eq!(floor, upto);
                assert_eq!(opened.log.last(), Some(end), "step {step}");
                assert_eq!(opened.log.first_index(), LogIndex(upto + 1));
                opened.log.append(rest.clone(), Box::new(|_| {})).unwrap();
                assert_eq!(frames(&opened.log, upto + 1), frames(&other.log, upto + 1));
                assert_eq!(opened.log.next_offset(), Offset(0));
            }
        }
        if moved.is_ok() {
            break;
        }
        step += 1;
    }
    assert!(step > 8, "{step} steps");
}

#[tokio::test]
async fn a_log_that_begins_above_its_floor_is_refused() {
    let (disk, opened) = Disk::filled().await;
    drop(opened);
    let names = disk.dir.list().unwrap();
    let first = names.iter().find(|name| name.ends_with(".seg")).unwrap();
    disk.dir.remove(first).unwrap();
    let refused = disk.open().await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("must begin at 0"), "{refused}");
}

#[tokio::test]
async fn a_purged_log_without_the_state_at_its_floor_is_refused() {
    let (disk, opened) = Disk::filled().await;
    let state = state_at(end_at(&opened.log, boundary(&opened.log)));
    move_floor(opened, state).await.unwrap();
    disk.dir.remove(FILE).unwrap();
    let refused = disk.open().await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::StateLost(_)), "{refused}");
    assert!(refused.to_string().contains("snapshot"), "{refused}");
}

#[tokio::test]
async fn a_state_that_the_log_contradicts_is_refused() {
    let (disk, opened) = Disk::filled().await;
    let mut end = end_at(&opened.log, boundary(&opened.log));
    end.chain ^= 1;
    opened.floor.keep(state_at(end)).unwrap();
    drop(opened);
    let refused = disk.open().await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("differ"), "{refused}");
}

#[tokio::test]
async fn a_full_disk_does_not_keep_a_log_from_being_purged() {
    let (disk, opened) = Disk::filled().await;
    let upto = boundary(&opened.log);
    let state = state_at(end_at(&opened.log, upto));
    saved::save(disk.dir.as_ref(), upto, &state.encode()).unwrap();
    disk.root.set_capacity(0);
    move_floor(opened, state).await.unwrap();
    disk.root.set_capacity(u64::MAX);
    let opened = disk.open().await.unwrap();
    assert_eq!(opened.log.first_index(), LogIndex(upto + 1));
}

#[tokio::test]
async fn what_a_slow_reader_holds_stays_as_it_was_when_its_file_is_deleted() {
    let (disk, opened) = Disk::filled().await;
    let upto = boundary(&opened.log);
    let (held, reader) = (frames(&opened.log, 0), opened.log.reader());
    let state = state_at(end_at(&opened.log, upto));
    move_floor(opened, state).await.unwrap();
    assert!(
        reader
            .frames(LogIndex(upto), LogIndex(upto + 1), 1)
            .is_err()
    );
    for (index, frame) in held.iter().enumerate() {
        assert_eq!(frame.head.index, LogIndex(index as u64));
        assert!(
            frame.body.iter().all(|byte| *byte == index as u8),
            "{index}"
        );
    }
    drop(disk);
}

#[tokio::test]
async fn a_floor_never_moves_back() {
    let (_disk, opened) = Disk::filled().await;
    let (low, high) = (end_at(&opened.log, 4), end_at(&opened.log, 9));
    opened.floor.keep(state_at(high)).unwrap();
    opened.floor.keep(state_at(low)).unwrap();
    assert_eq!(opened.floor.index(), Some(9));
}
