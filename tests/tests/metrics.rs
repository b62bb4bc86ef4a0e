//! `/metrics`: what a broker says it did is what it did, also while it does it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use highwater_tests::{Broker, Cluster, Metrics, input, program};

const RECORDS: usize = 20_000;
const ROUNDS: usize = 4;
const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn assert_adds_up(metrics: &Metrics, histogram: &str) {
    let buckets = metrics.buckets(histogram);
    assert!(
        buckets.len() > 10 && buckets.is_sorted(),
        "{histogram}: {buckets:?}"
    );
    let count = metrics.value(&format!("{histogram}_count"));
    assert_eq!(buckets.last(), Some(&count), "{histogram}");
}

#[test]
fn what_was_produced_and_fetched_is_what_the_metrics_say() {
    // A producer that waits for an answer for long sends again, and what its session was not told of is
    // no longer counted as produced: the first of some rounds in which no machine stood still counts.
    for round in 1..=ROUNDS {
        let (before, after) = around_a_load();
        let repeated = after.count("highwater_produce_duplicate_batches_total");
        if repeated == 0 || round == ROUNDS {
            assert_records_add_up(&after);
            assert_never_fall(&before, &after);
            return;
        }
    }
}

/// The metrics before everything was produced and fetched, and after it.
#[track_caller]
fn around_a_load() -> (Metrics, Metrics) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&program!(), dir.path(), &[]);
    broker.run(&["topic", "create", "t", "-p", "3"]).ok();
    let before = Metrics::of(broker.http());
    for name in ["produced", "fetched"] {
        assert_eq!(before.count(&format!("highwater_{name}_records_total")), 0);
    }

    let text = input::changes(RECORDS);
    let (first, second) = text.split_at(text.match_indices('\n').nth(RECORDS / 2).unwrap().0 + 1);
    let produce = [
        "produce",
        "t",
        "-f",
        "json",
        "--key-field",
        "path",
        "-o",
        "jsonl",
    ];
    let mut producing = broker.run(&produce).converse();
    producing.write(first);
    producing.read(RECORDS / 4);
    let under_load = Metrics::of(broker.http());
    assert!(under_load.count("highwater_produced_records_total") >= RECORDS as u64 / 4);
    assert!(under_load.count("highwater_connections{listener=\"client\"}") >= 1);
    producing.write(second);
    producing.end_input();
    producing.end().exited(0);
    let consume = ["consume", "t", "--from", "start", "--exit-at-end"];
    assert_eq!(broker.run(&consume).ok().lines().len(), RECORDS);

    (before, Metrics::of(broker.http()))
}

/// Everything that was produced was fetched once, and each batch went through each phase once.
#[track_caller]
fn assert_records_add_up(after: &Metrics) {
    let batches = after.count("highwater_produced_batches_total");
    assert!(batches > 0);
    for direction in ["produced", "fetched"] {
        let count = |what: &str| after.count(&format!("highwater_{direction}_{what}_total"));
        assert_eq!(count("records"), RECORDS as u64, "{direction}");
        assert_eq!(count("batches"), batches, "{direction}");
        // Batches have headers, and may be compressed.
        assert!(count("bytes") > 61 * batches, "{direction}");
    }
    let (produced, fetched) = (
        "highwater_produced_bytes_total",
        "highwater_fetched_bytes_total",
    );
    assert_eq!(after.count(produced), after.count(fetched));
    assert!(after.count("highwater_log_written_bytes_total") > after.count(produced));
    assert_eq!(
        after.count("highwater_produce_queue_seconds_count"),
        batches
    );
    assert_eq!(
        after.count("highwater_produce_commit_seconds_count"),
        batches
    );
    for phase in [
        "produce_queue",
        "produce_commit",
        "fetch",
        "log_write",
        "log_sync",
    ] {
        assert_adds_up(after, &format!("highwater_{phase}_seconds"));
        assert!(
            after.value(&format!("highwater_{phase}_seconds_sum")) > 0.0,
            "{phase}"
        );
    }
    assert_eq!(after.count("highwater_log_sync_errors_total"), 0);
}

#[track_caller]
fn assert_never_fall(before: &Metrics, after: &Metrics) {
    for name in before
        .names()
        .filter(|name| before.type_of(name) == Some("counter"))
    {
        let series = format!("{name}_total");
        if before.has(&series) {
            assert!(
                after.value(&series) >= before.value(&series),
                "{name} never falls"
            );
        }
    }
}

#[track_caller]
fn assert_declared(metrics: &Metrics) {
    for name in metrics.names() {
        assert!(name.starts_with("highwater_"), "{name}");
    }
    for (name, unit) in [
        ("highwater_replicate_seconds", Some("seconds")),
        ("highwater_produced_bytes", Some("bytes")),
        ("highwater_disk_free_bytes", Some("bytes")),
        ("highwater_replicas", None),
    ] {
        assert_eq!(metrics.unit_of(name), unit, "{name}");
    }
    for (name, kind) in [
        ("highwater_produce_commit_seconds", "histogram"),
        ("highwater_produced_records", "counter"),
        ("highwater_partitions_led", "gauge"),
        ("highwater_build", "info"),
    ] {
        assert_eq!(metrics.type_of(name), Some(kind), "{name}");
    }
}

const SESSION: &str = "highwater_requests_total{method=\"LogService/ProduceSession\",code=\"OK\"}";

/// The metrics when the broker has seen the end of a session, which is counted then.
#[track_caller]
fn after_the_session(broker: &Broker) -> Metrics {
    let deadline = Instant::now() + LIMIT;
    loop {
        let metrics = Metrics::of(broker.http());
        if metrics.has(SESSION) {
            return metrics;
        }
        assert!(Instant::now() < deadline, "the session does not end");
    }
}

#[test]
fn metrics_have_names_and_types_and_tell_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let each = ["--set", "metrics_per_partition=true"];
    let broker = Broker::start(&program!(), dir.path(), &each);
    broker.run(&["topic", "create", "orders", "-p", "2"]).ok();
    broker
        .run(&["produce", "orders", "-p", "1"])
        .stdin("a\nb\n")
        .ok();
    broker
        .run(&["topic", "describe", "missing"])
        .end()
        .exited(3);
    let metrics = after_the_session(&broker);
    assert_declared(&metrics);
    for (series, value) in [
        ("highwater_ready", 1.0),
        ("highwater_controller", 1.0),
        ("highwater_brokers{state=\"up\"}", 1.0),
        ("highwater_brokers{state=\"down\"}", 0.0),
        ("highwater_topics", 1.0),
        ("highwater_partitions", 2.0),
        ("highwater_partitions_led", 2.0),
        ("highwater_partitions_leaderless", 0.0),
        ("highwater_partitions_under_replicated", 0.0),
        ("highwater_replicas", 2.0),
        ("highwater_replicas_out", 0.0),
        ("highwater_leaderships_total", 3.0),
        // There is nobody to replicate to.
        ("highwater_replicate_seconds_count", 0.0),
        ("highwater_log_reused_segments_total", 0.0),
        (
            "highwater_requests_total{method=\"TopicService/CreateTopic\",code=\"OK\"}",
            1.0,
        ),
        (SESSION, 1.0),
        (
            "highwater_partition_high_watermark{topic=\"orders\",partition=\"0\"}",
            0.0,
        ),
        (
            "highwater_partition_high_watermark{topic=\"orders\",partition=\"1\"}",
            2.0,
        ),
        (
            "highwater_partition_in_sync_replicas{topic=\"orders\",partition=\"1\"}",
            1.0,
        ),
    ] {
        assert_eq!(metrics.value(series), value, "{series}");
    }
    // The log of the metadata and two of partitions.
    assert!(metrics.count("highwater_log_made_segments_total") >= 3);
    assert!(metrics.has("highwater_log_ready_segments"));
    let missing =
        "highwater_requests_total{method=\"TopicService/DescribeTopic\",code=\"NOT_FOUND\"}";
    assert_eq!(metrics.value(missing), 1.0);
    for machine in ["disk_free_bytes", "open_files", "memory_bytes"] {
        assert!(
            metrics.value(&format!("highwater_{machine}")) > 0.0,
            "{machine}"
        );
    }
}

#[test]
fn the_loss_of_a_broker_shows_and_passes() {
    let mut cluster = Cluster::start(&program!(), 3);
    cluster
        .run(&["topic", "create", "t", "-p", "6", "-r", "3"])
        .ok();
    cluster.until_healthy();
    let before = replicated(&cluster);
    cluster.run(&["produce", "t"]).stdin("a\nb\n").ok();
    // An acknowledgement means that a follower had it, whoever leads.
    assert!(replicated(&cluster) > before);
    until(&cluster, 0..3, (0, 0, 0, 6));
    cluster.brokers[2].kill();
    until(&cluster, 0..2, (6, 0, 2, 6));
    let restarted = cluster.brokers[2].relaunch().until_ready();
    cluster.brokers[2] = restarted;
    until(&cluster, 0..3, (0, 0, 0, 6));
}

/// How many requests with entries followers have answered, all leaders summed up.
fn replicated(cluster: &Cluster) -> u64 {
    let brokers = cluster.brokers.iter();
    let metrics = brokers.map(|broker| Metrics::of(broker.http()));
    metrics
        .map(|metrics| {
            assert_adds_up(&metrics, "highwater_replicate_seconds");
            metrics.count("highwater_replicate_seconds_count")
        })
        .sum()
}

/// Under-replicated, leaderless and led partitions, and brokers that are down, as the brokers see
/// them: (under-replicated, leaderless, down, led), each summed up.
type State = (u64, u64, u64, u64);

fn state(cluster: &Cluster, brokers: std::ops::Range<usize>) -> State {
    let looks = cluster.brokers[brokers].iter().map(|broker| {
        let now = Metrics::of(broker.http());
        (
            now.count("highwater_partitions_under_replicated"),
            now.count("highwater_partitions_leaderless"),
            now.count("highwater_brokers{state=\"down\"}"),
            now.count("highwater_partitions_led"),
        )
    });
    looks.fold((0, 0, 0, 0), |a, b| {
        (a.0 + b.0, a.1 + b.1, a.2 + b.2, a.3 + b.3)
    })
}

#[track_caller]
fn until(cluster: &Cluster, brokers: std::ops::Range<usize>, wanted: State) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let now = state(cluster, brokers.clone());
        if now == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{now:?}, not {wanted:?}");
        // A look at the health takes its time.
        cluster.run(&["cluster", "health"]).end();
    }
}
