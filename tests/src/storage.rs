//! What a broker keeps on the disk of a partition.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use crate::broker::Broker;

/// The directory of a partition's replica on a broker, by the topic's id.
#[track_caller]
pub fn partition_dir(broker: &Broker, topic_id: &str, partition: u32) -> PathBuf {
    let groups = broker.data_dir().join("groups");
    let prefix = format!("{topic_id}-{partition}.");
    let entries = std::fs::read_dir(&groups).expect("a broker has groups");
    let mut paths = entries.map(|entry| entry.expect("a directory can be listed").path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&prefix))
    };
    paths.find(ours).expect("the partition is on this broker")
}

/// The names of the files in a directory, in order, with the bytes that each takes on the disk.
/// One that goes away meanwhile is left out.
pub fn files(dir: &PathBuf) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let file = |entry: std::fs::DirEntry| {
        let blocks = entry.metadata().ok()?.blocks();
        Some((entry.file_name().into_string().ok()?, blocks * 512))
    };
    let mut files: Vec<_> = entries.filter_map(file).collect();
    files.sort();
    files
}

/// The bytes that the files in a directory take on the disk.
pub fn disk_bytes(dir: &PathBuf) -> u64 {
    files(dir).iter().map(|(_, bytes)| bytes).sum()
}

/// The names of the segment files in a directory, oldest first.
pub fn segments(dir: &PathBuf) -> Vec<String> {
    let names = files(dir).into_iter().map(|(name, _)| name);
    names.filter(|name| name.ends_with(".seg")).collect()
}

/// How many segment files in a directory say that they were other ones before.
pub fn recycled(dir: &PathBuf) -> usize {
    /// Where the header of a segment file says so.
    const REUSED_AT: u64 = 152;
    let is_recycled = |name: &String| {
        let mut flag = [0];
        let file = std::fs::File::open(dir.join(name));
        let read = file.and_then(|file| file.read_exact_at(&mut flag, REUSED_AT));
        read.is_ok() && flag == [1]
    };
    segments(dir)
        .iter()
        .filter(|name| is_recycled(name))
        .count()
}
