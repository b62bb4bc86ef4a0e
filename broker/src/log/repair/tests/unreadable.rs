//! A file of which the disk cannot give a part any more gets exactly that back.

use super::*;

/// Where the hint of what is durable lies in a file.
const HINT: std::ops::Range<usize> = 2048..2064;

#[test]
fn whatever_page_of_a_log_cannot_be_read_the_exact_frames_come_back() {
    let (dir, frames) = built(ENTRIES);
    let options = LogOptions {
        durable_file: newest_number(&dir),
        unpurged: Some(LogIndex(0)),
        ..tiny()
    };
    let names = dir.list().unwrap();
    let mut repairs = 0;
    for name in names.iter().filter(|name| name.ends_with(".seg")) {
        let len = dir.open(name).unwrap().len();
        for page in (0..len).step_by(4096) {
            let repaired = healed(&dir, &frames, &options, |hurt| {
                hurt.make_unreadable(name, page..page + 4096).unwrap();
            });
            assert!(repaired.len() <= 1, "page {page} of {name}: {repaired:?}");
            repairs += repaired.len();
        }
    }
    assert!(repairs > 10, "{repairs} repairs");
}

#[test]
fn what_was_at_the_end_of_a_newest_file_and_cannot_be_read_is_not_taken_for_nothing() {
    // Of some nothing else says that it was durable.
    for entries in 30..50 {
        let (dir, frames) = built(entries);
        let name = segments(&dir).pop().unwrap();
        let bytes = dir.open(&name).unwrap().slice(0..u64::MAX);
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        let page = last / 4096 * 4096;
        let hurt = copy(&dir);
        hurt.damage(&name, |bytes| bytes[HINT].fill(0)).unwrap();
        hurt.make_unreadable(&name, page..page + 4096).unwrap();
        let shared: Arc<dyn Dir> = Arc::new(hurt);
        let mut other = Other::leader(&frames);
        (other.committed, other.leads) = (Some(LogIndex(entries - 5)), false);
        repair(&shared, &tiny(), &other).unwrap_err();
        repair(&shared, &tiny(), &Other::leader(&frames)).unwrap();
        let (log, _) = Log::open(shared, tiny()).unwrap();
        assert!(same(&all(&log), &frames), "{entries} entries");
    }
}
