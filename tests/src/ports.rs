//! Ports that a broker can come back to: below those that the system gives to outgoing connections,
//! which would otherwise take the port of a broker while it is down.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const LAST: u32 = 32_000;
const RANGE: u32 = LAST - FIRST;

/// The first of `count` ports in a row that nobody listens on.
///
/// # Panics
///
/// When there are none.
pub fn in_a_row(count: u16) -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..RANGE / u32::from(count) {
        let taken = TAKEN.fetch_add(u32::from(count), Ordering::Relaxed);
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        match behind(std::process::id(), taken, count) {
            Some(first) if (first..first + count).all(free) => return first,
            _ => {}
        }
    }
    panic!("there are no {count} free ports in a row from {FIRST} to {LAST}");
}

/// The first of `count` ports in a row, behind as many as this process has taken; `None` where they would go
/// beyond the last. Processes begin at different places; one begins at the same, however many it takes at once.
fn behind(process: u32, taken: u32, count: u16) -> Option<u16> {
    let offset = process.wrapping_mul(397).wrapping_add(taken) % RANGE;
    let fits = offset + u32::from(count) <= RANGE;
    let first = u16::try_from(FIRST + offset).expect("the range is one of ports");
    fits.then_some(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_given_once_and_can_be_bound() {
        let (one, other) = (in_a_row(3), in_a_row(3));
        assert!(one + 3 <= other || other + 3 <= one);
        let _bound = TcpListener::bind(("127.0.0.1", other + 2)).unwrap();
    }

    #[test]
    fn rows_of_different_lengths_never_overlap() {
        for process in [1, 55, 56, 4_711, 99_999, 4_194_303] {
            let (mut taken, mut given) = (0, BTreeSet::new());
            for count in [3, 1].into_iter().cycle().take(10_000) {
                if let Some(first) = behind(process, taken, count) {
                    let row = first..first + count;
                    assert!(u32::from(row.end) <= LAST, "{row:?}");
                    for port in row {
                        assert!(given.insert(port), "{port} is given again by {process}");
                    }
                }
                taken += u32::from(count);
            }
        }
    }
}
