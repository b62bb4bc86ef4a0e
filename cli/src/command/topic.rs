//! `highwater topic`.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use highwater_client::Client;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::args::{ClientArgs, TopicArgs, TopicVerb};
use crate::connection::{about_topic, connect};
use crate::error::{Failure, talk};
use crate::exit::ExitCode;
use crate::output::{self, Form};
use crate::view::{TopicRow, TopicView};

mod alter;
mod create;
mod trim;

/// Empties a terminal and returns to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn run(client_args: &ClientArgs, args: TopicArgs) -> Result<(), Failure> {
    let form = client_args.output;
    match args.verb {
        TopicVerb::Create(create) => create::run(client_args, create).await,
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
        _ if deleted.is_empty() => {}
        _ => output::list(form, &deleted)?,
    }
    match last_failure {
        None => Ok(()),
        Some(exit) if deleted.is_empty() => Err(Failure::Told(exit)),
        Some(_) => Err(Failure::Told(ExitCode::Partial)),
    }
}
