//! Where the others have purged what a damaged log needs, it begins again behind that, and has
//! everything from there on that it may have acknowledged.

use super::*;

/// What the others have purged.
const FLOOR: usize = 25;

/// What is known of the log outside it: a crash of the log does not take it back.
struct Noted {
    options: LogOptions,
}

impl Noted {
    fn of(dir: &MemDir, term: u64) -> Self {
        let options = LogOptions {
            durable_file: newest_number(dir),
            unpurged: Some(LogIndex(0)),
            voted: Some(Term(term)),
            ..tiny()
        };
        Self { options }
    }

    /// Repairs everything, as a broker does.
    fn repair(&mut self, dir: &Arc<dyn Dir>, other: &Other<'_>) -> Result<usize, RepairError> {
        let mut repaired = 0;
        while let Some(mut repair) = Repair::begin(dir, &self.options)? {
            let mut step = repair.step(None);
            loop {
                step = match step {
                    Ok(Step::Need(from)) => repair.step(Some(other.give(from))),
                    Ok(Step::Note(file)) => {
                        self.options.durable_file = file;
                        self.options.unpurged = other.floor.map(|floor| floor.index.next());
                        repair.step(None)
                    }
                    Ok(Step::Repaired(_)) => break,
                    Err(RepairError::Purged { .. }) => {
                        let behind = Repair::behind(dir, &self.options, other.floor.unwrap())?;
                        repair = behind.unwrap();
                        repair.step(None)
                    }
                    Err(error) => return Err(error),
                };
            }
            repaired += 1;
            assert!(repaired < 20, "a repair does not end");
        }
        Ok(repaired)
    }
}

/// The log of the others, of which they have purged the beginning.
fn purged(frames: &[Frame]) -> Other<'_> {
    let mut other = Other::leader(&frames[FLOOR + 1..]);
    other.floor = Some(LastFrame::from(&frames[FLOOR].head));
    other
}

/// Every way in which files of the log are lost that the others cannot give back.
fn losses(dir: &MemDir) -> Vec<MemDir> {
    let names = segments(dir);
    let lose = |lost: &[String]| {
        let hurt = copy(dir);
        lost.iter().for_each(|name| hurt.remove(name).unwrap());
        hurt.sync_dir().unwrap();
        hurt
    };
    let garbled = copy(dir);
    let garble = |bytes: &mut Vec<u8>| bytes.fill(0xa5);
    garbled.damage(&names[0], garble).unwrap();
    garbled
        .damage(&names[1], |bytes| bytes[5_000..6_000].fill(0xa5))
        .unwrap();
    let mut losses = vec![lose(&names), lose(&names[..1]), lose(&names[1..2]), garbled];
    let all_garbled = copy(dir);
    names
        .iter()
        .for_each(|name| all_garbled.damage(name, garble).unwrap());
    losses.push(all_garbled);
    losses
}

/// Ways in which the newest file alone is lost, though its header is whole: it has a hole and whole
/// frames behind that, or is shorter than it was made.
fn losses_of_the_newest(dir: &MemDir) -> Vec<MemDir> {
    let name = segments(dir).pop().unwrap();
    let first = dir.open(&name).unwrap().slice(4096..4168);
    let begins = all(&open(&copy(dir)));
    let begins = begins.iter().find(|frame| frame.head.encode()[..] == first);
    let begins = begins.unwrap().head.index.0;
    assert!(
        begins <= FLOOR as u64,
        "it begins at {begins}, behind the floor"
    );
    let hole = copy(dir);
    hole.damage(&name, |bytes| bytes[4100..4200].fill(0xa5))
        .unwrap();
    let short = copy(dir);
    let left = dir.open(&name).unwrap().slice(0..4200);
    short.remove(&name).unwrap();
    put(&short, &name, &left);
    vec![hole, short]
}

#[test]
fn a_log_begins_again_behind_what_the_others_have_purged_and_has_all_that_follows() {
    let (_, theirs) = built(ENTRIES);
    let other = purged(&theirs);
    for entries in [18, 27, 30, ENTRIES] {
        let (dir, _) = built(entries);
        let losses = match entries {
            27 => losses_of_the_newest(&dir),
            _ => losses(&dir),
        };
        for (nth, hurt) in losses.into_iter().enumerate() {
            let mut noted = Noted::of(&dir, 1);
            let shared: Arc<dyn Dir> = Arc::new(hurt.clone());
            noted.repair(&shared, &other).unwrap();
            let (log, recovered) = Log::open(shared, noted.options.clone()).unwrap();
            let found = all(&log);
            assert!(same(&found, other.frames), "loss {nth} of {entries}");
            assert_eq!(recovered.torn, None);
            drop(log);
            assert_eq!(segments(&hurt).len(), 1, "what does not count is gone");
        }
    }
}

#[test]
fn what_follows_has_to_be_known_to_be_all_before_anything_changes() {
    let (dir, theirs) = built(ENTRIES);
    for hurt in losses(&dir) {
        let before = segments(&hurt);
        let mut other = purged(&theirs);
        other.leads = false;
        let shared: Arc<dyn Dir> = Arc::new(hurt.clone());
        let mut noted = Noted::of(&dir, 1);
        let refused = noted.repair(&shared, &other).unwrap_err();
        assert!(matches!(refused, RepairError::NotThere { .. }), "{refused}");
        assert_eq!(segments(&hurt), before);
        assert_eq!(noted.options.durable_file, newest_number(&dir));
    }
}

#[test]
fn behind_a_floor_of_a_later_term_than_the_vote_nothing_is_needed() {
    let (dir, theirs) = built(ENTRIES);
    let mut other = purged(&theirs);
    other.leads = false;
    for hurt in [&losses(&dir)[0], &losses(&dir)[4]] {
        let mut noted = Noted::of(&dir, 0);
        let shared: Arc<dyn Dir> = Arc::new(hurt.clone());
        noted.repair(&shared, &other).unwrap();
        let (log, _) = Log::open(shared, noted.options.clone()).unwrap();
        assert_eq!(log.last(), other.floor);
        assert!(same(&all(&log), &[]));
    }
    // A log that is of a later term than the vote has lost its vote.
    let shared: Arc<dyn Dir> = Arc::new(losses(&dir).swap_remove(2));
    let refused = Noted::of(&dir, 0).repair(&shared, &other).unwrap_err();
    assert!(
        refused.to_string().contains("the vote was lost"),
        "{refused}"
    );
}

#[test]
fn a_crash_or_an_error_anywhere_leaves_the_log_damaged_or_begun_again() {
    let (_, theirs) = built(ENTRIES);
    let other = purged(&theirs);
    let ((old, _), (new, _)) = (built(30), built(27));
    let old_lost = losses(&old).into_iter().map(|loss| (&old, 30, loss));
    let newest_lost = losses_of_the_newest(&new).into_iter();
    let newest_lost = newest_lost.map(|loss| (&new, 27, loss));
    for (nth, (dir, entries, loss)) in old_lost.chain(newest_lost).enumerate() {
        for operation in 0..400 {
            let hurt = copy(&loss);
            let shared: Arc<dyn Dir> = Arc::new(hurt.clone());
            let mut noted = Noted::of(dir, 1);
            hurt.fail_operation(operation);
            let done = noted.repair(&shared, &other).is_ok();
            hurt.fail_from_operation(None);
            hurt.power_cut(operation);
            let again = noted.repair(&shared, &other).unwrap();
            assert!(!done || again == 0, "loss {nth}, {operation}: it was lost");
            let (log, _) = Log::open(shared, noted.options.clone()).unwrap();
            let found = all(&log);
            let kept = found
                .iter()
                .filter(|frame| frame.head.index.0 > FLOOR as u64);
            let kept: Vec<_> = kept.cloned().collect();
            let least = entries - FLOOR - 1;
            let whole = same(&kept, &other.frames[..kept.len()]) && kept.len() >= least;
            assert!(whole, "loss {nth}, operation {operation}");
            let names = hurt.list().unwrap();
            let half = names.iter().find(|name| name.contains("repair"));
            assert_eq!(half, None, "operation {operation} leaves half a file");
            if done {
                break;
            }
            assert!(operation < 399, "the repair takes more operations");
        }
    }
}
