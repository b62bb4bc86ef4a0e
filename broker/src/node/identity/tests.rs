use super::*;
use crate::log::MemDir;

fn put(dir: &dyn Dir, name: &str) {
    write_file(dir, name, b"hi").unwrap();
}

#[test]
fn a_directory_with_files_of_others_is_not_begun_in() {
    let dir = MemDir::volatile();
    for name in [
        ".snapshot",
        JOINING_FILE,
        ADDRESSES_FILE,
        "identity.tmp",
        "lock",
    ] {
        put(&dir, name);
    }
    drop(dir.subdir("lost+found").unwrap());
    assert_eq!(refuse_data_without_identity(&dir), Ok(()));
    put(&dir, "file.txt");
    let why = refuse_data_without_identity(&dir).unwrap_err();
    assert!(
        why.contains("\"file.txt\"") && why.contains("move"),
        "{why}"
    );
}

#[test]
fn a_directory_with_the_data_of_a_broker_that_is_not_known_is_not_begun_in() {
    let dir = MemDir::volatile();
    drop(dir.subdir("hard-state").unwrap());
    let why = refuse_data_without_identity(&dir).unwrap_err();
    assert!(why.contains("hard-state"), "{why}");
}
