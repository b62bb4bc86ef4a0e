//! What readers get lies in the map of its file: no copy is made between the disk and the socket.

use super::*;

fn lies_in(map: &Bytes, part: &Bytes) -> bool {
    let (map, part) = (map.as_ptr_range(), part.as_ptr_range());
    map.start <= part.start && part.end <= map.end
}

#[test]
fn what_is_read_lies_in_the_map_of_its_file() {
    let home = tempfile::tempdir().unwrap();
    let dir: Arc<dyn Dir> = Arc::new(FsDir::open(home.path(), 2).unwrap());
    let mut log = Log::open(dir, tiny()).unwrap().0;
    for index in 1..=20 {
        append_and_wait(&mut log, vec![batch_frame(index, 3, 2_500)]);
    }
    let reader = log.reader();
    let view = reader.view.load();
    let parts = view.sealed.iter().chain(&view.active);
    let maps: Vec<Bytes> = parts
        .map(|part| part.segment.file.slice(0..u64::MAX))
        .collect();
    assert!(maps.len() > 3, "full files and the one that is written to");
    let mapped = |part: &Bytes| maps.iter().filter(|map| lies_in(map, part)).count() == 1;

    let batches = reader
        .read_committed(Offset(0), Offset(60), usize::MAX)
        .unwrap();
    assert_eq!(batches.len(), 20);
    assert!(batches.iter().all(|batch| mapped(&batch.bytes)));
    let frames = all(&log);
    assert_eq!(frames.len(), 20);
    assert!(frames.iter().all(|frame| mapped(&frame.body)));
}
