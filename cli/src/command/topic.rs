//! `highwater topic`.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use highwater_client::topic::Topic;
use highwater_client::{Client, NewTopic};
use highwater_proto::Reason;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::args::{ClientArgs, CreateArgs, TopicArgs, TopicVerb};
use crate::connection::{about_topic, connect};
use crate::error::{Failure, talk};
use crate::exit::ExitCode;
use crate::output::{self, Form, count};
use crate::view::{TopicRow, TopicView};

mod alter;
mod trim;

/// The units that a setting may be given in; brokers tell bytes and milliseconds.
const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("ms", 1),
    ("s", 1000),
    ("m", 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
];

/// Empties a terminal and returns to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn run(client_args: &ClientArgs, args: TopicArgs) -> Result<(), Failure> {
    let form = client_args.output;
    match args.verb {
        TopicVerb::Create(create) => create_topic(client_args, create).await,
        TopicVerb::List => {
            let topics = connect(client_args).await?.list_topics().await?;
            let rows: Vec<TopicRow> = topics.into_iter().map(Into::into).collect();
            output::list(form, &rows)
        }
        TopicVerb::Describe { name, watch } => {
            let client = connect(client_args).await?;
            match watch {
                None => look(&client, &name, form, "").await,
                Some(every) => watch_topic(&client, &name, form, every).await,
            }
        }
        TopicVerb::Alter(args) => alter::run(client_args, args).await,
        TopicVerb::Trim(args) => trim::run(client_args, args).await,
        TopicVerb::Delete { names, yes } => {
            if !yes {
                let question = format!("Delete {} with all records?", names.join(", "));
                let command = format!("highwater topic delete {} -y", names.join(" "));
                confirm("deleting topics", &question, command)?;
            }
            delete(&connect(client_args).await?, form, &names).await
        }
    }
}

/// A setting has one value.
fn once_each(config: &[(String, String)]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    match config.iter().find(|(name, _)| !seen.insert(name)) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::usage(format!("{name} is given more than once"))),
    }
}

async fn create_topic(client_args: &ClientArgs, args: CreateArgs) -> Result<(), Failure> {
    once_each(&args.config)?;
    let mut topic = NewTopic::new(&args.name).partitions(args.partitions);
    if let Some(replication) = args.replication {
        topic = topic.replication(replication);
    }
    for (name, value) in &args.config {
        topic = topic.config(name, value);
    }
    let client = connect(client_args).await?;
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
    output::object(client_args.output, &row, |_| String::new())
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
        if !is_wanted(is, wanted) {
            let name = &args.name;
            talk(format!(
                "warning: {key} of {name} is {is}, not {wanted}; it was not changed"
            ));
        }
    }
    Ok(found.topic)
}

/// Whether a setting that a broker tells as `is` is the one that is `wanted`.
fn is_wanted(is: &str, wanted: &str) -> bool {
    let unit = wanted.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &wanted[..wanted.len() - unit.len()];
    let factor = UNITS.iter().find(|(name, _)| *name == unit);
    let given = factor.and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(*factor));
    is == wanted || given.is_some_and(|given| given.to_string() == is)
}

/// Prints the state of a topic, `before` it when it is for people.
async fn look(client: &Client, name: &str, form: Form, before: &str) -> Result<(), Failure> {
    match client.describe_topic(name).await {
        Ok(topic) => {
            let text = |view: &TopicView| format!("{before}{}", view.text());
            output::object(form, &TopicView::from(topic), text)
        }
        Err(error) => Err(about_topic(client, name, error).await),
    }
}

/// Looks until it is interrupted or the topic is gone. That nobody answers for a while is said, and
/// is no reason to stop looking.
async fn watch_topic(
    client: &Client,
    name: &str,
    form: Form,
    every: Duration,
) -> Result<(), Failure> {
    let before = if io::stdout().is_terminal() {
        CLEAR
    } else {
        ""
    };
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match look(client, name, form, before).await {
            Ok(()) => {}
            Err(failure) if failure.exit_code() == ExitCode::Unavailable => failure.tell(),
            Err(failure) => return Err(failure),
        }
    }
}

/// Asks on a terminal; elsewhere nobody could answer, and `command` says how it is done there.
fn confirm(doing: &str, question: &str, command: String) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let message = format!("{doing} needs -y where nobody can be asked");
        return Err(Failure::usage(message).hint(command));
    }
    let mut stderr = io::stderr();
    let question = format!("{question} [y/N] ");
    drop(
        stderr
            .write_all(question.as_bytes())
            .and_then(|()| stderr.flush()),
    );
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::io("reading the answer", &error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => {
            talk("nothing was deleted");
            Err(Failure::Told(ExitCode::Failure))
        }
    }
}

/// A topic that was deleted.
#[derive(Debug, Serialize)]
struct Deleted<'a> {
    name: &'a str,
}

impl output::Row for Deleted<'_> {
    const COLUMNS: &'static [&'static str] = &["DELETED"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.to_owned()]
    }
}

/// Deletes each topic; one that fails does not keep the others.
async fn delete(client: &Client, form: Form, names: &[String]) -> Result<(), Failure> {
    let mut deleted = Vec::new();
    let mut last_failure = None;
    for name in names {
        match client.delete_topic(name).await {
            Ok(()) => deleted.push(Deleted { name }),
            Err(error) => {
                let failure = about_topic(client, name, error).await;
                failure.tell();
                last_failure = Some(failure.exit_code());
            }
        }
    }
    match form {
        Form::Table => deleted
            .iter()
            .for_each(|topic| talk(format!("deleted {}", topic.name))),
        _ => output::list(form, &deleted)?,
    }
    match last_failure {
        None => Ok(()),
        Some(exit) if deleted.is_empty() => Err(Failure::Told(exit)),
        Some(_) => Err(Failure::Told(ExitCode::Partial)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_with_a_unit_is_the_one_that_brokers_tell_without() {
        for (is, wanted) in [
            ("604800000", "7d"),
            ("2097152", "2MiB"),
            ("1000", "1000"),
            ("-1", "-1"),
            ("delete", "delete"),
        ] {
            assert!(is_wanted(is, wanted), "{is} {wanted}");
        }
        for (is, wanted) in [
            ("-1", "7d"),
            ("7", "7d"),
            ("0", "d"),
            ("0", "99999999999999TiB"),
            ("delete", "compact"),
        ] {
            assert!(!is_wanted(is, wanted), "{is} {wanted}");
        }
    }
}
