//! What opening takes for a torn tail and cuts, and what it takes for damage and refuses.

use super::*;
use crate::log::{LogError, OpenError};

const NAME: &str = "00000001.seg";

/// Three groups: two synced, the last one not.
fn example(dir: &MemDir) -> Log {
    let mut log = open(dir);
    append_and_wait(
        &mut log,
        vec![batch_frame(1, 2, 100), batch_frame(2, 1, 50)],
    );
    append_and_wait(&mut log, vec![batch_frame(3, 3, 150)]);
    log
}

/// The bytes of the example's file, and where its frames begin and end.
fn example_bytes() -> (Vec<u8>, Vec<usize>) {
    let dir = MemDir::new();
    let mut log = example(&dir);
    log.append([batch_frame(4, 2, 120), batch_frame(5, 1, 40)], ignore())
        .unwrap();
    let mut ends = vec![4096];
    for frame in all(&log) {
        ends.push(ends.last().unwrap() + frame.head.frame_len() as usize);
    }
    let bytes = dir.open(NAME).unwrap().slice(0..u64::MAX).to_vec();
    (bytes, ends)
}

#[test]
fn the_last_unsynced_group_torn_at_any_byte_vanishes_as_a_suffix() {
    let (bytes, ends) = example_bytes();
    let (from, until) = (ends[3], ends[5]);
    let ways: [fn(&mut [u8], usize); 5] = [
        |bytes, at| bytes[at..].fill(0),
        |bytes, at| bytes[at..].iter_mut().for_each(|byte| *byte ^= 0x5a),
        |bytes, at| bytes[at..].fill(0xff),
        |bytes, at| bytes[at] ^= 0x5a,
        |bytes, at| bytes[at] = 0,
    ];
    let original = all(&Log::open(Arc::new(disk_with(NAME, &bytes)), tiny())
        .unwrap()
        .0);
    for (way, tear) in ways.iter().enumerate() {
        for at in from..until {
            let context = format!("way {way}, byte {at}");
            let mut torn = bytes.clone();
            tear(&mut torn, at);
            let dir = disk_with(NAME, &torn);
            let (mut log, recovered) = Log::open(Arc::new(dir.clone()), tiny()).unwrap();
            let last = log.last().unwrap().index.0;
            assert_eq!(last, whole_entries(&bytes, &torn, &original), "{context}");
            check_same(&log, &original, &context);
            let clean = torn[4096..].iter().rposition(|byte| *byte != 0).unwrap() + 4096;
            if clean >= ends[last as usize] {
                assert!(recovered.torn.is_some(), "{context}");
            }
            append_and_wait(&mut log, vec![batch_frame(last + 1, 1, 10)]);
            drop(log);
            let log = open(&dir);
            assert_eq!(log.last().unwrap().index.0, last + 1, "{context}");
            check_same(&log, &original[..last as usize], &context);
        }
    }
}

/// How many entries are as they were: the padding behind a body is covered by nothing, because it
/// means nothing.
fn whole_entries(bytes: &[u8], torn: &[u8], original: &[Frame]) -> u64 {
    let mut start = 4096;
    let is_whole = move |frame: &&Frame| {
        let meaningful = start..start + 88 + frame.body.len();
        start += frame.head.frame_len() as usize;
        torn[meaningful.clone()] == bytes[meaningful]
    };
    original.iter().take_while(is_whole).count() as u64
}

/// The first entries of the log are the first of `original`, as many as both have.
fn check_same(log: &Log, original: &[Frame], context: &str) {
    for (frame, known) in all(log).iter().zip(original) {
        assert_eq!(frame.head, known.head, "{context}");
        assert_eq!(frame.body, known.body, "{context}");
    }
}

#[test]
fn damage_at_any_byte_of_what_was_durable_is_refused_and_changes_nothing() {
    let (bytes, ends) = example_bytes();
    // The frames of the last group say that everything before them was durable.
    for at in 4096..ends[3] {
        let mut rotten = bytes.clone();
        rotten[at] ^= 0x10;
        let dir = disk_with(NAME, &rotten);
        match Log::open(Arc::new(dir.clone()), tiny()) {
            Err(OpenError::Damaged(damage)) => {
                let whole = ends.iter().rposition(|end| *end <= at).unwrap();
                assert_eq!(damage.position as usize, ends[whole], "byte {at}");
                assert_eq!(damage.first_bad_index, Some(LogIndex(whole as u64 + 1)));
                let stored = dir.open(NAME).unwrap().slice(0..u64::MAX);
                assert!(stored == rotten, "byte {at}: the file was changed");
            }
            Ok((log, _)) => {
                // Only the padding after a body is covered by nothing, because it means nothing.
                let frame = all(&log)[ends.iter().rposition(|end| *end <= at).unwrap()].clone();
                let start = ends[ends.iter().rposition(|end| *end <= at).unwrap()];
                assert!(
                    at >= start + 88 + frame.body.len(),
                    "byte {at} is not padding"
                );
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
        assert_eq!(dir.list().unwrap(), [NAME]);
    }
}

#[test]
fn a_marked_log_has_no_last_group_that_could_pass_for_a_torn_tail() {
    let dir = MemDir::new();
    let log = example(&dir);
    let end = 4096
        + all(&log)
            .iter()
            .map(|frame| frame.head.frame_len())
            .sum::<u64>();
    drop(log);
    assert_eq!(last_index(&dir), 3);
    let last = end as usize - 100;
    dir.damage(NAME, |bytes| bytes[last] ^= 1).unwrap();
    let opened = Log::open(Arc::new(dir.clone()), tiny());
    assert!(matches!(opened, Err(OpenError::Damaged(_))));
    // A hint that is damaged itself says nothing.
    dir.damage(NAME, |bytes| bytes[2050] ^= 1).unwrap();
    assert_eq!(last_index(&dir), 2);
}

#[test]
fn a_damaged_header_of_a_file_with_durable_frames_is_refused() {
    let (bytes, _) = example_bytes();
    for at in 0..256 {
        let mut rotten = bytes.clone();
        rotten[at] ^= 0x10;
        let dir = disk_with(NAME, &rotten);
        let opened = Log::open(Arc::new(dir), tiny());
        assert!(matches!(opened, Err(OpenError::Damaged(_))), "byte {at}");
    }
}

#[test]
fn a_rotten_body_in_a_sealed_file_is_reported_by_whoever_reads_it() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    for index in 1..=60 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 700)]);
    }
    drop(log);
    dir.damage(NAME, |bytes| bytes[4096 + 88 + 100] ^= 1)
        .unwrap();
    let log = open(&dir);
    let reader = log.reader();
    for _ in 0..2 {
        match reader.read_committed(Offset(0), Offset(60), 1) {
            Err(LogError::Damaged(damage)) => {
                assert_eq!((damage.file.as_str(), damage.position), (NAME, 4096));
                assert_eq!(damage.first_bad_index, Some(LogIndex(1)));
            }
            other => panic!("{other:?}"),
        }
        assert!(reader.frames(LogIndex(1), LogIndex(2), 1).is_err());
        assert!(reader.frames(LogIndex(2), LogIndex(61), 1 << 20).is_ok());
    }
}

#[test]
fn a_lost_file_between_others_is_refused() {
    let dir = MemDir::new();
    let mut log = open(&dir);
    for index in 1..=60 {
        append_and_wait(&mut log, vec![batch_frame(index, 1, 700)]);
    }
    drop(log);
    let lost = dir
        .list()
        .unwrap()
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .nth(1);
    dir.remove(&lost.unwrap()).unwrap();
    let opened = Log::open(Arc::new(dir), tiny());
    assert!(matches!(opened, Err(OpenError::Damaged(_))));
}

#[test]
fn more_than_can_have_been_unsynced_is_never_cut_off() {
    let dir = MemDir::new();
    let mut options = tiny();
    options.max_segment_bytes = 1 << 20;
    options.first_segment_bytes = 1 << 20;
    options.max_unsynced_bytes = 1 << 20;
    let (mut log, _) = Log::open(Arc::new(dir.clone()), options.clone()).unwrap();
    // One write: nothing in it can vouch for the first frames.
    let frames = (1..=60).map(|index| batch_frame(index, 1, 1000));
    log.append(frames, ignore()).unwrap();
    drop(log);
    let limit: u64 = 16 << 10;
    dir.damage(NAME, |bytes| {
        bytes[4096 + 90] ^= 1;
        bytes[2048..2064].fill(0);
        bytes[80..88].copy_from_slice(&limit.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..252]);
        bytes[252..256].copy_from_slice(&crc.to_le_bytes());
    })
    .unwrap();
    match Log::open(Arc::new(dir.clone()), tiny()) {
        Err(OpenError::SuspiciousCut { damage, bytes, .. }) => {
            assert_eq!(
                (damage.position, damage.first_bad_index),
                (4096, Some(LogIndex(1)))
            );
            assert!(bytes > 60_000, "{bytes}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(dir.list().unwrap(), [NAME]);
}

#[test]
fn frames_of_a_later_kind_or_version_are_refused_and_not_cut_off() {
    let (bytes, ends) = example_bytes();
    for (at, value) in [(2, 2), (3, 9)] {
        let mut later = bytes.clone();
        let start = ends[3];
        later[start + at] = value;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&later[start..start + 76]);
        hasher.update(&[0; 4]);
        hasher.update(&later[start + 80..start + 88]);
        later[start + 76..start + 80].copy_from_slice(&hasher.finalize().to_le_bytes());
        let opened = Log::open(Arc::new(disk_with(NAME, &later)), tiny());
        assert!(
            matches!(opened, Err(OpenError::Unsupported { .. })),
            "byte {at}"
        );
    }
}

#[test]
fn a_file_of_a_later_version_is_refused() {
    let (mut bytes, _) = example_bytes();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..252]);
    bytes[252..256].copy_from_slice(&crc.to_le_bytes());
    let opened = Log::open(Arc::new(disk_with(NAME, &bytes)), tiny());
    assert!(matches!(opened, Err(OpenError::Unsupported { .. })));
}

#[test]
fn a_newest_file_that_is_lost_or_blank_is_damage_if_it_was_known_to_be_durable() {
    let lost: fn(&MemDir, &str) = |dir, name| dir.remove(name).unwrap();
    let blank: fn(&MemDir, &str) = |dir, name| dir.damage(name, |bytes| bytes.fill(0)).unwrap();
    for harm in [lost, blank] {
        let dir = MemDir::new();
        let mut log = open(&dir);
        for index in 1..=20 {
            append_and_wait(&mut log, vec![batch_frame(index, 4, 1_000)]);
        }
        let options = LogOptions {
            durable_file: log.newest_file(),
            ..tiny()
        };
        assert!(options.durable_file > 1, "the log has rolled");
        drop(log);
        let name = format!("{:08}.seg", options.durable_file);
        drop(Log::open(Arc::new(dir.clone()), options.clone()).unwrap());
        harm(&dir, &name);
        let left = dir.list().unwrap();
        match Log::open(Arc::new(dir.clone()), options) {
            Err(OpenError::Damaged(damage)) => assert_eq!(damage.file, name),
            other => panic!("{other:?}"),
        }
        assert_eq!(dir.list().unwrap(), left, "nothing is changed");
    }
}

#[test]
fn a_segment_that_no_log_has_written_is_refused_and_kept() {
    let dir = MemDir::new();
    drop(example(&dir));
    let garbage: Vec<u8> = (0..8192u32).map(|n| (n * 31) as u8).collect();
    let file = dir.create("00000009.seg", 8192).unwrap();
    file.write_at(&[std::io::IoSlice::new(&garbage)], 0)
        .unwrap();
    let refused = Log::open(Arc::new(dir.clone()), tiny())
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    let kept = dir.open("00000009.seg").unwrap().slice(0..u64::MAX);
    assert!(kept == garbage, "the file was changed");
    dir.remove("00000009.seg").unwrap();
    dir.subdir("00000009.seg").unwrap();
    let refused = Log::open(Arc::new(dir.clone()), tiny())
        .map(|_| ())
        .unwrap_err();
    assert!(
        refused.to_string().contains("it is a directory"),
        "{refused}"
    );
}
