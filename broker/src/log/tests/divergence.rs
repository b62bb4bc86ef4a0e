//! What comes from a leader is compared: equal histories have equal chains, and another one is refused.

use super::*;
use crate::log::{Head, LogError};

const NAME: &str = "00000001.seg";

#[test]
fn replicas_that_get_the_same_frames_have_equal_chains() {
    let (one, two) = (MemDir::new(), MemDir::new());
    let mut leader = open(&one);
    let mut options = tiny();
    options.owner.replica = ReplicaId(43);
    options.first_segment_bytes = 16 << 10;
    let (mut follower, _) = Log::open(Arc::new(two), options).unwrap();
    for index in 1..=50 {
        append_and_wait(&mut leader, vec![batch_frame(index, 2, 500)]);
    }
    for frame in all(&leader) {
        follower
            .append([received(&frame, frame.head)], ignore())
            .unwrap();
    }
    assert_eq!(leader.last(), follower.last());
    for (ours, theirs) in all(&leader).iter().zip(all(&follower)) {
        assert_eq!((ours.head, &ours.body), (theirs.head, &theirs.body));
        assert_eq!(ours.head.encode(), theirs.head.encode());
    }
}

fn received(frame: &Frame, head: Head) -> NewFrame {
    NewFrame {
        term: head.term,
        index: head.index,
        kind: head.kind,
        body: frame.body.clone(),
        source: Source::Replicated(head),
    }
}

#[test]
fn a_head_that_differs_in_any_field_is_divergence_and_nothing_is_written() {
    let mut leader = open(&MemDir::new());
    append_and_wait(
        &mut leader,
        vec![batch_frame(1, 2, 50), batch_frame(2, 2, 50)],
    );
    let frames = all(&leader);
    let dir = MemDir::new();
    let mut follower = open(&dir);
    follower
        .append([received(&frames[0], frames[0].head)], ignore())
        .unwrap();
    let good = frames[1].head;
    let wrong = [
        Head {
            chain: good.chain ^ 1,
            ..good
        },
        Head {
            base_offset: Offset(3),
            ..good
        },
        Head {
            record_count: 3,
            ..good
        },
        Head {
            append_time: Timestamp(0),
            ..good
        },
        Head {
            max_timestamp: Timestamp(0),
            ..good
        },
        Head {
            body_crc: 1,
            ..good
        },
        Head {
            body_len: 9,
            ..good
        },
        Head {
            extension_len: 8,
            ..good
        },
    ];
    let before = dir.open(NAME).unwrap().slice(0..u64::MAX);
    for head in wrong {
        let refused = follower.append([received(&frames[1], head)], ignore());
        assert!(
            matches!(refused, Err(LogError::Diverged { .. })),
            "{head:?}"
        );
    }
    let mut rotten = frames[1].clone();
    let mut body = rotten.body.to_vec();
    *body.last_mut().unwrap() ^= 1;
    rotten.body = Bytes::from(body);
    let refused = follower.append([received(&rotten, good)], ignore());
    assert!(matches!(refused, Err(LogError::Corrupt { .. })));
    assert!(dir.open(NAME).unwrap().slice(0..u64::MAX) == before);
    follower
        .append([received(&frames[1], good)], ignore())
        .unwrap();
    assert_eq!(follower.last(), leader.last());
}

#[test]
fn malformed_bodies_are_refused() {
    let mut log = open(&MemDir::new());
    let whole = batch(2, 50, 1);
    let cut = whole.slice(..whole.len() - 1);
    let mut miscounted = whole.to_vec();
    miscounted[60] = 9;
    for body in [
        Bytes::new(),
        cut,
        Bytes::from(miscounted),
        Bytes::from_static(&[1; 70]),
    ] {
        let refused = log.append([local(1, 1, FrameKind::Batch, body)], ignore());
        assert!(matches!(refused, Err(LogError::Malformed { .. })));
    }
    assert_eq!(log.last(), None);
}
