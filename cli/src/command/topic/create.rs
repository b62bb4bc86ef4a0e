//! `highwater topic create`: creates it, and looks until every partition has a leader.

use std::time::{Duration, Instant};

use highwater_broker::cluster::TopicConfig;
use highwater_client::topic::Topic;
use highwater_client::{Client, Error, NewTopic, Outcome};
use highwater_proto::Reason;
use serde::Serialize;

use super::once_each;
use crate::args::{ClientArgs, CreateArgs};
use crate::connection::connect;
use crate::error::{Failure, talk};
use crate::output::{self, count};
use crate::view::TopicRow;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A topic that was created, or was there.
#[derive(Debug, Serialize)]
struct CreatedView {
    #[serde(flatten)]
    topic: TopicRow,
    /// Null when no broker could say.
    partitions_without_leader: Option<u32>,
}

pub(super) async fn run(client_args: &ClientArgs, args: CreateArgs) -> Result<(), Failure> {
    once_each(&args.config)?;
    let mut topic = NewTopic::new(&args.name).partitions(args.partitions);
    if let Some(replication) = args.replication {
        topic = topic.replication(replication);
    }
    for (name, value) in &args.config {
        topic = topic.config(name, value);
    }
    let client = connect(client_args).await?;
    let deadline = Instant::now() + client_args.call_timeout();
    let (topic, verb) = match client.create_topic(topic).await {
        Ok(topic) => (topic, "created topic"),
        Err(error) if args.if_not_exists && error.reason() == Some(Reason::TopicExists) => {
            (existing(&client, &args).await?, "there is already a topic")
        }
        Err(error) => return Err(error.into()),
    };
    let row = TopicRow::from(topic);
    talk(format!(
        "{verb} {}: {}, {} of each",
        row.name,
        count(row.partition_count, "partition"),
        count(row.replication_factor, "replica")
    ));
    let leaderless = until_led(&client, &args.name, deadline).await;
    let view = CreatedView {
        topic: row,
        partitions_without_leader: leaderless.as_ref().ok().copied(),
    };
    output::object(client_args.output, &view, |_| String::new())?;
    verdict(
        &view.topic,
        leaderless.map_err(|error| error.message().to_owned()),
    )
}

/// Looks until every partition has a leader; at the deadline gives how many have none. The broker that
/// created the topic has waited for them as long as it may.
async fn until_led(client: &Client, name: &str, deadline: Instant) -> Result<u32, Error> {
    loop {
        let late = Instant::now() >= deadline;
        match client.describe_topic(name).await {
            Ok(described) => {
                let partitions = described.partitions.iter();
                let leaderless = partitions.filter(|partition| partition.leader.is_none());
                let leaderless = u32::try_from(leaderless.count()).unwrap_or(u32::MAX);
                if leaderless == 0 || late {
                    return Ok(leaderless);
                }
            }
            Err(error) if late || error.outcome() == Outcome::Refused => return Err(error),
            Err(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A topic that is there and cannot be used yet is no success.
fn verdict(topic: &TopicRow, leaderless: Result<u32, String>) -> Result<(), Failure> {
    let (name, all) = (&topic.name, topic.partition_count);
    let hint = "highwater cluster health says which; it is not to be created again";
    match leaderless {
        Ok(0) => Ok(()),
        Ok(left) => {
            let verb = if left == 1 { "has" } else { "have" };
            let message = format!(
                "topic {name:?} is there, and {left} of its {} {verb} no leader yet",
                count(all, "partition")
            );
            Err(Failure::api(Reason::NoLeader, message).hint(hint))
        }
        Err(why) => {
            let message = format!(
                "topic {name:?} is there, and whether its partitions have leaders is not known: {why}"
            );
            Err(Failure::api(Reason::NoLeader, message).hint(hint))
        }
    }
}

/// The topic that is there in place of the one to create, with a warning when it has another
/// number of partitions or other settings.
async fn existing(client: &Client, args: &CreateArgs) -> Result<Topic, Failure> {
    let found = client.describe_topic(&args.name).await?;
    let partitions = found.topic.partition_count;
    if partitions != args.partitions {
        talk(format!(
            "warning: {} has {}, not {}",
            args.name,
            count(partitions, "partition"),
            args.partitions
        ));
    }
    for (key, wanted) in &args.config {
        let is = found.config.get(key).map_or("not set", String::as_str);
        if !is_wanted(key, is, wanted) {
            let name = &args.name;
            talk(format!(
                "warning: {key} of {name} is {is}, not {wanted}; it was not changed"
            ));
        }
    }
    Ok(found.topic)
}

/// Whether the setting `key` that a broker tells as `is` is the one that is `wanted`: a broker tells it
/// without the unit that it may be given in.
fn is_wanted(key: &str, is: &str, wanted: &str) -> bool {
    let told = TopicConfig::resolve([(key, wanted)]).ok();
    let told = told.and_then(|config| config.describe().remove(key));
    is == wanted || told.is_some_and(|told| told == is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitCode;

    fn row() -> TopicRow {
        TopicRow {
            name: "t".to_owned(),
            id: "i".to_owned(),
            partition_count: 3,
            replication_factor: 1,
        }
    }

    #[test]
    fn a_topic_whose_partitions_have_no_leader_is_no_success() {
        verdict(&row(), Ok(0)).unwrap();
        let Err(Failure::Report(report)) = verdict(&row(), Ok(2)) else {
            panic!("a success")
        };
        let told = report.to_string();
        assert!(told.starts_with("error[NO_LEADER]: "), "{told}");
        assert!(
            told.contains("2 of its 3 partitions have no leader yet"),
            "{told}"
        );
        assert!(told.contains("hint: highwater cluster health"), "{told}");
        let exit = verdict(&row(), Ok(1)).unwrap_err().exit_code();
        assert_eq!(exit, ExitCode::Unavailable);
        let exit = verdict(&row(), Err("why".to_owned()))
            .unwrap_err()
            .exit_code();
        assert_eq!(exit, ExitCode::Unavailable);
    }

    #[test]
    fn the_keys_of_what_was_created_are_the_contract() {
        let view = CreatedView {
            topic: row(),
            partitions_without_leader: Some(0),
        };
        let expected = concat!(
            r#"{"name":"t","id":"i","partition_count":3,"replication_factor":1,"#,
            r#""partitions_without_leader":0}"#
        );
        assert_eq!(serde_json::to_string(&view).unwrap(), expected);
    }

    #[test]
    fn a_setting_with_a_unit_is_the_one_that_brokers_tell_without() {
        for (key, is, wanted) in [
            ("retention.ms", "604800000", "7d"),
            ("retention.bytes", "2097152", "2MiB"),
            ("retention.ms", "1000", "1000"),
            ("retention.ms", "-1", "-1"),
            ("cleanup.policy", "delete", "delete"),
            ("a.later.one", "x", "x"),
        ] {
            assert!(is_wanted(key, is, wanted), "{key} {is} {wanted}");
        }
        for (key, is, wanted) in [
            ("retention.ms", "-1", "7d"),
            ("retention.ms", "7", "7d"),
            ("retention.ms", "0", "d"),
            ("retention.bytes", "0", "99999999999999TiB"),
            ("cleanup.policy", "delete", "compact"),
            ("a.later.one", "60000", "1m"),
        ] {
            assert!(!is_wanted(key, is, wanted), "{key} {is} {wanted}");
        }
    }
}
