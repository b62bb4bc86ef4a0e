//! The disk in memory forgets exactly what a real one may forget.

use std::io::IoSlice;
use std::sync::{Arc, Mutex};

use super::super::{Dir, Job};
use super::MemDir;

fn write(dir: &MemDir, name: &str, position: u64, bytes: &[u8]) {
    dir.open(name)
        .unwrap()
        .write_at(&[IoSlice::new(bytes)], position)
        .unwrap();
}

fn read(dir: &MemDir, name: &str) -> Vec<u8> {
    dir.open(name).unwrap().slice(0..u64::MAX).to_vec()
}

#[test]
fn synced_bytes_and_names_survive_every_power_cut() {
    for seed in 0..64 {
        let dir = MemDir::new();
        dir.create("a", 2048).unwrap();
        write(&dir, "a", 100, b"kept");
        dir.open("a").unwrap().sync_now().unwrap();
        dir.sync_dir().unwrap();
        dir.power_cut(seed);
        assert_eq!(&read(&dir, "a")[100..104], b"kept");
    }
}

#[test]
fn unsynced_sectors_and_names_survive_in_any_combination() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let dir = MemDir::new();
        dir.create("a", 1024).unwrap();
        dir.sync_dir().unwrap();
        dir.create("b", 8).unwrap();
        write(&dir, "a", 0, &[1; 1024]);
        dir.power_cut(seed);
        let a = read(&dir, "a");
        assert!(
            a[..512].iter().all(|byte| *byte == a[0]),
            "a sector is whole"
        );
        seen.insert((a[0], a[512], dir.open("b").is_ok()));
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn a_failed_sync_loses_the_bytes_and_the_next_one_pretends_success() {
    let dir = MemDir::new();
    let file = dir.create("a", 512).unwrap();
    dir.sync_dir().unwrap();
    file.write_at(&[IoSlice::new(b"gone")], 0).unwrap();
    dir.fail_operation(0);
    assert!(file.sync_now().is_err());
    file.sync_now().unwrap();
    assert_eq!(
        &read(&dir, "a")[..4],
        b"gone",
        "the page cache still shows it"
    );
    dir.power_cut(1);
    assert_eq!(&read(&dir, "a")[..4], &[0; 4]);
}

#[test]
fn a_scheduled_sync_keeps_what_was_written_before_it_began() {
    let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
    let queue = Arc::clone(&jobs);
    let dir = MemDir::with_schedule(Arc::new(move |job| queue.lock().unwrap().push(job)));
    let file = dir.create("a", 512).unwrap();
    dir.sync_dir().unwrap();
    file.write_at(&[IoSlice::new(b"one")], 0).unwrap();
    let done = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&done);
    file.sync(Box::new(move |result| {
        *flag.lock().unwrap() = result.is_ok()
    }));
    file.write_at(&[IoSlice::new(b"two")], 0).unwrap();
    assert!(!*done.lock().unwrap());
    let taken: Vec<Job> = std::mem::take(&mut *jobs.lock().unwrap());
    taken.into_iter().for_each(|job| job());
    assert!(*done.lock().unwrap());
    let survivors: std::collections::BTreeSet<Vec<u8>> = (0..32)
        .map(|seed| {
            let copy = read(&dir, "a")[..3].to_vec();
            dir.power_cut(seed);
            let after = read(&dir, "a")[..3].to_vec();
            assert!(after == b"one" || after == copy);
            after
        })
        .collect();
    assert!(
        survivors
            .iter()
            .all(|bytes| bytes == b"one" || bytes == b"two")
    );
}

#[test]
fn a_full_disk_refuses_new_files_and_keeps_none_of_them() {
    let dir = MemDir::new();
    dir.set_capacity(1000);
    dir.create("a", 900).unwrap();
    let error = dir.create("b", 200).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(dir.list().unwrap(), ["a"]);
}

#[test]
fn subdirectories_have_names_of_their_own() {
    let dir = MemDir::new();
    let below = dir.subdir("p").unwrap();
    below.create("a", 8).unwrap();
    assert!(dir.list().unwrap().is_empty());
    assert_eq!(dir.list_subdirs().unwrap(), ["p"]);
    assert_eq!(dir.subdir("p").unwrap().list().unwrap(), ["a"]);
    dir.remove_subdir("p").unwrap();
    assert!(dir.list_subdirs().unwrap().is_empty());
}

#[test]
fn a_process_that_ended_changes_nothing_any_more_and_has_lost_nothing() {
    let disk = MemDir::new();
    let first = disk.next_process();
    let below = first.subdir("p").unwrap();
    let file = below.create("a", 8).unwrap();
    file.write_at(&[IoSlice::new(b"kept")], 0).unwrap();
    let second = disk.next_process();
    assert!(file.write_at(&[IoSlice::new(b"late")], 0).is_err());
    assert!(file.sync_now().is_err());
    assert!(below.create("b", 8).is_err());
    assert!(below.open("a").is_err());
    assert!(first.remove_subdir("p").is_err());
    let found = second.subdir("p").unwrap().open("a").unwrap();
    assert_eq!(&found.slice(0..4)[..], b"kept");
    found.write_at(&[IoSlice::new(b"next")], 0).unwrap();
    assert_eq!(&found.slice(0..4)[..], b"next");
}

#[test]
fn zeroes_ahead_of_what_is_written_take_no_memory() {
    let dir = MemDir::new();
    let file = dir.create("a", 1 << 40).unwrap();
    file.write_at(&[IoSlice::new(&[0; 4096])], 1 << 39).unwrap();
    file.write_at(&[IoSlice::new(b"ab")], 0).unwrap();
    file.write_at(&[IoSlice::new(&[0; 2])], 1).unwrap();
    assert_eq!(&file.slice(0..3)[..], b"a\0\0");
    assert_eq!(&file.slice(1 << 39..(1 << 39) + 2)[..], b"\0\0");
}

#[test]
fn a_volatile_disk_shows_what_was_written_and_keeps_nothing_of_it() {
    let dir = MemDir::volatile();
    let file = dir.create("a", 8).unwrap();
    dir.sync_dir().unwrap();
    file.write_at(&[IoSlice::new(b"gone")], 0).unwrap();
    file.sync_now().unwrap();
    assert_eq!(&read(&dir, "a")[..4], b"gone");
    dir.power_cut(1);
    assert_eq!(read(&dir, "a"), [0; 8]);
}
