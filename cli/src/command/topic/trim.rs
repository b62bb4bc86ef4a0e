//! `highwater topic trim`.

use highwater_client::{Client, Error, Offset, PartitionIndex, Timestamp, TrimTo, Trimmed};
use highwater_proto::Reason;
use serde::Serialize;

use super::confirm;
use crate::args::{ClientArgs, Partitions, TrimArgs};
use crate::connection::{about_topic, connect};
use crate::error::{Failure, talk};
use crate::exit::ExitCode;
use crate::output::{self, Form};
use crate::record::position::Position;

/// What was deleted of a partition, or would be.
#[derive(Debug, Serialize)]
struct TrimmedRow<'a> {
    topic: &'a str,
    partition: u32,
    log_start_offset: u64,
    previous_log_start_offset: u64,
    high_watermark: u64,
    deleted_records: u64,
}

impl output::Row for TrimmedRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "PARTITION",
        "LOG START",
        "BEFORE",
        "HIGH WATERMARK",
        "DELETED",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.partition.to_string(),
            self.log_start_offset.to_string(),
            self.previous_log_start_offset.to_string(),
            self.high_watermark.to_string(),
            self.deleted_records.to_string(),
        ]
    }
}

pub(super) async fn run(client_args: &ClientArgs, args: TrimArgs) -> Result<(), Failure> {
    let name = args.name.as_str();
    if !(args.yes || args.dry_run) {
        let which = match args.partition {
            Partitions::All => "every partition".to_owned(),
            Partitions::One(partition) => format!("partition {partition}"),
        };
        let question = format!("Delete the oldest records of {which} of {name}?");
        let command = "add -y, or --dry-run to see what it would delete".to_owned();
        confirm("deleting records", &question, command)?;
    }
    let to = trim_to(args.to);
    let client = connect(client_args).await?;
    let partitions = match args.partition {
        Partitions::One(partition) => partition..partition.saturating_add(1),
        Partitions::All => match client.partition_count(name).await {
            Ok(count) => 0..count,
            Err(error) => return Err(about_topic(&client, name, error).await),
        },
    };
    let mut rows = Vec::new();
    let mut failed = None;
    for partition in partitions {
        let trimmed = client
            .trim(name, PartitionIndex(partition), to, args.dry_run)
            .await;
        match trimmed {
            Ok(trimmed) => rows.push(row(name, partition, &trimmed)),
            Err(error) => failed = Some(tell(&client, name, error).await),
        }
    }
    if client_args.output == Form::Table {
        let deleted: u64 = rows.iter().map(|row| row.deleted_records).sum();
        let verb = match (args.dry_run, deleted) {
            (true, _) => "would be",
            (false, 1) => "was",
            (false, _) => "were",
        };
        let records = output::count(deleted, "record");
        talk(format!("{records} of {name} {verb} deleted"));
    }
    if !rows.is_empty() {
        output::list(client_args.output, &rows)?;
    }
    match failed {
        None => Ok(()),
        Some(exit) if rows.is_empty() => Err(Failure::Told(exit)),
        Some(_) => Err(Failure::Told(ExitCode::Partial)),
    }
}

/// One partition that fails does not keep the others.
async fn tell(client: &Client, name: &str, error: Error) -> ExitCode {
    let outside = error.reason() == Some(Reason::OffsetOutOfRange);
    let mut failure = about_topic(client, name, error).await;
    if outside {
        failure = failure.hint("give --to an offset of the range that is named, or end");
    }
    failure.tell();
    failure.exit_code()
}

fn trim_to(position: Position) -> TrimTo {
    let now = jiff::Timestamp::now().as_millisecond();
    match position.resolved(now) {
        Position::Offset(offset) => TrimTo::Offset(Offset(offset)),
        Position::Time(time) => TrimTo::Timestamp(Timestamp(time)),
        // The arguments admit no other position.
        Position::End | Position::Start | Position::Last(_) | Position::Ago(_) => TrimTo::End,
    }
}

fn row<'a>(topic: &'a str, partition: u32, trimmed: &Trimmed) -> TrimmedRow<'a> {
    let (now, before) = (
        trimmed.log_start_offset.0,
        trimmed.previous_log_start_offset.0,
    );
    TrimmedRow {
        topic,
        partition,
        log_start_offset: now,
        previous_log_start_offset: before,
        high_watermark: trimmed.high_watermark.0,
        deleted_records: now.saturating_sub(before),
    }
}
