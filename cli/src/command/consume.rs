//! `highwater consume`: records of a topic to stdout. What is printed is held back only as long as
//! more comes at once.

use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use highwater_client::{
    Client, Consumer, ConsumerBatch, Error, Offset, PartitionIndex, ReadFrom, Start, Timestamp,
    Until,
};
use highwater_proto::Reason;
use tokio_util::sync::CancellationToken;

use crate::args::{ClientArgs, ConsumeArgs};
use crate::connection::{about_topic, connect_from};
use crate::error::{Failure, failed};
use crate::output::{self, Form, JsonStream, Stdout};
use crate::record::position::Position;
use crate::record::template::Template;
use crate::record::view::{HeaderView, RecordView};

/// How long after SIGINT this command may take to end what it prints.
pub(super) const GRACE: Duration = Duration::from_secs(5);

pub(super) async fn run(
    client_args: &ClientArgs,
    args: ConsumeArgs,
    interrupted: &CancellationToken,
) -> Result<(), Failure> {
    let mut printer = Printer::of(args.format.as_deref(), client_args.output)?;
    let idle = args.exit_at_end.then(|| client_args.call_timeout());
    let mut out = output::stdout();
    let limit = args.max_records.unwrap_or(u64::MAX);
    let printing = async {
        let consumer = begin(client_args, &args).await?;
        print_all(consumer, &mut printer, &mut out, limit, idle).await
    };
    // It waits between records only, so that an array that is interrupted can be ended.
    let ended = tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(Failure::Interrupted),
        ended = printing => ended,
    };
    printer.end(&mut out, failed(&ended))?;
    out.flush()?;
    ended
}

async fn begin(client_args: &ClientArgs, args: &ConsumeArgs) -> Result<Consumer, Failure> {
    let client = connect_from(client_args, args.rack.as_deref().unwrap_or_default()).await?;
    match consumer(&client, args).await {
        Ok(consumer) => Ok(consumer),
        Err(error) => Err(about_topic(&client, &args.topic, error).await),
    }
}

async fn consumer(client: &Client, args: &ConsumeArgs) -> Result<Consumer, Error> {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut builder = client
        .consumer(&args.topic)
        .start(start(args.from.resolved(now)));
    if args.follower {
        builder = builder.read_from(ReadFrom::Nearest);
    }
    if let Some(freshness) = args.freshness {
        builder = builder.freshness(freshness);
    }
    if args.exit_at_end {
        builder = builder.until(Until::Latest);
    }
    if !args.partitions.is_empty() {
        builder = builder.partitions(args.partitions.iter().copied().map(PartitionIndex));
    }
    builder.build().await
}

/// The position as the client library spells it, times before now resolved.
fn start(position: Position) -> Start {
    match position {
        Position::Start => Start::Earliest,
        Position::End => Start::Latest,
        Position::Offset(offset) => Start::Offset(Offset(offset)),
        Position::Last(count) => Start::LastN(count),
        Position::Time(time) | Position::Ago(time) => Start::Timestamp(Timestamp(time)),
    }
}

/// Prints records until the consumer ends, `limit` are printed or nobody reads them; fails when
/// nothing comes for `idle`.
async fn print_all(
    mut consumer: Consumer,
    printer: &mut Printer,
    out: &mut Stdout,
    limit: u64,
    idle: Option<Duration>,
) -> Result<(), Failure> {
    let mut left = limit;
    while left > 0 {
        let next = match consumer.next_batch().now_or_never() {
            Some(next) => next,
            None => {
                out.flush()?;
                tokio::select! {
                    next = within(idle, consumer.next_batch()) => next?,
                    () = output::reader_gone() => return Err(Failure::ReaderGone),
                }
            }
        };
        let Some(batch) = next else {
            return Ok(());
        };
        left -= print_batch(&batch?, printer, out, left)?;
    }
    Ok(())
}

/// Prints the records of a batch, at most `limit`; gives their number. They are printed from where
/// they lie: to own each would cost more than all the rest.
fn print_batch(
    batch: &ConsumerBatch,
    printer: &mut Printer,
    out: &mut Stdout,
    limit: u64,
) -> Result<u64, Failure> {
    let records = batch.records()?;
    let mut printed = 0;
    for record in records.views() {
        if printed == limit {
            break;
        }
        printer.print(out, &view(batch, &record?))?;
        printed += 1;
    }
    Ok(printed)
}

async fn within<T>(idle: Option<Duration>, next: impl Future<Output = T>) -> Result<T, Failure> {
    let Some(limit) = idle else {
        return Ok(next.await);
    };
    tokio::time::timeout(limit, next).await.map_err(|_| {
        let message = format!("the end is not reached and nothing came for {limit:?}");
        Failure::api(Reason::TimedOut, message)
    })
}

/// How records are printed.
#[derive(Debug)]
enum Printer {
    Template(Template),
    Json(Option<JsonStream>),
}

impl Printer {
    fn of(format: Option<&str>, form: Form) -> Result<Self, Failure> {
        match (format, form) {
            (None, Form::Table) => Ok(Self::Template(Template::value_per_line())),
            (None, form) => Ok(Self::Json(Some(JsonStream::new(form == Form::Json)))),
            (Some(format), Form::Table) => Template::parse(format)
                .map(Self::Template)
                .map_err(|error| Failure::usage(format!("-f {format:?}: {error}"))),
            (Some(_), _) => Err(Failure::usage("-f and -o json both say what to print")
                .hint("leave out one of them")),
        }
    }

    fn print(&mut self, out: &mut Stdout, view: &RecordView<'_>) -> Result<(), Failure> {
        match self {
            Self::Template(template) => template.write(out, view)?,
            Self::Json(Some(stream)) => stream.item(out, view)?,
            Self::Json(None) => {}
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Stdout, failed: bool) -> Result<(), Failure> {
        match self {
            Self::Json(stream) => {
                let stream = stream.take();
                Ok(stream.map_or(Ok(()), |stream| stream.end(out, failed))?)
            }
            Self::Template(_) => Ok(()),
        }
    }
}

fn view<'a>(batch: &'a ConsumerBatch, record: &highwater_client::RecordView<'a>) -> RecordView<'a> {
    let headers = record.headers.clone();
    let headers = headers.map(|(name, value)| HeaderView { name, value });
    RecordView {
        topic: batch.topic(),
        partition: batch.partition().0,
        offset: record.offset.0,
        timestamp: record.timestamp.0,
        append_time: batch.append_time().0,
        key: record.key,
        value: record.value,
        headers: headers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};

    fn printer(line: &str) -> Result<Printer, Failure> {
        let Args { client, command } = Args::read(line.split_whitespace()).unwrap();
        let Command::Consume(args) = command else {
            panic!("not consume")
        };
        Printer::of(args.format.as_deref(), client.output)
    }

    #[test]
    fn a_format_and_json_exclude_each_other() {
        assert!(matches!(
            printer("highwater consume t -f %v"),
            Ok(Printer::Template(_))
        ));
        assert!(matches!(
            printer("highwater consume t -o jsonl"),
            Ok(Printer::Json(Some(_)))
        ));
        for wrong in [
            "highwater consume t -o json -f %v",
            "highwater consume t -f %z",
        ] {
            let refused = printer(wrong).unwrap_err();
            assert_eq!(refused.exit_code(), crate::exit::ExitCode::Usage, "{wrong}");
        }
    }

    #[test]
    fn positions_are_those_of_the_client() {
        assert_eq!(start(Position::Start), Start::Earliest);
        assert_eq!(start(Position::Last(5)), Start::LastN(5));
        assert_eq!(start(Position::Time(7)), Start::Timestamp(Timestamp(7)));
    }

    #[tokio::test]
    async fn an_end_that_does_not_come_times_out() {
        let never = within(Some(Duration::from_millis(1)), std::future::pending::<()>());
        let exit = never.await.unwrap_err().exit_code();
        assert_eq!(exit, crate::exit::ExitCode::Unavailable);
    }
}
