use super::*;
use crate::log::MemDir;

const LEN: u64 = 2 * STEP + 4096;

fn used_file(dir: &MemDir) -> Arc<dyn File> {
    let file = dir.create("f", LEN).unwrap();
    dir.sync_dir().unwrap();
    let old = vec![7; LEN as usize];
    file.write_at(&[IoSlice::new(&old)], 0).unwrap();
    file
}

fn zeroes(file: &dyn File) -> u64 {
    let bytes = file.slice(0..LEN);
    bytes.iter().take_while(|byte| **byte == 0).count() as u64
}

#[test]
fn a_step_writes_a_small_piece_and_syncs_it_once() {
    let dir = MemDir::new();
    let file = used_file(&dir);
    let progress = Mutex::default();
    for (more, filled) in [(true, STEP), (true, 2 * STEP), (false, LEN)] {
        let before = dir.operations();
        assert_eq!(step(&*file, &progress).unwrap(), more);
        assert_eq!(zeroes(&*file), filled);
        assert!(dir.operations() - before <= STEP / WRITE + 1);
    }
    dir.power_cut(1);
    assert_eq!(zeroes(&*dir.open("f").unwrap()), LEN, "all is synced");
}

#[test]
fn nothing_is_written_once_the_file_is_taken() {
    let dir = MemDir::new();
    let file = used_file(&dir);
    let filling = Filling {
        progress: Arc::default(),
    };
    assert!(step(&*file, &filling.progress).unwrap());
    assert!(filling.end());
    let before = dir.operations();
    assert!(!step(&*file, &filling.progress).unwrap());
    assert_eq!((zeroes(&*file), dir.operations()), (STEP, before));
}

#[test]
fn a_file_that_failed_to_be_filled_is_of_no_use() {
    for operation in [0, STEP / WRITE] {
        let dir = MemDir::new();
        let file = used_file(&dir);
        dir.fail_operation(operation);
        let filling = Filling::start(&dir, &file, Duration::ZERO);
        assert!(!filling.end(), "operation {operation}");
    }
    let dir = MemDir::new();
    let file = used_file(&dir);
    assert!(Filling::start(&dir, &file, Duration::ZERO).end());
    assert_eq!(zeroes(&*file), LEN);
}

#[test]
fn pauses_spread_the_steps_over_the_time_there_is() {
    let len = 64 << 20;
    let steps = (len / STEP) as u32;
    let within = Duration::from_secs(8);
    assert_eq!(pause(len, within), within / steps);
    assert_eq!(pause(len, Duration::ZERO), Duration::ZERO);
    assert_eq!(pause(len, Duration::from_secs(86_400)), LONGEST_PAUSE);
    assert_eq!(pause(0, within), LONGEST_PAUSE);
}
