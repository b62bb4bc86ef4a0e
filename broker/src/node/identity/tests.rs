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

/// Founds a cluster in `dir`, if that is possible.
async fn found(dir: &dyn Dir) -> Result<Membership, String> {
    let here = Incarnation::from_bytes([1; 16]);
    let applicant = Applicant {
        endpoints: pb::Endpoints::default(),
        rack: String::new(),
    };
    establish(dir, here, &[], &applicant, || [2; 16]).await
}

#[tokio::test]
async fn a_directory_in_which_a_join_was_begun_founds_no_cluster() {
    let dir = MemDir::volatile();
    let kept = joining_incarnation(&dir, Incarnation::from_bytes([3; 16])).unwrap();
    let why = found(&dir).await.unwrap_err();
    assert!(why.contains("--join"), "{why}");
    assert_eq!(load(&dir, kept).unwrap(), None, "nothing was founded");
    assert!(found(&MemDir::volatile()).await.unwrap().founder);
}
