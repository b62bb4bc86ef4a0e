//! Compiles the `.proto` files without a protoc on the machine and keeps the descriptor set for
//! gRPC reflection.

use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 9] = [
    "highwater/v1/record.proto",
    "highwater/v1/errors.proto",
    "highwater/v1/log.proto",
    "highwater/v1/topic.proto",
    "highwater/v1/cluster.proto",
    "highwater/peer/v1/peer.proto",
    "highwater/peer/v1/raft.proto",
    "highwater/peer/v1/metadata.proto",
    "highwater/peer/v1/partition_state.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("highwater.bin"), descriptors.encode_to_vec())?;
    let mut names = tonic_prost_build::Config::new();
    // By which the codec knows what it decodes.
    names.enable_type_names();
    tonic_prost_build::configure()
        .codec_path("crate::codec::Weighing")
        .bytes(".")
        // What replicas keep must encode to the same bytes on each: no maps in random order.
        .btree_map(".highwater.peer.v1")
        .compile_fds_with_config(descriptors, names)?;
    Ok(())
}
