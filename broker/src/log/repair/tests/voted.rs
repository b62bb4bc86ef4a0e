//! Where nothing is left that says how far a log went, it ends before what is of a later term than
//! the stored vote: that was never there.

use super::*;
use crate::log::tests::batch;

/// Entries 0 to 29 in terms 0 and 1, and 30 to 39 in term 3.
fn over_an_election() -> (MemDir, Vec<Frame>) {
    let (dir, _) = built(30);
    let mut log = open(&dir);
    for index in 30..ENTRIES {
        let body = batch(2, 40, 2_000);
        append_and_wait(&mut log, vec![local(3, index, FrameKind::Batch, body)]);
    }
    let frames = all(&log);
    (dir, frames)
}

fn voted(term: u64, durable_file: u32) -> LogOptions {
    LogOptions {
        durable_file,
        unpurged: Some(LogIndex(0)),
        max_segment_bytes: 64 << 10,
        voted: Some(Term(term)),
        ..tiny()
    }
}

/// What a log has after its newest file was lost and repaired.
fn without_newest(dir: &MemDir, options: &LogOptions, other: &Other<'_>) -> Vec<Frame> {
    let hurt = copy(dir);
    hurt.remove(&format!("{:08}.seg", options.durable_file))
        .unwrap();
    hurt.sync_dir().unwrap();
    let shared: Arc<dyn Dir> = Arc::new(hurt);
    assert_eq!(repair(&shared, options, other).unwrap().len(), 1);
    let (log, _) = Log::open(shared, options.clone()).unwrap();
    all(&log)
}

#[test]
fn a_lost_newest_file_ends_before_a_later_term_than_the_vote() {
    let (_, theirs) = over_an_election();
    let (dir, frames) = built(27);
    let newest = newest_number(&dir);
    let found = without_newest(&dir, &voted(1, newest), &Other::leader(&theirs));
    assert!(same(&found, &theirs[..30]), "{} frames", found.len());
    assert!(same(&found[..27], &frames), "all that it had is there");
    for term in [2, 3, 7] {
        let found = without_newest(&dir, &voted(term, newest), &Other::leader(&theirs));
        let expected = if term < 3 { 30 } else { 40 };
        assert!(same(&found, &theirs[..expected]), "term {term}");
    }
}

#[test]
fn a_later_term_is_the_end_even_before_it_is_committed() {
    let (_, theirs) = over_an_election();
    let (dir, _) = built(27);
    let options = voted(1, newest_number(&dir));
    let other = |committed| Other {
        frames: &theirs,
        committed: Some(LogIndex(committed)),
        leads: false,
        floor: None,
    };
    let found = without_newest(&dir, &options, &other(29));
    assert!(same(&found, &theirs[..30]));

    // What comes before it must be.
    let hurt = copy(&dir);
    hurt.remove(&format!("{:08}.seg", options.durable_file))
        .unwrap();
    let shared: Arc<dyn Dir> = Arc::new(hurt);
    let refused = repair(&shared, &options, &other(28)).unwrap_err();
    assert!(
        refused.to_string().contains("not known to be committed"),
        "{refused}"
    );
}

#[test]
fn a_lost_file_gets_back_more_than_it_could_hold() {
    let (dir, _) = built(27);
    let (_, theirs) = built(150);
    let options = LogOptions {
        max_segment_bytes: tiny().max_segment_bytes,
        ..voted(1, newest_number(&dir))
    };
    let found = without_newest(&dir, &options, &Other::leader(&theirs));
    assert!(same(&found, &theirs), "{} frames", found.len());
}

#[test]
fn what_is_known_behind_a_lost_file_is_given_back_whatever_its_term() {
    let (dir, frames) = over_an_election();
    let names = segments(&dir);
    let options = voted(1, newest_number(&dir));
    for name in &names[..names.len() - 1] {
        healed(&dir, &frames, &options, |hurt| {
            hurt.remove(name).unwrap();
            hurt.sync_dir().unwrap();
        });
    }
}
