//! Ports that a broker can come back to: below those that the system gives to outgoing connections,
//! which would otherwise take the port of a broker while it is down.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const LAST: u32 = 32_000;

/// The first of `count` ports in a row that nobody listens on.
///
/// # Panics
///
/// When there are none.
pub fn in_a_row(count: u16) -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let range = LAST - FIRST - u32::from(count);
    let begin = std::process::id().wrapping_mul(397) % range;
    for _ in 0..range / u32::from(count) {
        let offset = begin + TAKEN.fetch_add(u32::from(count), Ordering::Relaxed);
        let first = u16::try_from(FIRST + offset % range).expect("the range is one of ports");
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + count).all(free) {
            return first;
        }
    }
    panic!("there are no {count} free ports in a row from {FIRST} to {LAST}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_once_and_can_be_bound() {
        let (one, other) = (in_a_row(3), in_a_row(3));
        assert!(one + 3 <= other || other + 3 <= one);
        let _bound = TcpListener::bind(("127.0.0.1", other + 2)).unwrap();
    }
}
