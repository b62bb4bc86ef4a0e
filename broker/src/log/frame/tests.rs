//! Heads read back as written; frames are told from everything else.

use highwater_proto::{LogIndex, Offset, Term, Timestamp};

use super::check::{FrameFault, RawFrame};
use super::*;
use crate::log::encode::Encoder;
use crate::log::plan::plan;
use crate::log::tests::{batch_frame, local};

fn head() -> Head {
    Head {
        kind: FrameKind::Command,
        extension_len: 0,
        body_len: 12,
        term: Term(3),
        index: LogIndex(44),
        base_offset: Offset(500),
        append_time: Timestamp(1_700_000_000_000),
        max_timestamp: Timestamp(-1),
        record_count: 0,
        body_crc: 0xdead_beef,
        chain: 0x0102_0304,
    }
}

#[test]
fn a_head_reads_back_as_written() {
    for kind in [
        FrameKind::Batch,
        FrameKind::Command,
        FrameKind::Blank,
        FrameKind::Membership,
    ] {
        let head = Head { kind, ..head() };
        assert_eq!(Head::decode(&head.encode()), Ok(head));
        assert_eq!(FrameKind::from_number(kind as u8), Some(kind));
    }
}

#[test]
fn what_is_no_head_says_why() {
    let good = head().encode();
    let with = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        Head::decode(&bytes)
    };
    assert_eq!(Head::decode(&good[..71]), Err(FrameError::Short(71)));
    assert_eq!(with(0, b'h'), Err(FrameError::Magic));
    assert_eq!(with(2, 2), Err(FrameError::Version(2)));
    assert_eq!(with(3, 0), Err(FrameError::Kind(0)));
    assert_eq!(with(4, 80), Err(FrameError::Length(80, 12)));
    assert!(matches!(with(15, 0x7f), Err(FrameError::Length(88, _))));
}

fn stored(frames: Vec<crate::log::NewFrame>, generation: u32) -> (Vec<u8>, Tail) {
    let start = Tail::start(LogIndex(1), Offset(0));
    let planned = plan(start, false, frames).unwrap();
    let mut encoder = Encoder::new(
        generation,
        Position {
            file: 1,
            byte: 4096,
        },
        planned.len(),
    );
    planned.iter().for_each(|frame| encoder.push(frame));
    let bytes = encoder
        .slices()
        .iter()
        .flat_map(|part| part.to_vec())
        .collect();
    (bytes, start)
}

#[test]
fn a_written_frame_is_whole_and_follows() {
    let frames = vec![
        batch_frame(1, 3, 100),
        local(1, 2, FrameKind::Command, "do".into()),
    ];
    let (bytes, mut tail) = stored(frames, 77);
    let mut at = 0;
    for index in 1..=2 {
        let frame = RawFrame::parse(&bytes[at..], 77).unwrap();
        let body = &bytes[at + frame.body_start..][..frame.head.body_len as usize];
        assert_eq!(frame.head.index, LogIndex(index));
        assert_eq!(
            frame.durable,
            Position {
                file: 1,
                byte: 4096
            }
        );
        assert_eq!(frame.follows(&tail, body), Ok(()));
        assert_eq!(at % ALIGN, 0);
        at += frame.head.frame_len() as usize;
        tail = Tail::from(&frame.head);
    }
    assert_eq!(at, bytes.len());
}

#[test]
fn a_frame_of_another_generation_or_out_of_order_is_told_apart() {
    let (bytes, start) = stored(vec![batch_frame(1, 3, 100)], 77);
    assert_eq!(
        RawFrame::parse(&bytes, 78).unwrap_err(),
        FrameFault::Generation
    );
    assert_eq!(
        RawFrame::parse(&[0; 200], 77).unwrap_err(),
        FrameFault::Blank
    );
    assert_eq!(
        RawFrame::parse(&bytes[..120], 77).unwrap_err(),
        FrameFault::Cut
    );
    let frame = RawFrame::parse(&bytes, 77).unwrap();
    let body = &bytes[frame.body_start..][..frame.head.body_len as usize];
    for other in [
        Tail {
            next_index: LogIndex(2),
            ..start
        },
        Tail {
            next_offset: Offset(1),
            ..start
        },
        Tail {
            term: Term(2),
            ..start
        },
        Tail { chain: 1, ..start },
        Tail {
            append_time: Timestamp(i64::MAX),
            ..start
        },
    ] {
        assert_eq!(frame.follows(&other, body), Err(FrameFault::Order));
    }
}

#[test]
fn every_bit_of_the_header_and_of_a_batch_head_is_covered() {
    let (bytes, _) = stored(vec![batch_frame(1, 3, 100)], 77);
    for bit in 0..(HEADER_LEN + 21) * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(RawFrame::parse(&flipped, 77).is_err(), "bit {bit}");
    }
}

#[test]
fn the_chain_depends_on_all_that_came_before() {
    let (one, _) = stored(vec![batch_frame(1, 1, 10), batch_frame(2, 1, 10)], 1);
    let (two, _) = stored(vec![batch_frame(1, 1, 11), batch_frame(2, 1, 10)], 1);
    let last = |bytes: &[u8]| {
        let first = RawFrame::parse(bytes, 1).unwrap().head.frame_len() as usize;
        RawFrame::parse(&bytes[first..], 1).unwrap().head
    };
    let (one, two) = (last(&one), last(&two));
    assert_ne!(one.chain, two.chain);
    assert_eq!(Head { chain: 0, ..one }, Head { chain: 0, ..two });
}

#[test]
fn positions_are_ordered_as_they_were_written() {
    let earlier = Position {
        file: 2,
        byte: 9_000,
    };
    let later = Position { file: 3, byte: 10 };
    assert!(earlier < later && earlier.to_u64() < later.to_u64());
    assert_eq!(Position::from_u64(later.to_u64()), later);
}
