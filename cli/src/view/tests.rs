use super::*;

fn topic() -> TopicView {
    TopicView {
        name: "changes".to_owned(),
        id: "7d0c".to_owned(),
        config: BTreeMap::from([("durability".to_owned(), "quorum-fsync".to_owned())]),
        partitions: vec![PartitionView {
            partition: 0,
            leader: Some(2),
            leader_epoch: 4,
            replicas: vec![1, 2, 3],
            in_sync: vec![],
            log_start_offset: Some(0),
            high_watermark: Some(12),
            disk_bytes: Some(4096),
            faults: vec![],
        }],
    }
}

#[test]
fn the_keys_of_a_description_are_the_contract() {
    let json = serde_json::to_string(&topic()).unwrap();
    let expected = concat!(
        r#"{"name":"changes","id":"7d0c","config":{"durability":"quorum-fsync"},"#,
        r#""partitions":[{"partition":0,"leader":2,"leader_epoch":4,"replicas":[1,2,3],"#,
        r#""in_sync":[],"log_start_offset":0,"high_watermark":12,"disk_bytes":4096}]}"#
    );
    assert_eq!(json, expected);
}

#[test]
fn the_keys_of_lists_are_the_contract() {
    let row = TopicRow {
        name: "t".to_owned(),
        id: "i".to_owned(),
        partition_count: 6,
        replication_factor: 3,
    };
    let expected = r#"{"name":"t","id":"i","partition_count":6,"replication_factor":3}"#;
    assert_eq!(serde_json::to_string(&row).unwrap(), expected);
    let broker = BrokerRow {
        clock_ahead_ms: 0,
        id: 1,
        listen: "l".to_owned(),
        peer: "p".to_owned(),
        http: "h".to_owned(),
        rack: String::new(),
        state: BrokerState::Up,
    };
    let expected = r#"{"id":1,"listen":"l","peer":"p","http":"h","rack":"","state":"up"}"#;
    assert_eq!(serde_json::to_string(&broker).unwrap(), expected);
}

#[test]
fn what_is_not_known_without_a_leader_is_a_dash_and_null_and_faults_are_shown() {
    let mut topic = topic();
    let text = topic.text();
    assert!(text.contains("config  durability=quorum-fsync"), "{text}");
    assert!(
        text.contains(" 12 ") && text.ends_with("0.0 MiB\n"),
        "{text}"
    );
    let mut partition = topic.partitions.remove(0);
    partition.leader = None;
    partition.log_start_offset = known(None, 0);
    partition.high_watermark = known(None, 0);
    partition.disk_bytes = known(None, 0);
    partition.faults.push(FaultView {
        broker: Some(1),
        kind: "damaged".to_owned(),
        message: "byte 7".to_owned(),
    });
    let json = serde_json::to_string(&partition).unwrap();
    let unknown = r#""log_start_offset":null,"high_watermark":null,"disk_bytes":null"#;
    assert!(json.contains(unknown), "{json}");
    assert_eq!(partition.cells()[5..], ["-", "-", "-"]);
    topic.partitions.push(partition);
    let text = topic.text();
    let fault = "\npartition 0 on broker 1 is damaged: byte 7\n";
    assert!(text.ends_with(fault), "{text}");
}

#[test]
fn a_drain_says_what_is_left_and_of_what() {
    let drain = |leaderships, unmovable| DrainView {
        broker: 2,
        state: BrokerState::Draining,
        leaderships,
        unmovable,
    };
    let one = drain(1, 0).text();
    assert_eq!(
        one,
        "broker 2 still leads 1 partition that others can take over\n"
    );
    let stays = drain(0, 13).text();
    assert!(
        stays.contains("it goes on leading 13 partitions that no other"),
        "{stays}"
    );
}
