//! Randomness, the only place that draws it. It makes ids; nothing else depends on it.

use uuid::Uuid;

/// Sixteen fresh random bytes.
pub fn random() -> [u8; 16] {
    *Uuid::new_v4().as_bytes()
}
