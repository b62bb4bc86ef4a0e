//! The files of a replica, as they lie in a data directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How long replicas may take to become equal.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the first frame of a segment file begins.
pub const FIRST_FRAME: usize = 4096;
/// Bytes of a frame's header, and of the part of it that is equal on every replica.
const HEADER: usize = 88;
const REPLICATED: usize = 72;

/// The directory of the only partition replica in a data directory.
pub fn partition_dir(data_dir: &Path) -> PathBuf {
    group_dir(data_dir, |name| !name.starts_with("metadata"))
}

/// The directory of the replica of the metadata.
pub fn metadata_dir(data_dir: &Path) -> PathBuf {
    group_dir(data_dir, |name| name.starts_with("metadata"))
}

fn group_dir(data_dir: &Path, wanted: impl Fn(&str) -> bool) -> PathBuf {
    let groups = fs::read_dir(data_dir.join("groups")).expect("a broker was here");
    let mut dirs = groups.map(|entry| entry.expect("a directory can be listed").path());
    let found = dirs.find(|dir| {
        dir.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(&wanted)
    });
    found.expect("the replica has a directory")
}

/// The segment files of a replica that hold something, oldest first.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).expect("the replica's directory is there");
    let files = files.map(|entry| entry.expect("a directory can be listed").path());
    let mut segments: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|ext| ext == "seg"))
        .filter(|file| fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"HWSEGMNT")))
        .collect();
    segments.sort();
    segments
}

/// What is equal on every replica of the frames in all segment files, in order, as far as they can
/// be read one after the other.
pub fn frames(dir: &Path) -> Vec<Bytes> {
    let files = segments(dir);
    let bytes = files.iter().map(|file| fs::read(file).unwrap_or_default());
    bytes.flat_map(|file| frames_of(&file)).collect()
}

/// Waits until the logs in these directories hold the same frames.
///
/// # Panics
///
/// When they differ for too long.
#[track_caller]
pub fn until_equal(dirs: &[PathBuf]) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let all: Vec<_> = dirs.iter().map(|dir| frames(dir)).collect();
        if all.iter().all(|frames| *frames == all[0]) {
            return;
        }
        let counts: Vec<_> = all.iter().map(Vec::len).collect();
        assert!(Instant::now() < deadline, "the frames differ: {counts:?}");
        std::thread::yield_now();
    }
}

fn frames_of(file: &[u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut at = FIRST_FRAME;
    while let Some(header) = file
        .get(at..at + HEADER)
        .filter(|h| h.starts_with(b"HW\x01"))
    {
        let body = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
        let Some(stored) = file.get(at..at + HEADER + body) else {
            break;
        };
        let equal = [&stored[..REPLICATED], &stored[HEADER..]].concat();
        frames.push(Bytes::from(equal));
        at += (HEADER + body).next_multiple_of(8);
    }
    frames
}
