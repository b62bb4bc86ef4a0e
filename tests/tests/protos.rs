//! The published `.proto` files: changes that would break whoever has generated code from them are
//! refused, and names and comments are as tools expect them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use highwater_tests::protos::{broken, lint, promises};
use prost::Message;
use prost_types::FileDescriptorSet;

fn current() -> FileDescriptorSet {
    FileDescriptorSet::decode(highwater_proto::pb::DESCRIPTORS).unwrap()
}

/// What `proto/promises.txt` says.
fn baseline() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/promises.txt");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn nothing_that_was_promised_is_taken_back() {
    let broken = broken(&baseline(), &promises(&current()));
    assert!(
        broken.is_empty(),
        "these promises of proto/promises.txt are broken:\n  {}\nGenerated clients and brokers of the \
         last version rely on them. Add a field, value or call beside the old one instead, and reserve \
         the number of a field that goes away only with a new version of the package. If it was never \
         released, say so in the commit and write the baseline anew: cargo run -p highwater-tests \
         --example proto_promises",
        broken.join("\n  ")
    );
}

/// What the baseline does not know could be taken back unnoticed.
#[test]
fn everything_that_is_public_is_promised() {
    let unpromised = broken(&promises(&current()), &baseline());
    assert!(
        unpromised.is_empty(),
        "proto/promises.txt lacks:\n  {}\nSee that each is meant as it is, then write the baseline \
         anew: cargo run -p highwater-tests --example proto_promises",
        unpromised.join("\n  ")
    );
}

#[test]
fn names_and_comments_are_what_tools_expect() {
    let faults = lint(&current());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
