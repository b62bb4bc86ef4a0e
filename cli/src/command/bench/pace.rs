//! When records are due. A fixed rate is an open loop: the times are set before the run, and
//! nothing that the cluster does moves them, so that a stall counts for every record it delays.

use std::time::{Duration, Instant};

/// The times of one client's records: every `clients`th of a common sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    rate: u64,
    clients: u64,
    client: u64,
}

impl Pace {
    /// `rate` records a second over all `clients`, of which this is number `client`.
    pub(super) fn new(rate: u64, clients: u32, client: u32) -> Self {
        Self {
            rate: rate.max(1),
            clients: u64::from(clients.max(1)),
            client: u64::from(client),
        }
    }

    /// When the client's record `number` is due, in nanoseconds since the begin.
    pub(super) fn time_of(&self, number: u64) -> u64 {
        let number = u128::from(number) * u128::from(self.clients) + u128::from(self.client);
        let nanos = number * 1_000_000_000 / u128::from(self.rate);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// How many of the client's records are due at `nanos` since the begin.
    pub(super) fn due(&self, nanos: u64) -> u64 {
        // The record `number` is due when number / rate <= nanos, rounded down.
        let limit = (u128::from(nanos) + 1) * u128::from(self.rate);
        let numbers = limit.div_ceil(1_000_000_000);
        let ours = numbers.saturating_sub(u128::from(self.client));
        u64::try_from(ours.div_ceil(u128::from(self.clients))).unwrap_or(u64::MAX)
    }
}

/// Blocks the thread until `nanos` after `begin`. For threads of their own alone: timers of the
/// runtime are too coarse to pace by.
pub(super) fn wait_until(begin: Instant, nanos: u64) {
    let due = begin + Duration::from_nanos(nanos);
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_evenly_spaced_and_shared_among_clients() {
        let paces: Vec<Pace> = (0..4).map(|client| Pace::new(1_000, 4, client)).collect();
        let mut times: Vec<u64> = Vec::new();
        for pace in &paces {
            times.extend((0..25).map(|number| pace.time_of(number)));
        }
        times.sort_unstable();
        let even: Vec<u64> = (0..100).map(|number| number * 1_000_000).collect();
        assert_eq!(times, even);
    }

    #[test]
    fn what_is_due_is_what_has_its_time_behind_it() {
        for (rate, clients) in [(1, 1), (3, 2), (50_000, 1), (999_999_937, 5), (7, 7)] {
            for client in 0..clients {
                let pace = Pace::new(rate, clients, client);
                for number in [0, 1, 2, 10, 99_999] {
                    let time = pace.time_of(number);
                    assert!(pace.due(time) > number, "{pace:?} {number}");
                    if time > 0 {
                        assert!(pace.due(time - 1) <= number, "{pace:?} {number}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_late_client_finds_everything_due_that_it_missed() {
        let pace = Pace::new(50_000, 1, 0);
        assert_eq!(pace.due(0), 1);
        assert_eq!(pace.due(1_000_000_000), 50_001);
    }

    #[test]
    fn waiting_ends_no_earlier_than_asked() {
        let begin = Instant::now();
        wait_until(begin, 2_000_000);
        assert!(begin.elapsed() >= Duration::from_millis(2));
        wait_until(begin, 0);
    }
}
