//! A disk that lies: whatever bytes rot, wherever, no wrong byte is ever served and nothing that
//! was durable disappears in silence.

use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;
use crate::log::{FsDir, LogError, dump};

const ENTRIES: u64 = 60;

#[derive(Debug, Clone)]
enum Rot {
    Flip { bit: u8 },
    ZeroSector,
    CopySectorFrom(u16),
    Garble { seed: u8, len: u8 },
}

fn rot() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, Rot)> {
    let rot = prop_oneof![
        (0u8..8).prop_map(|bit| Rot::Flip { bit }),
        Just(Rot::ZeroSector),
        any::<u16>().prop_map(Rot::CopySectorFrom),
        (any::<u8>(), any::<u8>()).prop_map(|(seed, len)| Rot::Garble { seed, len }),
    ];
    (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        rot,
    )
}

impl Rot {
    fn apply(&self, bytes: &mut [u8], at: usize) {
        let sector = at / 512 * 512;
        let end = (sector + 512).min(bytes.len());
        match self {
            Self::Flip { bit } => bytes[at] ^= 1 << bit,
            Self::ZeroSector => bytes[sector..end].fill(0),
            Self::CopySectorFrom(from) => {
                let from = usize::from(*from) % (bytes.len() / 512).max(1) * 512;
                let len = (end - sector).min(bytes.len() - from);
                bytes.copy_within(from..from + len, sector);
            }
            Self::Garble { seed, len } => {
                let end = (at + usize::from(*len)).min(bytes.len());
                for (nth, byte) in bytes[at..end].iter_mut().enumerate() {
                    *byte = seed
                        .wrapping_mul(31)
                        .wrapping_add(nth as u8)
                        .wrapping_mul(17);
                }
            }
        }
    }
}

/// A log of several files, every entry synced by itself.
fn built() -> (MemDir, Vec<Frame>) {
    let dir = MemDir::new();
    let mut log = open(&dir);
    for index in 1..=ENTRIES {
        append_and_wait(
            &mut log,
            vec![batch_frame(index, 2, 300 + index as usize * 7)],
        );
    }
    let frames = all(&log);
    (dir, frames)
}

/// The same in files that were used before.
fn built_of_recycled() -> (MemDir, Vec<Frame>) {
    let dir = MemDir::new();
    let mut log = recycled::recycled(&dir);
    recycled::go_on(&mut log, 10, &Calls::default()).unwrap();
    let frames = all(&log);
    (dir, frames)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rotten_bytes_are_never_served(
        rots in prop::collection::vec(rot(), 1..5),
        of_recycled in any::<bool>(),
    ) {
        let (dir, frames) = if of_recycled { built_of_recycled() } else { built() };
        let entries = frames.last().unwrap().head.index.0;
        let names = dir.list().unwrap();
        for (file, at, rot) in &rots {
            let name: &String = file.get(&names);
            dir.damage(name, |bytes| {
                let at = at.index(bytes.len());
                rot.apply(bytes, at);
            })
            .unwrap();
        }
        for name in &names {
            let bytes = dir.open(name).unwrap().slice(0..u64::MAX);
            let _ = dump::dump(&bytes, &mut Vec::new());
        }
        let Ok((mut log, _)) = Log::open(Arc::new(dir.clone()), tiny()) else {
            return Ok(());
        };
        let last = log.last().map_or(0, |last| last.index.0);
        // A frame vouches for those before it: only an unbroken row of rotten ones at the very end
        // can pass for a torn tail, and one piece of rot reaches three frames at most.
        prop_assert!(last + 3 * rots.len() as u64 >= entries, "the log ends at {}", last);
        let reader = log.reader();
        for frame in frames.iter().filter(|frame| frame.head.index.0 <= last) {
            let index = frame.head.index;
            match reader.frames(index, index.next(), usize::MAX) {
                Ok(found) => {
                    prop_assert_eq!(found.len(), 1);
                    prop_assert_eq!(found[0].head, frame.head);
                    prop_assert_eq!(&found[0].body, &frame.body);
                }
                Err(LogError::Damaged(_)) => {}
                Err(error) => prop_assert!(false, "{}", error),
            }
            let from = frame.head.base_offset;
            match reader.read_committed(from, frame.head.next_offset(), 1) {
                Ok(found) => prop_assert_eq!(&found[0].bytes, &frame.body),
                Err(LogError::Damaged(_)) => {}
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
        append_and_wait(&mut log, vec![batch_frame(last + 1, 1, 10)]);
    }
}

#[test]
fn a_check_of_a_full_file_finds_rot_that_opening_does_not_look_for() {
    let (dir, _) = built();
    dir.damage("00000001.seg", |bytes| bytes[4096 + 200] ^= 1)
        .unwrap();
    let log = open(&dir);
    let reader = log.reader();
    assert_eq!(reader.damage(), None);
    let (first, next, _) = reader.full_file_from(LogIndex(0)).unwrap();
    assert!(first < next);
    let found = reader.check_file(first);
    assert!(matches!(found, Err(LogError::Damaged(_))), "{found:?}");
    assert_eq!(reader.damage().unwrap().file, "00000001.seg");
    assert!(reader.check_file(next).is_ok(), "the next file is whole");
}

#[test]
fn bytes_that_rot_after_they_were_written_and_read_are_not_served_either() {
    let home = tempfile::tempdir().unwrap();
    let dir: Arc<dyn Dir> = Arc::new(FsDir::open(home.path(), 2).unwrap());
    let (mut log, _) = Log::open(dir, tiny()).unwrap();
    append_and_wait(&mut log, vec![batch_frame(1, 2, 300)]);
    let reader = log.reader();
    let read = || reader.read_committed(Offset(0), Offset(2), 1);
    let whole = read().unwrap()[0].bytes.len();
    let file = home.path().join("00000001.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096 + 88 + whole - 8] ^= 1;
    let rotten = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    rotten.write_all_at(&bytes, 0).unwrap();
    assert!(matches!(read(), Err(LogError::Damaged(_))), "{:?}", read());
    let frames = reader.frames(LogIndex(1), LogIndex(2), usize::MAX);
    assert!(matches!(frames, Err(LogError::Damaged(_))), "{frames:?}");
}
