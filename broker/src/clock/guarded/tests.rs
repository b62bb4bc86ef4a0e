use super::*;

const DAY: i64 = 24 * 60 * 60 * 1000;
const START: i64 = 1_795_168_800_000;

#[test]
fn a_jump_of_a_day_either_way_changes_nothing() {
    for jump in [DAY, -DAY] {
        let mut guard = Guard::default();
        assert_eq!(guard.look(START, 7).now, Timestamp(START));
        let after = guard.look(START + jump + 10, 17);
        assert_eq!(
            (after.now, after.jumped),
            (Timestamp(START + 10), Some(jump))
        );
        let later = guard.look(START + jump + 5_010, 5_017);
        assert_eq!((later.now, later.jumped), (Timestamp(START + 5_010), None));
        let back = guard.look(START + 6_000, 6_007);
        assert_eq!(back.now, Timestamp(START + 6_000), "it is near again");
    }
}

#[test]
fn small_corrections_are_followed() {
    let mut guard = Guard::default();
    guard.look(START, 0);
    assert_eq!(guard.look(START + 10_400, 10_000).now.0, START + 10_400);
    assert_eq!(guard.look(START + 21_300, 20_000).now.0, START + 21_300);
}

#[test]
fn the_time_never_goes_back_and_never_stands_for_long() {
    let mut guard = Guard::default();
    guard.look(START, 0);
    assert_eq!(guard.look(START + 500, 1_000).now.0, START + 500);
    assert_eq!(guard.look(START + 300, 1_100).now.0, START + 500);
    assert_eq!(guard.look(START + 900, 1_700).now.0, START + 900);
}

/// A machine whose clocks a test sets.
#[derive(Debug)]
struct Machine(Mutex<(i64, i64)>);

impl Machine {
    fn at(wall: i64, uptime: i64) -> Arc<Self> {
        Arc::new(Self(Mutex::new((wall, uptime))))
    }

    fn set(&self, wall: i64, uptime: i64) {
        *self.0.lock().unwrap() = (wall, uptime);
    }
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.lock().unwrap().0)
    }

    fn uptime(&self) -> i64 {
        self.0.lock().unwrap().1
    }
}

#[test]
fn a_guarded_clock_goes_on_with_the_time_since_the_machines_start() {
    let wall = Machine::at(START, 100);
    let clock = GuardedClock::new(Arc::clone(&wall) as Arc<dyn Clock>, Vec::new(), None);
    assert_eq!(clock.now().0, START);
    for (n, jump) in [DAY, -3 * DAY, DAY / 2].into_iter().enumerate() {
        let passed = n as i64 * 5_000;
        wall.set(START + passed + jump, 100 + passed);
        assert_eq!(clock.now().0, START + passed);
    }
}

/// Kept at `START`, 1 s after the machine was started.
fn kept() -> Kept {
    let clock = GuardedClock::new(Machine::at(START, 1_000), b"one".to_vec(), None);
    clock.keep()
}

/// The time of a broker that starts again and how old what was appended at `START` is then.
fn again(boot: &[u8], wall: i64, uptime: i64) -> (i64, i64) {
    let machine = Machine::at(wall, uptime);
    let clock = GuardedClock::new(machine, boot.to_vec(), Some(&kept()));
    let ages = clock.ages();
    assert_eq!(ages.now, clock.now());
    (
        ages.now.0 - START,
        ages.now.0 - ages.counted_from(Timestamp(START)).0,
    )
}

#[test]
fn a_restart_of_the_broker_goes_on_by_the_time_since_the_machines_start() {
    for jump in [0, DAY, -DAY, 30 * DAY] {
        let after = again(b"one", START + 60_000 + jump, 61_000);
        assert_eq!(after, (60_000, 60_000), "a jump of {jump} ms");
    }
    let corrected = again(b"one", START + 63_000, 61_000);
    assert_eq!(corrected, (63_000, 60_000), "near enough to be believed");
}

#[test]
fn a_restart_of_the_machine_makes_nothing_older_and_time_goes_on() {
    let off = again(b"two", START + DAY, 500);
    assert_eq!(off, (DAY, 0), "off for a day, or a day ahead");
    let back = again(b"two", START - DAY, 500);
    assert_eq!(back, (0, 0), "a clock that is behind");
    let nameless = again(b"", START + DAY, 500);
    assert_eq!(nameless, (DAY, 0), "whether it is the same is not known");
}

#[test]
fn a_shift_moves_the_time_and_makes_nothing_older() {
    let machine = Machine::at(START, 0);
    let clock = GuardedClock::new(Arc::clone(&machine) as Arc<dyn Clock>, Vec::new(), None);
    clock.now();
    let age = |at| clock.now().0 - clock.ages().counted_from(Timestamp(at)).0;
    for by in [DAY, -DAY] {
        let before = age(START - 5_000);
        let now = clock.now().0;
        clock.shift(by);
        assert_eq!(clock.now().0, now + by);
        assert!(age(START - 5_000) <= before, "{by}");
    }
    assert_eq!(clock.keep().time, START);
    machine.set(START + 7_000, 7_000);
    assert_eq!(age(START), 7_000, "what was skipped was taken back");
}
