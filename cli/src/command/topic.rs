//! `highwater topic`.

use std::io::{self, BufRead, IsTerminal, Write};

use highwater_client::topic::Topic;
use highwater_client::{Client, NewTopic};
use highwater_proto::Reason;
use serde::Serialize;

use crate::args::{ClientArgs, CreateArgs, TopicArgs, TopicVerb};
use crate::connection::{about_topic, connect};
use crate::error::{Failure, talk};
use crate::exit::ExitCode;
use crate::output::{self, Form};
use crate::view::{TopicRow, TopicView};

pub(super) async fn run(args: TopicArgs) -> Result<(), Failure> {
    let form = args.client.output;
    match args.verb {
        TopicVerb::Create(create) => create_topic(&args.client, create).await,
        TopicVerb::List => {
            let topics = connect(&args.client).await?.list_topics().await?;
            let rows: Vec<TopicRow> = topics.into_iter().map(Into::into).collect();
            output::list(form, &rows)
        }
        TopicVerb::Describe { name } => {
            let client = connect(&args.client).await?;
            match client.describe_topic(&name).await {
                Ok(topic) => output::object(form, &TopicView::from(topic), TopicView::text),
                Err(error) => Err(about_topic(&client, &name, error).await),
            }
        }
        TopicVerb::Delete { names, yes } => {
            if !yes {
                confirm(&names)?;
            }
            delete(&connect(&args.client).await?, form, &names).await
        }
    }
}

async fn create_topic(client_args: &ClientArgs, args: CreateArgs) -> Result<(), Failure> {
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
        "{verb} {}: {} partitions, {} replicas of each",
        row.name, row.partition_count, row.replication_factor
    ));
    output::object(client_args.output, &row, |_| String::new())
}

/// The topic that is there in place of the one to create, with a warning when it has another
/// number of partitions.
async fn existing(client: &Client, args: &CreateArgs) -> Result<Topic, Failure> {
    let found = client.describe_topic(&args.name).await?;
    let partitions = found.topic.partition_count;
    if partitions != args.partitions {
        talk(format!(
            "warning: {} has {partitions} partitions, not {}",
            args.name, args.partitions
        ));
    }
    Ok(found.topic)
}

/// Asks on a terminal; elsewhere nobody could answer.
fn confirm(names: &[String]) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let message = "deleting topics needs -y where nobody can be asked";
        let hint = format!("highwater topic delete {} -y", names.join(" "));
        return Err(Failure::usage(message).hint(hint));
    }
    let mut stderr = io::stderr();
    let question = format!("Delete {} with all records? [y/N] ", names.join(", "));
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
