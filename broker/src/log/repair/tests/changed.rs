//! The other replica is not the same at each answer: what it gave and was not committed may be
//! something else the next time it is asked.

use super::*;
use crate::log::tests::batch;

/// The last entry that both terms have.
const COMMON: u64 = 14;
/// The last entry that was acknowledged.
const END: u64 = 20;

/// A log whose entries behind [`COMMON`] a leader of this term wrote.
fn led(term: u64, end: u64) -> (MemDir, Vec<Frame>) {
    let (dir, _) = built(COMMON + 1);
    let mut log = open(&dir);
    for index in COMMON + 1..=end {
        let body = batch(2, 40, 2_000);
        append_and_wait(&mut log, vec![local(term, index, FrameKind::Batch, body)]);
    }
    let frames = all(&log);
    (dir, frames)
}

/// The file that this frame is in, and its place there.
fn place(dir: &MemDir, frame: &Frame) -> (String, usize) {
    let head = frame.head.encode();
    let at = |name: &String| {
        let bytes = dir.open(name).unwrap().slice(0..u64::MAX);
        bytes.windows(head.len()).position(|found| found == head)
    };
    let mut names = segments(dir).into_iter();
    names
        .find_map(|name| at(&name).map(|at| (name, at)))
        .unwrap()
}

/// Loses the two entries behind [`COMMON`]; all that follow are whole.
fn lose_two(dir: &MemDir, frames: &[Frame]) -> MemDir {
    let hurt = copy(dir);
    let newest = segments(dir).pop().unwrap();
    let lost = COMMON as usize + 1;
    let places = [lost, lost + 2, END as usize].map(|at| place(dir, &frames[at]));
    assert!(places.iter().all(|(name, _)| *name == newest), "{places:?}");
    let range = places[0].1..places[1].1;
    hurt.damage(&newest, |bytes| bytes[range].fill(0)).unwrap();
    hurt
}

/// Asks each of these once, and the last one on and on.
fn ask_in_turn(dir: &Arc<dyn Dir>, others: &[&Other<'_>]) -> Result<RepairedFile, RepairError> {
    let mut repair = Repair::begin(dir, &tiny())?.unwrap();
    let mut step = repair.step(None)?;
    for turn in 0..100 {
        step = match step {
            Step::Need(from) => {
                let other = others[turn.min(others.len() - 1)];
                repair.step(Some(other.give(from)))?
            }
            Step::Repaired(file) => return Ok(file),
            Step::Note(_) => panic!("nothing is purged"),
        };
    }
    panic!("the repair does not end");
}

fn follower(frames: &[Frame], committed: u64) -> Other<'_> {
    Other {
        frames,
        committed: Some(LogIndex(committed)),
        leads: false,
        floor: None,
    }
}

#[test]
fn what_another_replica_gave_and_lost_itself_meanwhile_is_not_the_end_of_this_log() {
    let (dir, frames) = led(5, END);
    let (_, cut_off) = led(4, COMMON + 2);
    let hurt = lose_two(&dir, &frames);
    let shared: Arc<dyn Dir> = Arc::new(hurt);
    // It led term 4 while it was cut off; then the leader of term 5 replaced what it had.
    let before = follower(&cut_off, COMMON);
    for known in [COMMON + 2, END] {
        let after = follower(&frames[..=known as usize], known);
        let refused = ask_in_turn(&shared, &[&before, &after]).unwrap_err();
        let is_mismatch = matches!(refused, RepairError::Mismatch { .. });
        assert!(is_mismatch, "{refused}");
    }
    // The next try finds it as it is now.
    let file = ask_in_turn(&shared, &[&follower(&frames, END)]).unwrap();
    assert_eq!(file.frames, 2);
    let (log, _) = Log::open(shared, tiny()).unwrap();
    assert!(same(&all(&log), &frames));
}

#[test]
fn an_own_entry_that_another_replica_has_committed_otherwise_is_still_the_end_of_this_log() {
    let (dir, frames) = led(4, END);
    let (_, theirs) = led(5, COMMON + 2);
    let newest = segments(&dir).pop().unwrap();
    let hurt = copy(&dir);
    // Its own first entry of term 4 is whole, the next one is lost, and more is whole behind that.
    let lost = COMMON as usize + 2;
    let [from, to] = [lost, lost + 1].map(|at| place(&dir, &frames[at]).1);
    hurt.damage(&newest, |bytes| bytes[from..to].fill(0))
        .unwrap();
    let shared: Arc<dyn Dir> = Arc::new(hurt);
    let file = ask_in_turn(&shared, &[&follower(&theirs, COMMON + 2)]).unwrap();
    assert_eq!(file.frames, 0);
    let (log, _) = Log::open(shared, tiny()).unwrap();
    assert!(same(&all(&log), &frames[..lost]));
}

#[test]
fn an_own_end_that_was_never_committed_is_found_within_one_answer_as_well() {
    let (dir, frames) = led(4, END);
    let (_, theirs) = led(5, END + 3);
    let newest = segments(&dir).pop().unwrap();
    // It lost the last entry that both have, and whatever may have been behind its own ones.
    let from = place(&dir, &frames[COMMON as usize]).1;
    let (_, last) = place(&dir, &frames[END as usize]);
    let len = last + frames[END as usize].head.frame_len() as usize;
    let mut left = dir.open(&newest).unwrap().slice(0..len as u64).to_vec();
    left[from + 8] ^= 1;
    let hurt = copy(&dir);
    hurt.remove(&newest).unwrap();
    put(&hurt, &newest, &left);
    let shared: Arc<dyn Dir> = Arc::new(hurt);
    let other = Other::leader(&theirs);
    let mut repair = Repair::begin(&shared, &tiny()).unwrap().unwrap();
    let Step::Need(wanted) = repair.step(None).unwrap() else {
        panic!("nothing is needed");
    };
    assert_eq!(wanted, LogIndex(COMMON));
    let mut all_at_once = other.give(wanted);
    all_at_once.frames = theirs[COMMON as usize..].to_vec();
    all_at_once.complete = true;
    let step = repair.step(Some(all_at_once)).unwrap();
    assert!(matches!(step, Step::Repaired(_)), "{step:?}");
    let (log, _) = Log::open(shared, tiny()).unwrap();
    assert!(same(&all(&log), &frames));
}
