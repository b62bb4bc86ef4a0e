//! Data directories that this broker must not work on: each is named with what is wrong and what to
//! do, and nothing in it is changed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crc_fast::{CrcAlgorithm, checksum};
use highwater_tests::files::{partition_dir, segments};
use highwater_tests::{Broker, Program, SmallDisk, program};

/// Every file with its content.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(content(&path)),
            false => drop(all.insert(path.clone(), fs::read(path).unwrap())),
        }
    }
    all
}

/// A directory of a broker that has worked, stopped in order.
fn used(dir: &Path) -> Broker {
    let mut broker = Broker::start(&program!(), dir, &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    broker.run(&["produce", "t"]).stdin("x\n").ok();
    broker.stop();
    broker
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(checksum(CrcAlgorithm::Crc32IsoHdlc, bytes))
        .unwrap()
        .to_le_bytes()
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

/// The broker refuses to start on it, naming these, and leaves it alone.
#[track_caller]
fn assert_refused(program: &Program, dir: &Path, names: &[&str]) {
    let before = content(dir);
    let path = dir.to_str().unwrap();
    let serve = ["serve", "--data-dir", path, "--listen", "127.0.0.1:0"];
    let refused = program.run(serve).end().exited(1).says("START");
    for name in names {
        assert!(
            refused.stderr.contains(name),
            "{name} is not named: {refused}"
        );
    }
    assert!(content(dir) == before, "the directory was changed");
}

/// The broker starts, and the partition stays closed: the log names these, and nothing in the
/// partition's directory is changed.
#[track_caller]
fn assert_partition_refused(broker: &mut Broker, dir: &Path, names: &[&str]) {
    let before = content(dir);
    broker.restart();
    let line = broker.log_line("a replica stays out of its group");
    for name in names {
        assert!(line.contains(name), "{name} is not named: {line}");
    }
    broker.unhealthy(&names[..1]);
    let read = ["consume", "t", "--exit-at-end", "--timeout", "1s"];
    assert_eq!(broker.run(&read).end().exited(5).text(), "");
    assert!(content(dir) == before, "the directory was changed");
}

#[test]
fn an_identity_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(used(dir.path()));
    change(&dir.path().join("identity"), |bytes| {
        bytes[8] = 2;
        let crc = crc(&[&bytes[..20], &bytes[24..]].concat());
        bytes[20..24].copy_from_slice(&crc);
    });
    assert_refused(&program!(), dir.path(), &["identity", "version 2"]);
}

#[test]
fn a_directory_with_a_file_of_another_is_not_begun_in() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file.txt"), "hi\n").unwrap();
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        dir.path().to_str().unwrap(),
    ];
    let refused = program!().run(serve).end().exited(1).says("START");
    assert!(refused.stderr.contains("\"file.txt\""), "{refused}");
    assert!(!dir.path().join("identity").exists());
}

#[test]
fn damage_of_the_files_that_say_who_is_who_names_what_can_be_done() {
    let dir = tempfile::tempdir().unwrap();
    drop(used(dir.path()));
    let damage = |name: &str| change(&dir.path().join(name), |bytes| bytes[24] ^= 1);
    damage("identity");
    assert_refused(
        &program!(),
        dir.path(),
        &["identity", "from a copy of this directory"],
    );
    damage("identity");
    damage("addresses");
    assert_refused(
        &program!(),
        dir.path(),
        &["addresses", "that of another broker"],
    );
}

#[test]
fn hard_state_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(used(dir.path()));
    let files = fs::read_dir(dir.path().join("hard-state")).unwrap();
    for file in files.map(|entry| entry.unwrap().path()) {
        change(&file, |bytes| {
            if bytes.starts_with(b"HWSTATE") {
                bytes[8] = 2;
                let crc = crc(&bytes[..60]);
                bytes[60..64].copy_from_slice(&crc);
            }
        });
    }
    assert_refused(&program!(), dir.path(), &["hard-", "version 2"]);
}

#[test]
fn replicas_without_their_hard_state_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(used(dir.path()));
    fs::remove_dir_all(dir.path().join("hard-state")).unwrap();
    for _ in 0..2 {
        let why = &["hard-state", "must not vote again"];
        assert_refused(&program!(), dir.path(), why);
    }
}

#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in ["/proc", file.path().to_str().unwrap()] {
        let serve = ["serve", "--data-dir", path, "--listen", "127.0.0.1:0"];
        let refused = program!().run(serve).end().exited(1).says("START");
        assert!(refused.stderr.contains(path), "{refused}");
    }
    let serve =
        |path: &str| program!().run(["serve", "--data-dir", path, "--listen", "127.0.0.1:0"]);
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for path in [file.path(), &link] {
        let refused = serve(path.to_str().unwrap()).end().exited(1).says("START");
        assert!(refused.stderr.contains("it is no directory"), "{refused}");
    }
    assert_eq!(fs::read(file.path()).unwrap(), b"");
}

/// The broker refuses to start where it may not write, and says where and what to do.
#[track_caller]
fn assert_not_writable(program: &Program, dir: &Path, why: &str) {
    let path = dir.to_str().unwrap();
    let serve = ["serve", "--data-dir", path, "--listen", "127.0.0.1:0"];
    let refused = program.run(serve).end().exited(1).says("START");
    for part in [path, why, "the data directory", "must be able to write"] {
        assert!(refused.stderr.contains(part), "no {part:?} in {refused}");
    }
}

#[test]
fn a_directory_on_a_file_system_that_is_read_only_is_refused() {
    let disk = SmallDisk::new(48);
    let program = disk.program(&program!());
    let mut broker = Broker::start(&program, &disk.data_dir(), &[]);
    broker.run(&["topic", "create", "t", "-p", "1"]).ok();
    broker.run(&["produce", "t"]).stdin("x\n").ok();
    broker.stop();
    disk.make_read_only();
    assert_not_writable(&program, &disk.data_dir(), "Read-only file system");
    let fresh = disk.data_dir().with_file_name("fresh");
    assert_not_writable(&program, &fresh, "Read-only file system");
}

#[test]
fn a_directory_without_permission_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(used(dir.path()));
    let closed = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    closed(dir.path(), 0o500).unwrap();
    // Without its capabilities root is held to permissions as everybody is.
    let program = match rustix::process::getuid().is_root() {
        true => program!().through(&["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]),
        false => program!(),
    };
    assert_not_writable(&program, &dir.path().join("fresh"), "Permission denied");
    let files = content(dir.path());
    for file in files.keys() {
        closed(file, 0o400).unwrap();
    }
    assert_not_writable(&program, dir.path(), "Permission denied");
    assert!(content(dir.path()) == files, "the directory was changed");
    closed(dir.path(), 0o700).unwrap();
}

#[test]
fn a_segment_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = used(dir.path());
    let partition = partition_dir(dir.path());
    change(&segments(&partition)[0], |bytes| {
        bytes[8] = 2;
        let crc = crc(&bytes[..252]);
        bytes[252..256].copy_from_slice(&crc);
    });
    let names = [
        "00000001.seg",
        "format version 2",
        "start the version that wrote it",
    ];
    assert_partition_refused(&mut broker, &partition, &names);
}

#[test]
fn a_segment_of_another_replica_is_refused() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut broker = used(dir.path());
    drop(used(elsewhere.path()));
    let foreign = segments(&partition_dir(elsewhere.path()))[0].clone();
    let partition = partition_dir(dir.path());
    fs::copy(foreign, partition.join("00000009.seg")).unwrap();
    let names = [
        "00000009.seg",
        "not a file of this replica",
        ", topic ",
        "move it away",
    ];
    assert_partition_refused(&mut broker, &partition, &names);
}

#[test]
fn a_file_or_a_directory_that_only_has_the_name_of_a_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = used(dir.path());
    let partition = partition_dir(dir.path());
    let stranger = partition.join("00000009.seg");
    fs::write(&stranger, b"somebody's notes").unwrap();
    let names = ["00000009.seg", "not a file of this replica", "move it away"];
    assert_partition_refused(&mut broker, &partition, &names);

    broker.stop();
    fs::remove_file(&stranger).unwrap();
    fs::create_dir(&stranger).unwrap();
    let names = ["00000009.seg", "it is a directory", "move it away"];
    assert_partition_refused(&mut broker, &partition, &names);

    // Without it everything is as it was.
    broker.stop();
    fs::remove_dir(&stranger).unwrap();
    broker.restart();
    let read = broker.run(&["consume", "t", "--exit-at-end"]).ok();
    assert_eq!(read.text(), "x\n");
}
