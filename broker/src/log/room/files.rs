//! PURE. What each file that holds entries takes on the disk.

/// The files of a log that hold entries, or are about to. A file is known from when it is taken, so
/// that what it gives back is never counted for another one, or for one that is gone.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Number and bytes, in the order of the numbers.
    each: Vec<(u32, u64)>,
    bytes: u64,
}

impl Files {
    /// What they take together.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// One more.
    pub(super) fn add(&mut self, number: u32, bytes: u64) {
        match self.find(number) {
            Ok(at) => self.each[at].1 = bytes,
            Err(at) => self.each.insert(at, (number, bytes)),
        }
        self.sum();
    }

    /// Only these are left. Of those that are known already it is known better what they take: they
    /// may have given something back since `files` were looked at.
    pub(super) fn keep(&mut self, files: impl Iterator<Item = (u32, u64)>) {
        let known = |(number, bytes)| {
            let found = self.find(number);
            (number, found.map_or(bytes, |at| self.each[at].1))
        };
        let mut kept: Vec<(u32, u64)> = files.map(known).collect();
        kept.sort_unstable_by_key(|(number, _)| *number);
        self.each = kept;
        self.sum();
    }

    /// File `number` takes so much now; nothing if it is none of them any more.
    pub(super) fn settle(&mut self, number: u32, bytes: u64) {
        if let Ok(at) = self.find(number) {
            self.each[at].1 = bytes;
            self.sum();
        }
    }

    fn find(&self, number: u32) -> Result<usize, usize> {
        self.each
            .binary_search_by_key(&number, |(number, _)| *number)
    }

    fn sum(&mut self) {
        self.bytes = self.each.iter().map(|(_, bytes)| bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_gives_back_counts_once_and_only_while_it_is_there() {
        let mut files = Files::default();
        files.add(1, 100);
        files.add(2, 200);
        files.settle(1, 60);
        assert_eq!(files.bytes(), 260);
        // Looked at before it gave back, and told after.
        files.keep([(1, 100), (2, 200), (3, 400)].into_iter());
        assert_eq!(files.bytes(), 660);
        files.keep([(3, 400)].into_iter());
        files.settle(2, 50);
        assert_eq!(files.bytes(), 400);
    }
}
