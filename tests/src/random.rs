//! Choices that a seed repeats.

/// The seed of this run: `HIGHWATER_SEED`, or one that the clock gives. A test that uses it says which
/// it was.
///
/// # Panics
///
/// When `HIGHWATER_SEED` is no number.
#[must_use]
pub fn seed() -> u64 {
    if let Ok(given) = std::env::var("HIGHWATER_SEED") {
        return given.parse().expect("HIGHWATER_SEED is a number");
    }
    let time = std::time::UNIX_EPOCH.elapsed();
    time.map_or(0, |time| u64::from(time.subsec_nanos()))
}

/// Numbers that look random and follow from a seed.
#[derive(Debug, Clone, Copy)]
pub struct Random(pub u64);

impl Random {
    /// The next one, of 40 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 24
    }

    /// The next one, below `limit`.
    ///
    /// # Panics
    ///
    /// When `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit
    }
}
