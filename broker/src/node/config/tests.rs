use super::*;

fn config(listen: &str) -> BrokerConfig {
    BrokerConfig {
        listen: listen.to_owned(),
        ..BrokerConfig::default()
    }
}

#[test]
fn the_other_ports_follow_the_first() {
    let addresses = config("127.0.0.1:7654").addresses().unwrap();
    assert_eq!((addresses.peer.port(), addresses.http.port()), (7655, 7656));
    let free = config("127.0.0.1:0").addresses().unwrap();
    assert_eq!((free.peer.port(), free.http.port()), (0, 0));
}

#[test]
fn an_address_beyond_this_machine_needs_insecure_and_a_wildcard_needs_advertise() {
    let exposed = config("192.0.2.1:7654").addresses().unwrap_err();
    assert!(exposed.to_string().contains("--insecure"), "{exposed}");
    let mut wildcard = config("0.0.0.0:7654");
    wildcard.insecure = true;
    assert!(
        wildcard
            .addresses()
            .unwrap_err()
            .to_string()
            .contains("advertise")
    );
    wildcard.advertise = Some("broker-1.example".to_owned());
    assert!(wildcard.addresses().is_ok());
}

#[test]
fn a_suspicion_without_missed_pings_or_behind_the_timers_of_groups_is_refused() {
    let mut config = config("127.0.0.1:7654");
    for (ms, fits) in [
        (299, false),
        (300, true),
        (400, true),
        (5000, true),
        (5001, false),
    ] {
        config.suspect_after = Duration::from_millis(ms);
        match config.check(false) {
            Ok(()) => assert!(fits, "{ms}"),
            Err(error) => assert!(
                !fits && error.to_string().contains("suspect_after"),
                "{error}"
            ),
        }
    }
}

#[test]
fn nonsense_is_refused_with_the_name_of_the_setting() {
    let error = config("7654").addresses().unwrap_err();
    assert!(error.to_string().starts_with("listen \"7654\""), "{error}");
    assert!(
        config("127.0.0.1:65535")
            .addresses()
            .unwrap_err()
            .to_string()
            .contains("65535")
    );
}

#[track_caller]
fn refused(change: impl FnOnce(&mut BrokerConfig), says: &str) {
    let mut config = config("127.0.0.1:7654");
    change(&mut config);
    let error = config.check(false).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn an_advertised_host_is_a_name_or_an_address_without_a_port() {
    for host in ["", "a b", "host:1", "0.0.0.0", "-x", "[::1]:7"] {
        refused(
            |config| config.advertise = Some(host.to_owned()),
            "advertise",
        );
    }
    for host in ["broker-1.example", "192.0.2.1", "::1", "[::1]"] {
        let mut config = config("127.0.0.1:7654");
        config.advertise = Some(host.to_owned());
        assert!(config.check(false).is_ok(), "{host}");
    }
}

#[test]
fn a_cluster_is_joined_at_the_peer_address_of_another() {
    for address in [
        "host",
        "host:0",
        "host:x",
        ":7655",
        "a b:1",
        "127.0.0.1:7654",
    ] {
        refused(|config| config.join = vec![address.to_owned()], "join");
    }
    refused(
        |config| config.join = vec!["127.0.0.1:7655".to_owned()],
        "itself",
    );
    let mut config = config("127.0.0.1:7654");
    config.join = ["127.0.0.1:7655", "b2.example:7655", "[::1]:7655"]
        .map(str::to_owned)
        .into();
    assert!(config.check(false).is_ok());
}

#[test]
fn settings_that_name_one_port_or_no_directory_are_refused() {
    let same = |config: &mut BrokerConfig| config.peer_listen = Some(config.listen.clone());
    refused(same, "listen and peer_listen are both 127.0.0.1:7654");
    refused(|config| config.data_dir = PathBuf::new(), "data_dir");
    let mut config = config("127.0.0.1:0");
    config.data_dir = PathBuf::new();
    assert!(config.check(true).is_ok());
}

#[test]
fn others_are_told_the_advertised_host_with_the_bound_port() {
    let bound = "0.0.0.0:7654".parse().unwrap();
    assert_eq!(advertised(bound, Some("b1")), "b1:7654");
    assert_eq!(advertised(bound, Some("::1")), "[::1]:7654");
    assert_eq!(
        advertised("127.0.0.1:9".parse().unwrap(), None),
        "127.0.0.1:9"
    );
}

#[test]
fn a_rack_that_cannot_be_is_refused_before_anything_is_made() {
    for rack in ["a\tb", &"r".repeat(129)] {
        let mut config = config("127.0.0.1:9321");
        config.rack = rack.to_owned();
        let refused = config.check(false).unwrap_err();
        assert!(matches!(refused, StartError::Config(_)), "{refused}");
        assert!(refused.to_string().contains("rack"), "{refused}");
    }
    let mut fits = config("127.0.0.1:9321");
    fits.rack = "r".repeat(128);
    fits.check(false).unwrap();
}
