//! A directory whose writes and syncs are measured. Everything else passes through.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Dir, File, Job, Space, Steps, SyncDone};
use crate::clock::monotonic;
use crate::log::segment::{is_dead, is_segment};
use crate::metrics::Metrics;

/// A directory, its subdirectories and their files, measured.
#[derive(Debug)]
pub struct MeteredDir {
    inner: Arc<dyn Dir>,
    metrics: Arc<Metrics>,
}

impl MeteredDir {
    /// Measures `inner`.
    pub fn new(inner: Arc<dyn Dir>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        let metrics = Arc::clone(&self.metrics);
        Arc::new(MeteredFile { inner, metrics })
    }
}

impl Dir for MeteredDir {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>> {
        let file = self.inner.create(name, len)?;
        self.metrics.made_segments.add(u64::from(is_segment(name)));
        Ok(self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.inner.open(name).map(|file| self.file(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn disk_bytes(&self) -> io::Result<u64> {
        self.inner.disk_bytes()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)?;
        let reused = is_segment(to) && is_dead(from);
        self.metrics.reused_segments.add(u64::from(reused));
        Ok(())
    }

    fn is_in_use(&self, name: &str) -> io::Result<bool> {
        self.inner.is_in_use(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        let inner = self.inner.subdir(name)?;
        Ok(Arc::new(Self::new(inner, Arc::clone(&self.metrics))))
    }

    fn list_subdirs(&self) -> io::Result<Vec<String>> {
        self.inner.list_subdirs()
    }

    fn remove_subdir(&self, name: &str) -> io::Result<()> {
        self.inner.remove_subdir(name)
    }

    fn offload(&self, job: Job) {
        self.inner.offload(job);
    }

    fn offload_steps(&self, steps: Steps) {
        self.inner.offload_steps(steps);
    }

    fn run_beside(&self, job: Job) {
        self.inner.run_beside(job);
    }

    fn run_apart(&self, job: Job) {
        self.inner.run_apart(job);
    }

    fn space(&self) -> &Space {
        self.inner.space()
    }

    fn space_now(&self) -> &Space {
        self.inner.space_now()
    }
}

#[derive(Debug)]
struct MeteredFile {
    inner: Arc<dyn File>,
    metrics: Arc<Metrics>,
}

impl File for MeteredFile {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let began = monotonic();
        let written = self.inner.write_at(parts, position);
        self.metrics.log_write.record(began.elapsed());
        if written.is_ok() {
            let bytes: usize = parts.iter().map(|part| part.len()).sum();
            self.metrics.log_written_bytes.add(bytes as u64);
        }
        written
    }

    fn slice(&self, range: Range<u64>) -> Bytes {
        self.inner.slice(range)
    }

    fn sync(&self, done: SyncDone) {
        let (began, metrics) = (monotonic(), Arc::clone(&self.metrics));
        self.inner.sync(Box::new(move |result| {
            metrics.log_sync.record(began.elapsed());
            if result.is_err() {
                metrics.log_sync_errors.add(1);
            }
            done(result);
        }));
    }

    fn sync_now(&self) -> io::Result<()> {
        let began = monotonic();
        let synced = self.inner.sync_now();
        self.metrics.log_sync.record(began.elapsed());
        if synced.is_err() {
            self.metrics.log_sync_errors.add(1);
        }
        synced
    }

    fn give_back(&self, position: u64) -> io::Result<()> {
        self.inner.give_back(position)
    }

    fn disk_bytes(&self) -> io::Result<u64> {
        self.inner.disk_bytes()
    }

    fn make_resident(&self, range: Range<u64>) -> io::Result<()> {
        self.inner.make_resident(range)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::log::MemDir;

    #[test]
    fn writes_and_syncs_are_measured_in_subdirectories_too() {
        let metrics = Arc::new(Metrics::new([]));
        let dir = MeteredDir::new(Arc::new(MemDir::new()), Arc::clone(&metrics));
        let file = dir.subdir("below").unwrap().create("f", 100).unwrap();
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b"cde")];
        file.write_at(&parts, 10).unwrap();
        assert_eq!(&file.slice(10..15)[..], b"abcde");
        assert!(file.write_at(&parts, 99).is_err());
        file.sync_now().unwrap();
        let (done, synced) = mpsc::channel();
        file.sync(Box::new(move |result| done.send(result.is_ok()).unwrap()));
        assert!(synced.recv().unwrap());
        assert_eq!(metrics.log_write.count(), 2);
        assert_eq!(metrics.log_written_bytes.get(), 5);
        assert_eq!(metrics.log_sync.count(), 2);
        assert_eq!(metrics.log_sync_errors.get(), 0);
    }
}
