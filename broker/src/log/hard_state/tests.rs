//! Votes are never forgotten, whatever the disk does.

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::ReplicaId;

use super::{HardKey, HardState, HardStateError};
use crate::log::tests::{Calls, disk_with, ignore, on_both};
use crate::log::{Dir, MemDir};

fn key(replica: u64, slot: u8) -> HardKey {
    HardKey {
        replica: ReplicaId(replica),
        slot,
    }
}

fn value(number: u64) -> Bytes {
    Bytes::from(number.to_be_bytes().repeat(1 + number as usize % 4))
}

fn open(dir: &MemDir) -> HardState {
    HardState::open(Arc::new(dir.clone())).unwrap()
}

fn wal_names(dir: &MemDir) -> Vec<String> {
    dir.list()
        .unwrap()
        .into_iter()
        .filter(|name| name.ends_with(".wal"))
        .collect()
}

#[test]
fn values_survive_reopening_and_many_rolls() {
    on_both(|dir| {
        let state = HardState::open(Arc::clone(&dir)).unwrap();
        assert_eq!(state.get(key(1, 0)), None);
        for round in 0..200 {
            state.put(key(round % 5, (round % 2) as u8), value(round), ignore());
        }
        state.remove_replica(ReplicaId(3), ignore());
        let (sender, receiver) = std::sync::mpsc::channel();
        state.put(
            key(9, 1),
            value(9),
            Box::new(move |result| sender.send(result).unwrap()),
        );
        receiver.recv().unwrap().unwrap();
        let keys = state.keys();
        let values: Vec<_> = keys.iter().map(|key| state.get(*key)).collect();
        assert_eq!(keys.len(), 4 * 2 + 1);
        drop(state);
        for _ in 0..3 {
            let state = HardState::open(Arc::clone(&dir)).unwrap();
            assert_eq!(state.keys(), keys);
            let again: Vec<_> = keys.iter().map(|key| state.get(*key)).collect();
            assert_eq!(again, values);
        }
        assert_eq!(
            dir.list().unwrap().len(),
            2,
            "one file in use and one spare"
        );
    });
}

#[test]
fn an_acknowledged_value_survives_any_failing_operation_and_any_power_cut() {
    for n in 0.. {
        for seed in 0..4 {
            let dir = MemDir::new();
            let state = open(&dir);
            dir.fail_operation(n);
            let before = dir.operations();
            let calls = Calls::default();
            for number in 1..=60 {
                state.put(key(1, 0), value(number), calls.expect(number));
            }
            let failed = dir.operations() - before > n;
            drop(state);
            dir.fail_from_operation(None);
            let acked = calls
                .seen()
                .into_iter()
                .filter(|(_, ok)| *ok)
                .map(|(n, _)| n)
                .max();
            dir.power_cut(seed);
            let found = open(&dir).get(key(1, 0));
            let later = (acked.unwrap_or(0)..=60).map(|number| (number > 0).then(|| value(number)));
            assert!(
                later.into_iter().any(|value| value == found),
                "operation {n}: {acked:?}"
            );
            if !failed {
                return;
            }
        }
    }
}

#[test]
fn opening_may_fail_anywhere_and_forgets_nothing() {
    for n in 0.. {
        let dir = MemDir::new();
        let state = open(&dir);
        state.put(key(1, 0), value(1), ignore());
        drop(state);
        let before = dir.operations();
        dir.fail_operation(n);
        let opened = HardState::open(Arc::new(dir.clone()));
        let failed = dir.operations() - before > n;
        drop(opened);
        dir.fail_from_operation(None);
        dir.power_cut(n);
        assert_eq!(open(&dir).get(key(1, 0)), Some(value(1)), "operation {n}");
        if !failed {
            return;
        }
    }
}

#[test]
fn damage_to_a_durable_value_is_refused() {
    let dir = MemDir::new();
    let state = open(&dir);
    for number in 1..=3 {
        state.put(key(1, 0), value(number), ignore());
    }
    drop(state);
    let name = wal_names(&dir)
        .into_iter()
        .find(|name| !name.contains("spare"))
        .unwrap();
    let intact = dir.open(&name).unwrap().slice(0..u64::MAX);
    let end = intact.iter().rposition(|byte| *byte != 0).unwrap();
    // The value's 32 bytes behind a header of 40.
    let last = end + 1 - 72;
    let mut forgotten = 0;
    for at in 0..end {
        dir.damage(&name, |bytes| {
            bytes.copy_from_slice(&intact);
            bytes[at] ^= 0x21;
        })
        .unwrap();
        let copy = MemDir::new();
        copy.create(&name, intact.len() as u64).unwrap();
        copy.sync_dir().unwrap();
        let damaged = dir.open(&name).unwrap().slice(0..u64::MAX);
        copy.damage(&name, |bytes| bytes.copy_from_slice(&damaged))
            .unwrap();
        match HardState::open(Arc::new(copy)) {
            Err(HardStateError::Damaged { .. }) => {}
            Err(error) => panic!("byte {at}: {error}"),
            // The last change: nothing after it vouches for it. Padding means nothing.
            Ok(state) if state.get(key(1, 0)) != Some(value(3)) => {
                assert!(at >= last, "byte {at} of {end}");
                forgotten += 1;
            }
            Ok(_) => {}
        }
    }
    assert!(forgotten < 100);
}

/// The file in use, which a broker made of these changes, and its bytes.
fn stored(values: impl IntoIterator<Item = u64>) -> (String, Bytes) {
    let dir = MemDir::new();
    let state = open(&dir);
    for number in values {
        state.put(key(number, 0), value(number), ignore());
    }
    drop(state);
    let in_use = |name: &String| !name.contains("spare");
    let name = wal_names(&dir).into_iter().find(in_use).unwrap();
    let bytes = dir.open(&name).unwrap().slice(0..u64::MAX);
    (name, bytes)
}

#[test]
fn a_file_that_lost_its_end_is_refused_wherever_it_was_cut() {
    // In one all are changes, in the other most are in a snapshot that needs a larger file.
    for values in [1..=3, 1..=80] {
        let (name, bytes) = stored(values);
        let snapshot_end = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
        assert_eq!(snapshot_end > 64, name != "hard-00000001.wal");
        for len in 64..bytes.len() {
            let opened = HardState::open(Arc::new(disk_with(&name, &bytes[..len])));
            let is_damage = matches!(opened, Err(HardStateError::Damaged { .. }));
            assert!(is_damage, "{len} bytes of {} in {name}", bytes.len());
        }
    }
}

#[test]
fn a_file_of_a_broker_that_did_not_say_its_size_is_read_and_refused_without_its_end() {
    let (name, bytes) = stored(1..=3);
    let mut before = bytes.to_vec();
    before[20..24].fill(0);
    let crc = crc32fast::hash(&before[..60]);
    before[60..64].copy_from_slice(&crc.to_le_bytes());
    let state = open(&disk_with(&name, &before));
    assert_eq!(state.get(key(3, 0)), Some(value(3)));
    let last = before.len() - 1;
    let opened = HardState::open(Arc::new(disk_with(&name, &before[..last])));
    assert!(matches!(opened, Err(HardStateError::Damaged { .. })));
}

#[test]
fn a_full_disk_does_not_stop_votes() {
    let dir = MemDir::new();
    let state = open(&dir);
    dir.set_capacity(0);
    let calls = Calls::default();
    for number in 1..=500 {
        state.put(key(number % 3, 0), value(number), calls.expect(number));
    }
    assert!(calls.seen().iter().all(|(_, ok)| *ok));
    drop(state);
    assert_eq!(open(&dir).get(key(500 % 3, 0)), Some(value(500)));
}

#[test]
fn after_a_failed_sync_every_change_fails() {
    let dir = MemDir::new();
    let state = open(&dir);
    let calls = Calls::default();
    dir.fail_operation(1);
    for number in 1..=3 {
        state.put(key(1, 0), value(number), calls.expect(number));
    }
    assert_eq!(calls.seen(), [(1, false), (2, false), (3, false)]);
}
