//! Zig-zag varints: small numbers of either sign in few bytes, seven bits a byte, low bits first.

/// The most bytes of a 32-bit varint.
pub(super) const MAX_VARINT: usize = 5;

/// The most bytes of a 64-bit varint.
pub(super) const MAX_VARLONG: usize = 10;

/// Interleaves the signs: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Undoes [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// [`unzigzag`] for 32 bits.
pub(super) fn unzigzag32(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// How many bytes `value` takes. A 32-bit number takes the same as a varint of either width.
pub(super) fn encoded_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    match bits {
        0..=7 => 1,
        8..=14 => 2,
        15..=21 => 3,
        _ => usize::try_from(bits.div_ceil(7)).unwrap_or(MAX_VARLONG),
    }
}

/// Appends `value`. A 32-bit number is the same bytes as a varint of either width.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        let [low, ..] = rest.to_le_bytes();
        out.push(low | 0x80);
        rest >>= 7;
    }
    let [low, ..] = rest.to_le_bytes();
    out.push(low);
}

/// [`encoded_len`] of a length in memory.
#[inline]
pub(super) fn len_of_len(len: usize) -> usize {
    encoded_len(i64::try_from(len).unwrap_or(i64::MAX))
}

/// [`put`] for a length in memory.
#[inline]
pub(super) fn put_len(out: &mut Vec<u8>, len: usize) {
    put(out, i64::try_from(len).unwrap_or(i64::MAX));
}

/// The lengths and small numbers in front of a record's bytes, gathered where the compiler can keep
/// them in registers, and appended with one copy of fixed size.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Head {
    /// What it holds at most: more than a varlong and four varints. Also the room beyond its own that
    /// [`Head::move_to`] needs in order not to grow the buffer.
    pub(super) const CAPACITY: usize = 32;

    /// [`put`] into the head. What it holds then is at most its capacity.
    #[inline]
    pub(super) fn put(&mut self, value: i64) {
        let mut rest = zigzag(value);
        while rest >= 0x80 {
            let [low, ..] = rest.to_le_bytes();
            self.push(low | 0x80);
            rest >>= 7;
        }
        let [low, ..] = rest.to_le_bytes();
        self.push(low);
    }

    /// [`put_len`] into the head.
    #[inline]
    pub(super) fn put_len(&mut self, len: usize) {
        self.put(i64::try_from(len).unwrap_or(i64::MAX));
    }

    /// Appends everything to `out` and begins anew.
    #[inline]
    pub(super) fn move_to(&mut self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
        self.len = 0;
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        // Never beyond the end; the compiler would check each time.
        self.bytes[self.len % Self::CAPACITY] = byte;
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zigzag_interleaves_the_signs() {
        for (value, coded) in [
            (0, 0),
            (-1, 1),
            (1, 2),
            (-2, 3),
            (i64::MAX, u64::MAX - 1),
            (i64::MIN, u64::MAX),
        ] {
            assert_eq!(zigzag(value), coded);
            assert_eq!(unzigzag(coded), value);
        }
        assert_eq!(unzigzag32(u32::MAX), i32::MIN);
        assert_eq!(unzigzag32(u32::MAX - 1), i32::MAX);
    }

    #[test]
    fn the_length_told_is_the_length_written() {
        let powers =
            (0..63).flat_map(|bit| [(1_i64 << bit) - 1, 1 << bit, -(1 << bit), -(1 << bit) - 1]);
        for value in powers.chain([i64::MAX, i64::MIN]) {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out.len(), encoded_len(value), "{value}");
            let (mut head, mut same) = (Head::default(), vec![7]);
            head.put(value);
            head.move_to(&mut same);
            assert_eq!((same[0], &same[1..]), (7, &out[..]));
            assert!(out.len() <= MAX_VARLONG);
            assert!(i32::try_from(value).is_err() || out.len() <= MAX_VARINT);
        }
    }
}
