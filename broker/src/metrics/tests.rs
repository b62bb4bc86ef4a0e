use std::sync::Arc;
use std::time::Duration;

use super::*;

fn page(gauges: Gauges) -> String {
    let metrics = Metrics::new(["LogService/Fetch"]);
    metrics.produce_commit.record(Duration::from_millis(3));
    metrics.produced.add(100, 4_000);
    metrics.produce_error(Reason::QuorumLost);
    let method = metrics.requests.method("/highwater.v1.LogService/Fetch");
    metrics.requests.count(method, 0);
    metrics.clients.accept();
    metrics.clients.accept();
    metrics.clients.close();
    render(&Arc::new(metrics), gauges)
}

fn everything() -> Gauges {
    let partition = PartitionGauges {
        topic: "orders".to_owned(),
        partition: 3,
        high_watermark: 77,
        ..PartitionGauges::default()
    };
    Gauges {
        broker: 2,
        cluster: "c".to_owned(),
        brokers_down: 1,
        clock_offset_ms: -86_400_500,
        clock_skew_ms: 250,
        disk: Some((5, 10)),
        disk_full: true,
        files: Some((30, 65_536)),
        memory: Some(1 << 20),
        each: vec![partition],
        ..Gauges::default()
    }
}

#[test]
fn the_page_has_what_was_counted() {
    let page = page(everything());
    for line in [
        "# TYPE highwater_produce_commit_seconds histogram",
        "# UNIT highwater_produce_commit_seconds seconds",
        "# UNIT highwater_produced_bytes bytes",
        "# UNIT highwater_disk_free_bytes bytes",
        "highwater_produce_commit_seconds_bucket{le=\"0.0025\"} 0",
        "highwater_produce_commit_seconds_bucket{le=\"0.005\"} 1",
        "highwater_produce_commit_seconds_bucket{le=\"+Inf\"} 1",
        "highwater_produce_commit_seconds_count 1",
        "highwater_produced_batches_total 1",
        "highwater_produced_records_total 100",
        "highwater_produced_bytes_total 4000",
        "highwater_produce_errors_total{reason=\"QUORUM_LOST\"} 1",
        "highwater_requests_total{method=\"LogService/Fetch\",code=\"OK\"} 1",
        "highwater_connections{listener=\"client\"} 1",
        "highwater_connections_accepted_total{listener=\"client\"} 2",
        "highwater_brokers{state=\"down\"} 1",
        "# UNIT highwater_clock_offset_seconds seconds",
        "highwater_clock_offset_seconds -86400.5",
        "highwater_clock_skew_seconds 0.25",
        "highwater_disk_free_bytes 5",
        "highwater_disk_full 1",
        "highwater_partition_high_watermark{topic=\"orders\",partition=\"3\"} 77",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "no {line} in\n{page}"
        );
    }
    assert!(page.ends_with("# EOF\n"));
    assert!(page.contains("broker=\"2\",cluster=\"c\"} 1\n"), "{page}");
}

#[test]
fn partitions_have_no_series_of_their_own_unless_asked_for() {
    assert!(!page(Gauges::default()).contains("highwater_partition_"));
}

#[test]
fn the_manual_has_every_metric() {
    let manual = include_str!("../../../docs/operations.md");
    let page = page(everything());
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for name_and_type in names {
        let (name, kind) = name_and_type.split_once(' ').unwrap();
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        assert!(
            manual.contains(&format!("| `{name}` |")),
            "docs/operations.md: {name}"
        );
    }
}
