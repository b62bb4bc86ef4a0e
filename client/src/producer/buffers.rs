//! The memory of batches that are done, for those to come. The allocator would give it back to the
//! kernel whenever a producer is idle for a moment, and touching new pages costs more than encoding.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// At most so many are kept.
const KEPT: usize = 16;
/// A smaller one costs less to allocate than to keep.
const SMALLEST: usize = 32 << 10;

/// Buffers that are not in use.
#[derive(Debug)]
pub(crate) struct Buffers {
    most: usize,
    // guards: the buffers; held to push or pop one.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    /// What they take together.
    bytes: usize,
    /// What was last asked for: less is of no use, as where batches are compressed, of which only the
    /// smaller buffer with the outcome comes back.
    wanted: usize,
}

impl Buffers {
    /// Keeps at most `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// An empty buffer with room for `capacity` bytes.
    pub(crate) fn take(&self, capacity: usize) -> Vec<u8> {
        let kept = match capacity {
            SMALLEST.. => self.lock().take(capacity),
            _ => None,
        };
        let fits = kept.filter(|buffer| buffer.capacity() >= capacity);
        fits.unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    /// Keeps the memory of `batch` if nobody else has it.
    pub(crate) fn give(&self, batch: Bytes) {
        if batch.len() < SMALLEST {
            return;
        }
        if let Ok(mut buffer) = batch.try_into_mut() {
            buffer.clear();
            let buffer = Vec::from(buffer);
            let mut kept = self.lock();
            let fits = kept.bytes + buffer.capacity() <= self.most && kept.buffers.len() < KEPT;
            if fits && buffer.capacity() >= kept.wanted {
                kept.bytes += buffer.capacity();
                kept.buffers.push(buffer);
            }
        }
    }

    // No code panics while it holds the lock, so the list is whole.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, wanted: usize) -> Option<Vec<u8>> {
        self.wanted = wanted;
        let buffer = self.buffers.pop()?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(capacity: usize, len: usize) -> Bytes {
        let mut buffer = Vec::with_capacity(capacity);
        buffer.resize(len, 7);
        Bytes::from(buffer)
    }

    #[test]
    fn the_memory_of_a_batch_that_is_done_is_that_of_the_next() {
        let buffers = Buffers::new(1 << 20);
        let batch = batch(300_000, 200_000);
        let address = batch.as_ptr();
        buffers.give(batch);
        let next = buffers.take(300_000);
        assert_eq!((next.as_ptr(), next.len()), (address, 0));
        assert!(next.capacity() >= 300_000);
        let another = buffers.take(300_000);
        assert_ne!(another.as_ptr(), address);
    }

    #[test]
    fn what_somebody_else_has_or_is_too_small_is_not_used() {
        let buffers = Buffers::new(1 << 20);
        let shared = batch(200_000, 200_000);
        buffers.give(shared.clone());
        assert!(buffers.lock().buffers.is_empty());
        buffers.give(batch(SMALLEST, SMALLEST - 1));
        assert!(buffers.lock().buffers.is_empty());
        buffers.give(shared);
        assert!(buffers.take(300_000).capacity() >= 300_000);
    }

    #[test]
    fn no_more_than_some_are_kept() {
        let buffers = Buffers::new(usize::MAX);
        for _ in 0..2 * KEPT {
            buffers.give(batch(SMALLEST, SMALLEST));
        }
        assert_eq!(buffers.lock().buffers.len(), KEPT);
    }

    #[test]
    fn no_more_bytes_are_kept_than_may_be() {
        let buffers = Buffers::new(1 << 20);
        for _ in 0..10 {
            buffers.give(batch(300_000, SMALLEST));
        }
        let bytes = || buffers.lock().bytes;
        let full = bytes();
        assert!(full > 700_000 && full <= 1 << 20, "{full} bytes");
        let taken = [(); 4].map(|()| buffers.take(300_000));
        assert_eq!(bytes(), 0);
        for buffer in taken {
            buffers.give(batch(buffer.capacity(), SMALLEST));
        }
        assert_eq!(bytes(), full);
    }

    #[test]
    fn what_is_too_small_for_what_is_asked_for_is_not_kept() {
        let buffers = Buffers::new(1 << 20);
        drop(buffers.take(300_000));
        buffers.give(batch(150_000, 140_000));
        assert!(buffers.lock().buffers.is_empty(), "a compressed batch");
        buffers.give(batch(300_000, 140_000));
        assert_eq!(buffers.lock().buffers.len(), 1);
    }
}
