//! Micro-benchmarks of Highwater.

/// The middle and the 90th percentile of times in nanoseconds, for people: the middle is what the
/// code costs, on a busy machine too.
pub fn median(mut times: Vec<u128>) -> String {
    times.sort_unstable();
    let at = |part: usize| {
        times
            .get(times.len() * part / 10)
            .copied()
            .unwrap_or_default()
    };
    format!("p50 {} ns, p90 {} ns", at(5), at(9))
}
