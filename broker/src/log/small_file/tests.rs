//! Old or new, whole, or an error: nothing else is ever read.

use super::{SmallFileError, read_file, remove_file, write_file};
use crate::log::tests::on_both;
use crate::log::{Dir, MemDir};

#[test]
fn a_payload_is_read_as_written_until_it_is_replaced_or_removed() {
    on_both(|dir| {
        assert_eq!(read_file(&*dir, "identity").unwrap(), None);
        for payload in [&b"one"[..], b"", b"a longer one"] {
            write_file(&*dir, "identity", payload).unwrap();
            assert_eq!(read_file(&*dir, "identity").unwrap().unwrap(), payload);
        }
        remove_file(&*dir, "identity").unwrap();
        remove_file(&*dir, "identity").unwrap();
        assert_eq!(read_file(&*dir, "identity").unwrap(), None);
        assert!(dir.list().unwrap().is_empty());
    });
}

#[test]
fn any_failing_operation_and_any_power_cut_leave_the_old_or_the_new_payload() {
    for n in 0.. {
        for seed in 0..16 {
            let dir = MemDir::new();
            write_file(&dir, "state", b"old payload").unwrap();
            dir.fail_operation(n);
            let before = dir.operations();
            let written = write_file(&dir, "state", b"the new payload");
            let failed = dir.operations() - before > n;
            dir.fail_from_operation(None);
            dir.power_cut(seed);
            let found = read_file(&dir, "state").unwrap().unwrap();
            assert!(found == b"the new payload" || (written.is_err() && found == b"old payload"));
            write_file(&dir, "state", b"again").unwrap();
            if !failed {
                return;
            }
        }
    }
}

#[test]
fn a_damaged_file_is_an_error_at_every_byte() {
    let dir = MemDir::new();
    write_file(&dir, "state", b"payload").unwrap();
    let len = dir.open("state").unwrap().len() as usize;
    for at in 0..len {
        dir.damage("state", |bytes| bytes[at] ^= 4).unwrap();
        let read = read_file(&dir, "state");
        assert!(
            matches!(read, Err(SmallFileError::Damaged { .. })),
            "byte {at}: {read:?}"
        );
        dir.damage("state", |bytes| bytes[at] ^= 4).unwrap();
    }
    assert_eq!(read_file(&dir, "state").unwrap().unwrap(), b"payload");
}

#[test]
fn a_file_that_is_too_short_is_an_error() {
    let dir = MemDir::new();
    dir.create("state", 10).unwrap();
    assert!(matches!(
        read_file(&dir, "state"),
        Err(SmallFileError::Damaged { .. })
    ));
}
