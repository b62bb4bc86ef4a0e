//! `highwater topic alter`. Lower limits delete records, so it says how much.

use std::collections::BTreeMap;

use highwater_client::topic::{PartitionDescription, TopicDescription};
use highwater_client::{Client, Position, Timestamp, TopicChanges};
use serde::Serialize;

use crate::args::{AlterArgs, ClientArgs};
use crate::connection::{about_topic, connect};
use crate::error::{Failure, talk};
use crate::output::{self, count};

const BYTES: &str = "retention.bytes";
const AGE: &str = "retention.ms";

/// A topic whose settings were changed.
#[derive(Debug, Serialize)]
struct Altered {
    name: String,
    config: BTreeMap<String, String>,
    /// What lower limits delete, by partition.
    deletes: Vec<Deletes>,
}

/// What of a partition is beyond the new limits, as it was before the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Deletes {
    partition: u32,
    log_start_offset: u64,
    /// At most so many bytes, files made ready included, for a lower `retention.bytes`.
    bytes: u64,
    /// About so many records, by their own times, for a lower `retention.ms`.
    records: u64,
}

impl Altered {
    fn text(&self) -> String {
        let line = |(name, value): (&String, &String)| format!("{name}={value}\n");
        self.config.iter().map(line).collect()
    }
}

pub(super) async fn run(client_args: &ClientArgs, args: AlterArgs) -> Result<(), Failure> {
    let name = args.name;
    if args.config.is_empty() && args.unset.is_empty() {
        return Err(Failure::usage("there is nothing to change")
            .hint(format!("highwater topic alter {name} -c retention.ms=7d")));
    }
    super::once_each(&args.config)?;
    let set = |changes: TopicChanges, (key, value)| changes.set(key, value);
    let changes = args.config.into_iter().fold(TopicChanges::new(), set);
    let changes = args.unset.into_iter().fold(changes, TopicChanges::unset);
    let client = connect(client_args).await?;
    let before = match client.describe_topic(&name).await {
        Ok(before) => before,
        Err(error) => return Err(about_topic(&client, &name, error).await),
    };
    let config = match client.alter_topic(&name, changes).await {
        Ok(config) => config,
        Err(error) => return Err(about_topic(&client, &name, error).await),
    };
    talk(format!("altered topic {name}"));
    let deletes = beyond(&client, &before, &config).await;
    if let Some(warning) = warning(&deletes) {
        talk(warning);
    }
    let altered = Altered {
        name,
        config,
        deletes,
    };
    output::object(client_args.output, &altered, Altered::text)
}

/// The new value of a limit, if it is lower than it was. -1 is no limit.
fn lowered(
    setting: &str,
    before: &TopicDescription,
    now: &BTreeMap<String, String>,
) -> Option<u64> {
    let limit = |config: &BTreeMap<String, String>| config.get(setting)?.parse::<u64>().ok();
    let now = limit(now)?;
    limit(&before.config)
        .is_none_or(|before| now < before)
        .then_some(now)
}

/// What was beyond the new limits. A partition whose leader is not known is left out.
async fn beyond(
    client: &Client,
    before: &TopicDescription,
    now: &BTreeMap<String, String>,
) -> Vec<Deletes> {
    let bytes = lowered(BYTES, before, now);
    let oldest = lowered(AGE, before, now).map(|ms| {
        let now = jiff::Timestamp::now().as_millisecond();
        now.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX))
    });
    let mut deletes = Vec::new();
    for partition in &before.partitions {
        let mut kept_from = None;
        if let Some(time) = oldest {
            let position = Position::Timestamp(Timestamp(time));
            let name = &before.topic.name;
            let found = client.list_offsets(name, partition.partition, position);
            kept_from = found.await.ok().map(|found| found.offset.0);
        }
        deletes.extend(of_partition(partition, bytes, kept_from));
    }
    deletes
}

/// What a limit of `bytes` deletes of a partition, and one that keeps what begins at `kept_from`.
fn of_partition(
    partition: &PartitionDescription,
    bytes: Option<u64>,
    kept_from: Option<u64>,
) -> Option<Deletes> {
    let (start, end) = (partition.log_start_offset.0, partition.high_watermark.0);
    if partition.leader.is_none() || start == end {
        return None;
    }
    let deletes = Deletes {
        partition: partition.partition.0,
        log_start_offset: start,
        bytes: bytes.map_or(0, |bytes| partition.disk_bytes.saturating_sub(bytes)),
        records: kept_from.map_or(0, |kept_from| kept_from.min(end).saturating_sub(start)),
    };
    (deletes.bytes > 0 || deletes.records > 0).then_some(deletes)
}

fn warning(deletes: &[Deletes]) -> Option<String> {
    let sum = |of: fn(&Deletes) -> u64| {
        let some = deletes.iter().map(of).filter(|count| *count > 0);
        some.fold((0, 0), |(sum, partitions), count| {
            (sum + count, partitions + 1)
        })
    };
    let (bytes, of_bytes) = sum(|deletes| deletes.bytes);
    let (records, of_records) = sum(|deletes| deletes.records);
    let mut parts = Vec::new();
    if bytes > 0 {
        let mib = bytes as f64 / f64::from(1 << 20);
        parts.push(format!(
            "up to {mib:.1} MiB of {}, beyond {BYTES}",
            count(of_bytes, "partition")
        ));
    }
    if records > 0 {
        parts.push(format!(
            "about {} of {}, older than {AGE}",
            count(records, "record"),
            count(of_records, "partition")
        ));
    }
    let first = "this deletes the oldest records, within seconds and for good: ";
    (!parts.is_empty()).then(|| format!("{first}{}", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletes(bytes: u64, records: u64) -> Deletes {
        Deletes {
            partition: 0,
            log_start_offset: 0,
            bytes,
            records,
        }
    }

    #[test]
    fn what_is_deleted_is_summed_up() {
        assert_eq!(warning(&[]), None);
        let said = warning(&[deletes(3 << 20, 0), deletes(1 << 19, 7)]).unwrap();
        let expected = "this deletes the oldest records, within seconds and for good: up to 3.5 MiB \
                        of 2 partitions, beyond retention.bytes; about 7 records of 1 partition, \
                        older than retention.ms";
        assert_eq!(said, expected);
    }
}
