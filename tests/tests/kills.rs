//! The leader is killed again and again under a steady load: how soon acknowledgements go on, and that
//! nothing is lost, repeated or reordered.
//!
//! `HIGHWATER_KILLS` is the number of kills, 2 without it; docs/testing.md has the long form.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and shows its figures"
)]

use std::time::{Duration, Instant};

use highwater_tests::{Cluster, Load, figure, long_form, may_take, program};

const RATE: u32 = 10_000;
/// At the 99th percentile, which of a few kills is the worst; without optimisation the shortest.
const BACK: Duration = may_take(Duration::from_millis(1_500), Duration::from_secs(5));
const FEW: u64 = 2;

#[test]
fn acknowledgements_go_on_after_each_kill_of_the_leader_and_nothing_is_lost() {
    let kills = long_form("HIGHWATER_KILLS", FEW);
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "t", "-p", "1", "-r", "3"])
        .ok();
    cluster.until_healthy();
    let mut load = Load::start(&cluster.addresses(), "t", RATE);
    let mut killed = Vec::new();
    for _ in 0..kills {
        load.until_acknowledged(u64::from(RATE), Instant::now());
        let leader = cluster.leader_of("t", 0);
        let at = Instant::now();
        cluster.brokers[leader].kill();
        killed.push(load.until_acknowledged(u64::from(RATE), at));
        cluster.brokers[leader].restart();
        cluster.until_healthy();
    }
    let outcome = load.end();
    assert_eq!(outcome.errors, Vec::<String>::new());
    let mut back: Vec<_> = killed.iter().map(|kill| outcome.back_after(kill)).collect();
    back.sort_unstable();
    let at = |percent: usize| back[(back.len() * percent).div_ceil(100).max(1) - 1];
    figure(&format!(
        "{kills} kills, {} records: first acknowledgement after p50 {:?}, p99 {:?}, at most {:?}",
        outcome.sent,
        at(50),
        at(99),
        at(100)
    ));
    // What a busy machine does beside, also after the leader was replaced, only adds to a silence: there the
    // shortest counts.
    let silences = killed.iter().map(|kill| outcome.silence(kill));
    let counted = match cfg!(debug_assertions) {
        true => silences.min().unwrap(),
        false => at(99),
    };
    assert!(counted < BACK, "{counted:?}: {back:?}");
}
