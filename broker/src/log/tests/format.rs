//! The format is frozen: the same entries give the same bytes, for ever.

use std::path::Path;

use super::*;
use crate::log::dump::{DumpError, dump};

const GOLDEN: &str = "testdata/log/00000001.seg";
const LISTING: &str = "testdata/log/00000001.txt";

fn golden(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// One sealed file with a frame of each kind and a frame of two batches.
fn sample() -> Bytes {
    let dir = MemDir::new();
    let mut log = open(&dir);
    let two = [
        &batch(2, 20, 1_700_000_000_000)[..],
        &batch(1, 9, 1_600_000_000_000),
    ]
    .concat();
    append_and_wait(
        &mut log,
        vec![local(1, 1, FrameKind::Membership, "members".into())],
    );
    append_and_wait(&mut log, vec![local(2, 2, FrameKind::Blank, Bytes::new())]);
    append_and_wait(&mut log, vec![local(2, 3, FrameKind::Batch, two.into())]);
    append_and_wait(
        &mut log,
        vec![local(2, 4, FrameKind::Command, "command".into())],
    );
    append_and_wait(
        &mut log,
        vec![local(3, 5, FrameKind::Batch, batch(3, 30, 5))],
    );
    append_and_wait(
        &mut log,
        vec![local(3, 6, FrameKind::Batch, batch(1, 6_000, 5))],
    );
    dir.open("00000001.seg").unwrap().slice(0..u64::MAX)
}

fn listing(bytes: &Bytes) -> String {
    let mut out = Vec::new();
    dump(bytes, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn check(path: &str, found: &[u8]) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(golden(path).parent().unwrap()).unwrap();
        std::fs::write(golden(path), found).unwrap();
    }
    let frozen = std::fs::read(golden(path)).unwrap();
    assert!(
        frozen == found,
        "{path} differs; a change of the format needs a new version"
    );
}

#[test]
fn the_bytes_of_a_segment_file_are_frozen() {
    check(GOLDEN, &sample());
}

#[test]
fn a_listing_says_what_is_in_the_file_and_where_it_ends() {
    let text = listing(&sample());
    check(LISTING, text.as_bytes());
    assert!(text.contains("sealed by its footer, which names entry 5"));
}

#[test]
fn the_frozen_file_can_still_be_opened() {
    let dir = MemDir::new();
    let bytes = std::fs::read(golden(GOLDEN)).unwrap();
    dir.create("00000001.seg", bytes.len() as u64).unwrap();
    dir.sync_dir().unwrap();
    dir.damage("00000001.seg", |stored| stored.copy_from_slice(&bytes))
        .unwrap();
    let log = open(&dir);
    assert_eq!(all(&log).len(), 5);
    assert_eq!(offsets(&log, 0, 6, 1 << 20), [(0, 2), (2, 3), (3, 6)]);
}

#[test]
fn a_listing_tells_a_torn_tail_from_damage() {
    let bytes = sample().to_vec();
    let mut rotten = bytes.clone();
    rotten[4096 + 4] ^= 1;
    let text = listing(&rotten.into());
    assert!(
        text.contains("stops at byte 4096") && text.contains("the file is damaged"),
        "{text}"
    );
    let mut body = bytes.clone();
    body[4096 + 88] ^= 1;
    assert!(listing(&body.into()).contains("the CRC of the body does not match"));
    let mut cut = bytes;
    cut[4096 + 96 + 40..].fill(0);
    let text = listing(&cut.into());
    assert!(
        text.contains("stops at byte 4192") && !text.contains("durable: the file"),
        "{text}"
    );
}

#[test]
fn a_file_that_is_not_ours_is_said_to_be_none() {
    for bytes in [&b""[..], b"hello", &[0; 100], &[7; 5000]] {
        let dumped = dump(&Bytes::copy_from_slice(bytes), &mut Vec::new());
        assert!(matches!(dumped, Err(DumpError::NotASegment { .. })));
    }
    assert!(listing(&Bytes::from(vec![0; 8192])).contains("the header is blank"));
}
