//! Randomness, the only place that draws it. It makes ids; nothing else depends on it.

use uuid::Uuid;

/// A fresh random number.
pub fn random_u32() -> u32 {
    let [a, b, c, d, ..] = random();
    u32::from_be_bytes([a, b, c, d])
}

/// Sixteen fresh random bytes.
pub fn random() -> [u8; 16] {
    *Uuid::new_v4().as_bytes()
}
