//! A file never changes its size: one that is shorter than its header says has lost its end, and
//! what is left of it does not say what was there.

use super::*;
use crate::log::OpenError;

/// Where the hint of what is durable lies in a file.
const HINT: std::ops::Range<usize> = 2048..2064;

/// Has only these bytes of a file left, and no hint: the broker was killed under load.
fn cut(hurt: &MemDir, name: &str, len: usize) {
    let mut bytes = hurt.open(name).unwrap().slice(0..len as u64).to_vec();
    bytes[HINT].fill(0);
    hurt.remove(name).unwrap();
    put(hurt, name, &bytes);
}

/// Where a file is cut: in and between its frames, and behind them.
fn places(dir: &MemDir, name: &str) -> Vec<usize> {
    let bytes = dir.open(name).unwrap().slice(0..u64::MAX);
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let places = (4096..written).step_by(61);
    let places = places.chain([written.next_multiple_of(8), bytes.len() - 1]);
    places.filter(|at| *at < bytes.len()).collect()
}

#[test]
fn a_file_that_lost_its_end_is_refused_and_gets_all_of_it_back() {
    let (dir, frames) = built(ENTRIES);
    for name in &segments(&dir) {
        for at in places(&dir, name) {
            let hurt = copy(&dir);
            cut(&hurt, name, at);
            let opened = Log::open(Arc::new(hurt), tiny());
            let is_damage = matches!(opened, Err(OpenError::Damaged(_)));
            assert!(is_damage, "{name} cut at {at}");
            let repaired = healed(&dir, &frames, &tiny(), |hurt| cut(hurt, name, at));
            assert_eq!(repaired.len(), 1, "{name} cut at {at}");
        }
    }
}

#[test]
fn what_is_left_of_the_newest_file_is_not_enough_without_another_replica() {
    let (dir, frames) = built(ENTRIES);
    let name = segments(&dir).pop().unwrap();
    for at in places(&dir, &name) {
        let hurt = copy(&dir);
        cut(&hurt, &name, at);
        let shared: Arc<dyn Dir> = Arc::new(hurt);
        let mut other = Other::leader(&frames);
        (other.committed, other.leads) = (Some(LogIndex(0)), false);
        let refused = repair(&shared, &tiny(), &other);
        assert!(refused.is_err(), "cut at {at}: {refused:?}");
    }
}

#[test]
fn a_newest_file_that_lost_its_header_does_not_say_how_far_it_went_either() {
    let (dir, frames) = built(ENTRIES);
    let name = segments(&dir).pop().unwrap();
    for at in places(&dir, &name) {
        let options = LogOptions {
            durable_file: newest_number(&dir),
            ..tiny()
        };
        healed(&dir, &frames, &options, |hurt| {
            cut(hurt, &name, at);
            hurt.damage(&name, |bytes| bytes[..256].fill(0xa5)).unwrap();
        });
    }
}
