use highwater_proto::LogIndex;
use proptest::prelude::*;

use super::*;
use crate::clock::{Ages, Guard};

const MIB: u64 = 1 << 20;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A segment of ten records, number `n`, whose last record came at `last`.
fn segment(n: u64, last: i64, sealed: bool) -> SegmentInfo {
    SegmentInfo {
        first_index: LogIndex(n * 10),
        next_index: LogIndex(n * 10 + 10),
        first_offset: Offset(n * 10),
        next_offset: Offset(n * 10 + 10),
        last_append_time: Timestamp(last),
        bytes: MIB,
        disk_bytes: MIB,
        end: MIB - 4096,
        sealed,
    }
}

/// Closed segments whose last records came at these times, and one that is written to.
fn storage(times: &[i64]) -> Storage {
    let closed = times
        .iter()
        .zip(0..)
        .map(|(last, n)| segment(n, *last, true));
    let count = times.len() as u64;
    let open = segment(count, times.last().copied().unwrap_or(0), false);
    let segments: Vec<_> = closed.chain([open]).collect();
    Storage {
        disk_bytes: segments.iter().map(|segment| segment.bytes).sum(),
        began: Some(open.last_append_time),
        segments,
    }
}

fn retention(ms: Option<i64>, bytes: Option<u64>) -> Retention {
    Retention {
        ms,
        bytes,
        file_bytes: MIB,
        file_ms: 1000,
    }
}

#[test]
fn nothing_goes_unless_a_limit_says_so() {
    let storage = storage(&[1, 2, 3]);
    let unlimited = retention(None, None);
    assert_eq!(
        unlimited.start(&storage, Timestamp(i64::MAX), Offset(40)),
        None
    );
}

#[test]
fn closed_segments_go_when_their_last_record_is_old_enough() {
    let storage = storage(&[100, 200, 300]);
    let limited = retention(Some(50), None);
    let start = |now| limited.start(&storage, Timestamp(now), Offset(40));
    assert_eq!(start(149), None);
    assert_eq!(start(150), Some(Start::At(Offset(10))));
    assert_eq!(start(299), Some(Start::At(Offset(20))));
    assert_eq!(
        start(1_000_000),
        Some(Start::At(Offset(30))),
        "the open one stays"
    );
    let behind = limited.start(&storage, Timestamp(1_000_000), Offset(29));
    assert_eq!(
        behind,
        Some(Start::At(Offset(20))),
        "what is not committed stays"
    );
}

#[test]
fn the_oldest_segments_go_until_the_rest_and_the_next_one_fit() {
    let storage = storage(&[1, 2, 3, 4, 5]);
    let start = |mib| retention(None, Some(mib * MIB)).start(&storage, Timestamp(0), Offset(60));
    assert_eq!(start(7), None, "six, and the next one");
    assert_eq!(start(6), Some(Start::At(Offset(10))));
    assert_eq!(start(3), Some(Start::At(Offset(40))));
    assert_eq!(start(1), Some(Start::At(Offset(50))), "the open one stays");
}

#[test]
fn of_what_is_too_much_all_that_is_committed_goes_at_once() {
    let storage = storage(&[1, 2, 3, 4, 5]);
    let start = |committed| retention(None, Some(3 * MIB)).start(&storage, Timestamp(0), committed);
    assert_eq!(start(Offset(60)), Some(Start::At(Offset(40))));
    assert_eq!(start(Offset(39)), Some(Start::At(Offset(30))));
    assert_eq!(start(Offset(9)), None);
}

#[test]
fn a_file_for_one_large_batch_goes_as_a_whole() {
    let mut storage = storage(&[1, 2, 3]);
    storage.segments[0].bytes = 2 * MIB + (64 << 10);
    storage.disk_bytes += MIB + (64 << 10);
    let start = retention(None, Some(5 * MIB)).start(&storage, Timestamp(0), Offset(40));
    assert_eq!(start, Some(Start::At(Offset(10))));
}

#[test]
fn a_segment_made_ready_counts_once() {
    let mut storage = storage(&[1, 2, 3, 4, 5]);
    storage.disk_bytes += MIB + 4096;
    let start = |bytes| retention(None, Some(bytes)).start(&storage, Timestamp(0), Offset(60));
    assert_eq!(start(7 * MIB + 4096), None);
    assert_eq!(start(7 * MIB), Some(Start::At(Offset(10))));
}

/// Segments of 1, 2, 4 MiB and so on, full but for a little, and an open one with little in it.
fn doubled(count: u64, spare: u64) -> Storage {
    let mut storage = storage(&vec![1; count as usize]);
    for (n, segment) in storage.segments.iter_mut().enumerate() {
        segment.bytes = MIB << n;
        segment.end = segment.bytes - 65536;
    }
    storage.segments[count as usize].end = 8192;
    storage.disk_bytes = storage.segments.iter().map(|s| s.bytes).sum::<u64>() + spare;
    storage
}

fn altered(mib: u64) -> Retention {
    Retention {
        file_bytes: mib * MIB / 20,
        ..retention(None, Some(mib * MIB))
    }
}

#[test]
fn files_from_before_a_limit_count_what_they_hold() {
    // Seven MiB of records in files of 15 MiB, and one of 16 MiB made ready.
    let storage = doubled(3, 16 * MIB);
    assert_eq!(altered(10).start(&storage, Timestamp(0), Offset(40)), None);
}

#[test]
fn a_large_file_from_before_a_limit_is_cut_inside() {
    for count in 3..8 {
        let storage = doubled(count, MIB << (count + 1));
        let start = altered(4).start(&storage, Timestamp(0), Offset(100));
        let Some(Start::Inside { segment, byte, .. }) = start else {
            panic!("{start:?}");
        };
        let place = (segment.0 / 10) as usize;
        let held: u64 = storage.segments[place..].iter().map(|s| s.end).sum();
        let kept = held - byte;
        assert!((2 * MIB..=4 * MIB).contains(&kept), "{kept} of {count}");
    }
}

#[test]
fn other_files_never_take_half_of_a_limit_from_the_records() {
    let mut storage = storage(&[1, 2, 3, 4, 5]);
    storage.disk_bytes += 100 * MIB;
    let start = retention(None, Some(8 * MIB)).start(&storage, Timestamp(0), Offset(60));
    assert_eq!(start, Some(Start::At(Offset(20))), "four of eight stay");
}

#[test]
fn a_segment_is_closed_when_it_is_old_or_far_too_large_and_has_records() {
    let mut storage = storage(&[500]);
    let limited = retention(None, None);
    assert!(!limited.is_to_close(&storage, Timestamp(1499)));
    assert!(limited.is_to_close(&storage, Timestamp(1500)));
    storage.segments[1].bytes = 64 * MIB;
    assert!(limited.is_to_close(&storage, Timestamp(500)));
    storage.began = None;
    assert!(!limited.is_to_close(&storage, Timestamp(DAY)));
}

#[test]
fn it_looks_again_when_the_first_thing_is_due() {
    let storage = storage(&[500, 900]);
    let again = |ms, now| retention(ms, None).look_again(&storage, Timestamp(now));
    assert_eq!(again(None, 900), Some(Duration::from_millis(1000)));
    assert_eq!(again(Some(450), 900), Some(Duration::from_millis(50)));
    assert_eq!(again(Some(100), 900), Some(Duration::ZERO));
}

/// What happens after some time, beside that the wall clock jumps.
#[derive(Debug, Clone, Copy)]
enum After {
    Nothing,
    /// The broker starts again.
    Restart,
    /// The machine starts again: it was off for that time.
    Reboot,
    /// The other brokers have another time.
    Shift(i64),
}

fn after() -> impl Strategy<Value = After> {
    prop_oneof![
        3 => Just(After::Nothing),
        1 => Just(After::Restart),
        1 => Just(After::Reboot),
        1 => (1000..2 * DAY).prop_map(After::Shift),
    ]
}

proptest! {
    /// However the wall clock jumps, through restarts and corrections by others, no segment goes before
    /// its time has passed, and every one goes soon after as much time was seen to pass.
    #[test]
    fn a_wall_clock_that_jumps_deletes_nothing_early_and_stalls_nothing(
        jumps in prop::collection::vec((2000_i64..60_000, -2 * DAY..2 * DAY, after()), 1..20),
    ) {
        let keep = 30_000;
        let limited = retention(Some(keep), None);
        let mut guard = Guard::default();
        let (mut wall, mut up, mut real, mut seen) = (1_795_168_800_000, 50, 0, 0);
        let mut boot = 0;
        let mut appended = Vec::new();
        for (passes, jump, after) in jumps {
            let jump = if jump.abs() < 20_000 { DAY } else { jump };
            appended.push((guard.look(wall, up).now.0, real, seen));
            let kept = guard.keep(&[boot]);
            (wall, real) = (wall + passes + jump, real + passes);
            (up, seen) = match after {
                After::Reboot => (100, seen),
                _ => (up + passes, seen + passes),
            };
            boot += u8::from(matches!(after, After::Reboot));
            match after {
                After::Nothing => {}
                After::Restart | After::Reboot => guard = Guard::resume(&kept, &[boot], wall, up),
                After::Shift(by) => {
                    guard.look(wall, up);
                    guard.shift(by);
                }
            }
            let now = guard.look(wall, up).now;
            let ages = Ages::new(now, guard.keep(&[boot]).skips);
            let times: Vec<i64> = appended.iter().map(|(time, ..)| *time).collect();
            prop_assert!(times.is_sorted());
            let end = Offset(appended.len() as u64 * 10 + 10);
            let storage = storage(&times).counted(&ages);
            let start = limited.start(&storage, now, end).map_or(0, |start| start.end().0 / 10);
            for (n, (_, at, seen_at)) in appended.iter().enumerate() {
                let gone = (n as u64) < start;
                prop_assert!(!gone || real - at >= keep, "gone after {} ms", real - at);
                prop_assert!(gone || seen - seen_at < keep, "still there after {} ms", seen - seen_at);
            }
        }
    }
}
