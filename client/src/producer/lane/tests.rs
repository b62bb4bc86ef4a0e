use highwater_proto::batch::{BatchBuilder, BatchHeader, Codec, RecordBatch};
use highwater_proto::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp};

use super::*;

const S1: SessionId = SessionId(1);
const S2: SessionId = SessionId(2);

fn at(session: SessionId, number: u64) -> Attempt {
    Attempt { session, number }
}

fn identity(id: u64) -> Option<Identity> {
    Some(Identity {
        id: ProducerId(id),
        epoch: ProducerEpoch(0),
    })
}

fn ack(offset: u64) -> Ack {
    Ack {
        partition: PartitionIndex(0),
        offset: Some(Offset(offset)),
        append_time: Some(Timestamp(1)),
        leader_epoch: Some(1),
        duplicate: false,
    }
}

/// A lane with batches of 10 records, serials 0.., all sent on session 1 as numbers 1.. .
fn sent(batches: u64) -> Lane {
    let mut lane = Lane::default();
    assert!(lane.adopt(identity(7)));
    for serial in 0..batches {
        let slot = BatchSlot::new(PartitionIndex(0), 0);
        lane.push(
            Ok(Bytes::from(vec![serial as u8])),
            10,
            slot,
            Instant::now(),
            1,
        );
        lane.sent(serial, at(S1, serial + 1));
    }
    lane
}

fn resend(lane: &mut Lane, session: SessionId) -> Vec<Serial> {
    let mut serials = Vec::new();
    while let Some(serial) = lane.unsent().map(|batch| batch.serial) {
        lane.sent(serial, at(session, serials.len() as u64 + 1));
        serials.push(serial);
    }
    serials
}

fn outcomes(done: &[Done]) -> Vec<Option<Outcome>> {
    let outcome = |done: &Done| done.outcome.as_ref().err().map(Error::outcome);
    done.iter().map(outcome).collect()
}

fn error(reason: Reason) -> Error {
    Error::new(reason, "m")
}

#[test]
fn sequences_count_records_and_wrap_after_the_largest() {
    let lane = sent(3);
    assert_eq!(lane.stamp().unwrap().base_sequence, Sequence(30));
    assert_eq!(advance(i32::MAX - 4, 5), 0);
    assert_eq!(advance(i32::MAX, 3), 2);
}

#[test]
fn batches_complete_in_order_even_if_acks_do_not_come_so() {
    let mut lane = sent(3);
    assert!(lane.acked(1, ack(10)).is_empty());
    assert_eq!(outcomes(&lane.acked(0, ack(0))), [None, None]);
    assert_eq!(lane.len(), 1);
}

#[test]
fn a_batch_is_overtaken_when_a_later_one_is_acknowledged_before_it() {
    let mut lane = sent(3);
    assert_eq!(lane.overtaken(), None);
    lane.acked(1, ack(10));
    assert_eq!(lane.overtaken(), Some(0));
    lane.acked(0, ack(0));
    assert_eq!(lane.overtaken(), None);
}

#[test]
fn after_a_lost_session_everything_goes_again_in_order() {
    let mut lane = sent(3);
    assert!(lane.lost(1, at(S1, 2)));
    lane.rewind();
    assert_eq!(lane.session(), None);
    assert_eq!(resend(&mut lane, S2), [0, 1, 2]);
    assert_eq!(lane.session(), Some(S2));
}

#[test]
fn a_batch_that_is_acked_is_not_sent_again() {
    let mut lane = sent(3);
    lane.acked(1, ack(10));
    lane.rewind();
    assert_eq!(resend(&mut lane, S2), [0, 2]);
}

#[test]
fn answers_of_earlier_attempts_do_not_rewind_again() {
    let mut lane = sent(3);
    let not_leader = error(Reason::NotLeader);
    assert_eq!(lane.refused(0, at(S1, 1), &not_leader), Verdict::Again);
    lane.rewind();
    resend(&mut lane, S2);
    assert_eq!(lane.refused(1, at(S1, 2), &not_leader), Verdict::Wait);
    let gap = error(Reason::SequenceGap);
    assert_eq!(lane.refused(2, at(S1, 3), &gap), Verdict::Wait);
    assert_eq!(lane.acked(0, ack(0)).len(), 1);
}

#[test]
fn an_ack_of_an_earlier_attempt_counts() {
    let mut lane = sent(1);
    lane.rewind();
    resend(&mut lane, S2);
    assert_eq!(outcomes(&lane.acked(0, ack(0))), [None]);
    assert_eq!(
        lane.refused(0, at(S2, 1), &error(Reason::NotLeader)),
        Verdict::Wait
    );
}

#[test]
fn a_gap_behind_an_earlier_batch_goes_again_and_a_gap_at_the_front_fails() {
    let mut lane = sent(2);
    let gap = error(Reason::SequenceGap);
    assert_eq!(lane.refused(1, at(S1, 2), &gap), Verdict::Again);
    assert_eq!(lane.refused(0, at(S1, 1), &gap), Verdict::Fail);
}

#[test]
fn what_was_refused_each_time_was_not_written_and_all_else_is_unknown() {
    let mut lane = sent(3);
    // The first was answered by every attempt; the second lost one; the third waits for one.
    lane.refused(0, at(S1, 1), &error(Reason::NotLeader));
    lane.lost(1, at(S1, 2));
    let done = lane.fail(&error(Reason::TimedOut).with_outcome(Outcome::Retriable));
    let unknown = Some(Outcome::Unknown);
    assert_eq!(
        outcomes(&done),
        [Some(Outcome::Retriable), unknown, unknown]
    );
}

#[test]
fn a_refusal_does_not_unsay_an_earlier_unknown_attempt() {
    let mut lane = sent(1);
    lane.lost(0, at(S1, 1));
    lane.rewind();
    resend(&mut lane, S2);
    let bad = error(Reason::BadBatch);
    assert_eq!(lane.refused(0, at(S2, 1), &bad), Verdict::Fail);
    assert_eq!(outcomes(&lane.fail(&bad)), [Some(Outcome::Unknown)]);
}

#[test]
fn a_refused_batch_waits_for_those_before_it_and_stops_those_after() {
    let mut lane = sent(2);
    let slot = BatchSlot::new(PartitionIndex(0), 0);
    lane.push(Ok(Bytes::new()), 1, slot, Instant::now(), 1);
    let bad = error(Reason::BadBatch);
    assert_eq!(lane.refused(1, at(S1, 2), &bad), Verdict::Wait);
    assert!(!lane.is_sound() && lane.doom().is_none());
    assert!(lane.unsent().is_none(), "nothing is sent after it");
    assert_eq!(outcomes(&lane.acked(0, ack(0))), [None]);
    assert_eq!(lane.doom().and_then(Error::reason), Some(Reason::BadBatch));
    let done = lane.fail(&bad);
    let expected = [Some(Outcome::Refused), Some(Outcome::Retriable)];
    assert_eq!(outcomes(&done), expected);
    let message = done[1].outcome.as_ref().unwrap_err().message().to_owned();
    assert!(message.contains("earlier batch"), "{message}");
}

#[test]
fn a_batch_that_cannot_be_built_fails_in_its_turn_and_alone() {
    let mut lane = sent(1);
    let push = |lane: &mut Lane, built| {
        let slot = BatchSlot::new(PartitionIndex(0), 0);
        lane.push(built, 10, slot, Instant::now(), 1)
    };
    let large = || Err(error(Reason::BatchTooLarge));
    assert!(push(&mut lane, large()).is_empty(), "one is before it");
    assert_eq!(lane.stamp().unwrap().base_sequence, Sequence(10));
    assert!(push(&mut lane, Ok(Bytes::new())).is_empty());
    assert!(lane.is_sound());
    lane.rewind();
    assert_eq!(resend(&mut lane, S2), [0, 2]);
    assert!(lane.acked(2, ack(10)).is_empty());
    let expected = [None, Some(Outcome::Refused), None];
    assert_eq!(outcomes(&lane.acked(0, ack(0))), expected);
    assert_eq!(
        outcomes(&push(&mut lane, large())),
        [Some(Outcome::Refused)]
    );
}

#[test]
fn a_failed_lane_starts_again_with_another_identity_only() {
    let mut lane = sent(1);
    lane.fail(&error(Reason::BadBatch));
    assert!(!lane.adopt(identity(7)), "its sequences are spent");
    assert!(lane.stamp().is_none());
    assert!(lane.adopt(identity(8)));
    assert_eq!(lane.stamp().unwrap().base_sequence, Sequence(0));
    assert!(lane.adopt(None), "it keeps the one it has");
}

#[test]
fn a_topic_that_the_leader_does_not_know_yet_is_tried_again() {
    let mut lane = sent(1);
    let error = error(Reason::TopicNotFound);
    assert_eq!(lane.refused(0, at(S1, 1), &error), Verdict::Again);
}

/// A lane with two real batches of 10 records, sent on session 1.
fn forgotten() -> Lane {
    let mut lane = Lane::default();
    assert!(lane.adopt(identity(7)));
    // Acknowledged long ago.
    lane.next_sequence = 500;
    for serial in 0..2 {
        let mut builder = BatchBuilder::new();
        (0..10).for_each(|n| builder.push(Timestamp(n), None, Some(b"v"), &[]));
        let bytes = builder.build(Codec::None, lane.stamp()).unwrap();
        let slot = BatchSlot::new(PartitionIndex(0), 0);
        lane.push(Ok(bytes), 10, slot, Instant::now(), 1);
        lane.sent(serial, at(S1, serial + 1));
    }
    lane
}

#[test]
fn a_forgotten_producer_goes_on_under_another_id_once_nothing_can_be_written() {
    let mut lane = forgotten();
    let unknown = error(Reason::UnknownProducer);
    assert_eq!(lane.refused(0, at(S1, 1), &unknown), Verdict::Wait);
    assert!(lane.unsent().is_none() && !lane.is_sound());
    assert_eq!(lane.refused(1, at(S1, 2), &unknown), Verdict::Renew);
    lane.renew();
    assert!(!lane.adopt(identity(7)), "it is forgotten");
    assert!(lane.adopt(identity(8)));
    for (batch, base) in lane.batches.iter().zip([0, 10]) {
        let header = BatchHeader::decode(&batch.bytes).unwrap();
        assert_eq!((header.producer_id, header.base_sequence), (8, base));
        assert!(RecordBatch::parse(batch.bytes.clone(), 1 << 20).is_ok());
    }
    assert_eq!(lane.stamp().unwrap().base_sequence, Sequence(20));
    assert_eq!(resend(&mut lane, S2), [0, 1]);
}

#[test]
fn a_forgotten_producer_fails_if_an_earlier_attempt_may_have_been_written() {
    let mut lane = forgotten();
    let unknown = error(Reason::UnknownProducer);
    lane.lost(0, at(S1, 1));
    lane.lost(1, at(S1, 2));
    lane.rewind();
    resend(&mut lane, S2);
    assert_eq!(lane.refused(0, at(S2, 1), &unknown), Verdict::Wait);
    assert_eq!(lane.refused(1, at(S2, 2), &unknown), Verdict::Fail);
    let told = outcomes(&lane.fail(&unknown));
    assert_eq!(told, [Some(Outcome::Unknown), Some(Outcome::Unknown)]);
}

/// A lane whose first attempts are not answered when a leader refuses the next ones.
fn forgotten_before_answers() -> Lane {
    let mut lane = forgotten();
    lane.rewind();
    assert_eq!(resend(&mut lane, S2), [0, 1]);
    let unknown = error(Reason::UnknownProducer);
    assert_eq!(lane.refused(0, at(S2, 1), &unknown), Verdict::Wait);
    assert_eq!(lane.refused(1, at(S2, 2), &unknown), Verdict::Wait);
    assert!(lane.unsent().is_none());
    lane
}

#[test]
fn a_forgotten_producer_waits_for_no_session_that_is_gone() {
    let mut lane = forgotten_before_answers();
    assert!(!lane.lost(0, at(S1, 1)), "one is on its way");
    assert!(lane.lost(1, at(S1, 2)), "none is");
    lane.rewind();
    assert_eq!(resend(&mut lane, S2), [0, 1]);
    let unknown = error(Reason::UnknownProducer);
    assert_eq!(lane.refused(0, at(S2, 1), &unknown), Verdict::Wait);
    assert_eq!(lane.refused(1, at(S2, 2), &unknown), Verdict::Fail);
    let told = outcomes(&lane.fail(&unknown));
    assert_eq!(told, [Some(Outcome::Unknown), Some(Outcome::Unknown)]);
}

#[test]
fn a_forgotten_producer_goes_on_when_its_earlier_attempts_are_refused() {
    let mut lane = forgotten_before_answers();
    let refused = error(Reason::NotLeader);
    assert_eq!(lane.refused(0, at(S1, 1), &refused), Verdict::Wait);
    assert_eq!(lane.refused(1, at(S1, 2), &refused), Verdict::Again);
    lane.rewind();
    assert_eq!(resend(&mut lane, S2), [0, 1]);
    let unknown = error(Reason::UnknownProducer);
    assert_eq!(lane.refused(0, at(S2, 1), &unknown), Verdict::Wait);
    assert_eq!(lane.refused(1, at(S2, 2), &unknown), Verdict::Renew);
}
