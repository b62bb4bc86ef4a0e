//! Writes `proto/promises.txt`, what the `.proto` files promise from now on:
//! `cargo run -p highwater-tests --example proto_promises`

use std::path::Path;

use prost::Message;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let set = FileDescriptorSet::decode(highwater_proto::pb::DESCRIPTORS)?;
    let promises = highwater_tests::protos::promises(&set);
    let lines: Vec<String> = promises.into_iter().map(|line| line + "\n").collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/promises.txt");
    Ok(std::fs::write(path, lines.concat())?)
}
