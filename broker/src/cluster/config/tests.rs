use super::*;

fn refusal(name: &str, value: &str) -> String {
    TopicConfig::resolve([(name, value)])
        .unwrap_err()
        .to_string()
}

#[test]
fn the_table_is_sorted_and_its_defaults_are_accepted() {
    assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
    let defaults = SETTINGS.iter().map(|s| (s.name, s.default_value()));
    assert_eq!(
        TopicConfig::resolve(defaults).unwrap(),
        TopicConfig::default()
    );
}

#[test]
fn without_overrides_nothing_is_ever_deleted_and_every_ack_is_durable() {
    let none: [(&str, &str); 0] = [];
    let described = TopicConfig::resolve(none).unwrap().describe();
    let expected = [
        ("cleanup.policy", "delete"),
        ("durability", "quorum-fsync"),
        ("max.batch.bytes", "1048576"),
        ("retention.bytes", "-1"),
        ("retention.ms", "-1"),
        ("segment.bytes", "67108864"),
        ("segment.ms", "604800000"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(described, BTreeMap::from(expected));
}

#[test]
fn suffixes_are_stored_as_plain_numbers() {
    let overrides = [
        ("retention.ms", "7d"),
        ("retention.bytes", "2TiB"),
        ("segment.bytes", "1MiB"),
        ("segment.ms", "90s"),
        ("max.batch.bytes", "3MiB"),
    ];
    let config = TopicConfig::resolve(overrides).unwrap();
    assert_eq!(config.retention_ms, Some(604_800_000));
    assert_eq!(config.retention_bytes, Some(2 << 40));
    assert_eq!(config.segment_bytes, 1 << 20);
    assert_eq!(config.segment_ms, 90_000);
    assert_eq!(config.max_batch_bytes, 3 << 20);
    assert_eq!(TopicConfig::resolve(config.describe()).unwrap(), config);
}

#[test]
fn values_out_of_range_or_without_sense_are_refused_with_what_is_allowed() {
    for (name, value, part) in [
        (
            "segment.bytes",
            "1048575",
            "from 1048576 to 1073741824 bytes",
        ),
        ("max.batch.bytes", "4MiB", "from 1024 to 3145728 bytes"),
        ("retention.ms", "-2", "or -1 for no limit"),
        ("retention.ms", "10", "at least 1000 milliseconds"),
        ("retention.ms", "7 d", "ms, s, m, h or d"),
        ("retention.ms", "9223372036854775808", "give milliseconds"),
        ("retention.ms", "106751991168d", "give milliseconds"),
        ("retention.bytes", "1GB", "KiB, MiB, GiB or TiB"),
        ("segment.ms", "-1", "give milliseconds"),
        ("segment.ms", "", "give milliseconds"),
        ("segment.ms", "+5000", "give milliseconds"),
        ("durability", "none", "must be quorum-fsync"),
        ("durability", "quorum-memory", "not offered yet"),
        ("durability", "leader-memory", "not offered yet"),
        ("cleanup.policy", "compact", "not offered yet"),
        ("cleanup.policy", "", "must be delete"),
    ] {
        let message = refusal(name, value);
        assert!(message.contains(part), "{name}={value}: {message}");
        assert!(message.starts_with(name), "{name}={value}: {message}");
    }
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_one() {
    assert_eq!(
        refusal("retention_byte", "1"),
        "there is no topic setting \"retention_byte\"; did you mean retention.bytes?"
    );
    assert!(refusal("retenton.ms", "1").ends_with("did you mean retention.ms?"));
    assert!(refusal("colour", "red").contains("there are cleanup.policy, durability"));
}

#[test]
fn an_error_repeats_only_the_beginning_of_a_long_text() {
    let long = "ä".repeat(100_000);
    assert!(refusal(&long, "1").len() < 400);
    assert!(refusal("segment.ms", &long).len() < 400);
    let refusal = Refusal::from(TopicConfig::resolve([(long, "1")]).unwrap_err());
    assert_eq!(refusal.reason, Reason::InvalidConfig);
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_both_values() {
    let check = |given: &[(&str, &str)]| {
        let config = TopicConfig::resolve(given.iter().copied()).unwrap();
        config.check(|name| given.iter().any(|(given, _)| *given == name))
    };
    for (given, says) in [
        (
            &[("retention.bytes", "9MiB")][..],
            "retention.bytes cannot be 9437184: it must be at least 10485760 bytes, 10 times max.batch.bytes",
        ),
        (
            &[("retention.bytes", "20MiB"), ("segment.bytes", "32MiB")],
            "retention.bytes cannot be 20971520: a segment of segment.bytes, 33554432",
        ),
        (
            &[("retention.ms", "1h"), ("segment.ms", "2h")],
            "retention.ms cannot be 3600000: only closed segments are deleted, and segment.ms, 7200000",
        ),
        (
            &[("max.batch.bytes", "2MiB"), ("segment.bytes", "1MiB")],
            "max.batch.bytes cannot be 2097152: a segment takes at most segment.bytes, 1048576",
        ),
    ] {
        let refused = check(given).unwrap_err().to_string();
        assert!(refused.starts_with(says), "{refused}");
    }
    check(&[("retention.bytes", "10MiB"), ("retention.ms", "1s")]).unwrap();
    check(&[("retention.bytes", "1MiB"), ("max.batch.bytes", "100KiB")]).unwrap();
    check(&[("segment.ms", "1h"), ("retention.ms", "1h")]).unwrap();
}

#[test]
fn what_is_limited_has_small_files_that_are_closed_soon() {
    let files = |given: &[(&str, &str)]| {
        let config = TopicConfig::resolve(given.iter().copied()).unwrap();
        (config.file_bytes(), config.file_ms())
    };
    assert_eq!(files(&[]), (64 << 20, 604_800_000));
    let limited = [("retention.bytes", "20MiB"), ("retention.ms", "1h")];
    assert_eq!(files(&limited), (1 << 20, 360_000));
    let tiny = [("retention.bytes", "1MiB"), ("retention.ms", "1s")];
    assert_eq!(files(&tiny), (64 << 10, 1000));
    let own = [
        ("retention.bytes", "2TiB"),
        ("segment.bytes", "2MiB"),
        ("segment.ms", "5s"),
    ];
    assert_eq!(files(&own), (2 << 20, 5000));
}
