//! `highwater produce`: lines become records, sent in a pipeline; the command ends when each has
//! its answer. Memory is bounded by the producer, which makes `send` wait.

mod acks;
mod progress;
mod source;

use std::time::{Duration, Instant};

use highwater_client::{Client, Codec, Producer, Record};
use highwater_proto::PartitionIndex;

use crate::args::{ClientArgs, Compression, LineForm, ProduceArgs};
use crate::connection::{about_topic, connect, reason_of};
use crate::error::{Failure, failed, talk};
use crate::exit::ExitCode;
use crate::interrupt::Interrupt;
use crate::output::{self, Form, JsonStream, Stdout};
use crate::record::escape::unescape;
use crate::record::input::InputForm;

use acks::{Acks, Place};
use progress::Progress;
use source::{Chunk, Chunks, Names};

/// How long after SIGINT records that were sent may still be acknowledged.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(4);

/// How long after that this command may take to say what became of them.
pub(super) const GRACE: Duration = Duration::from_secs(2);

pub(super) async fn run(
    client_args: &ClientArgs,
    args: ProduceArgs,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let form = input_form(&args)?;
    let names = Names::of(&args.files);
    source::check(&args.files)?;
    let mut acks = Acks::new(ack_output(client_args.output));
    let ready = async {
        let client = connect(client_args).await?;
        producer(&client, &args, client_args.delivery_timeout()).await
    };
    let ready = tokio::select! {
        biased;
        () = interrupt.told.cancelled() => Err(Failure::Interrupted),
        ready = ready => ready,
    };
    let producer = match ready {
        Ok(producer) => producer,
        Err(failure) => {
            let ended = Err(failure);
            acks.finish(&mut output::stdout(), failed(&ended))?;
            return ended;
        }
    };
    let run = Run {
        form,
        names,
        producer,
        partition: args.partition.map(PartitionIndex),
        acks,
        progress: Progress::start(&args.files, client_args.output),
    };
    run.finish(source::read(args.files), interrupt).await
}

async fn producer(
    client: &Client,
    args: &ProduceArgs,
    timeout: Duration,
) -> Result<Producer, Failure> {
    let partitions = match client.partition_count(&args.topic).await {
        Ok(count) => count,
        Err(error) => return Err(about_topic(client, &args.topic, error).await),
    };
    if let Some(partition) = args.partition.filter(|partition| *partition >= partitions) {
        return Err(no_partition(&args.topic, partition, partitions));
    }
    let builder = client.producer(&args.topic).delivery_timeout(timeout);
    let mut builder = builder.codec(codec(args.compression));
    if let Some(name) = &args.producer_name {
        builder = builder.name(name);
    }
    Ok(builder.build().await?)
}

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::None,
        Compression::Gzip => Codec::Gzip,
        Compression::Snappy => Codec::Snappy,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd => Codec::Zstd,
    }
}

/// The failure that a partition does not exist.
pub(super) fn no_partition(topic: &str, partition: u32, partitions: u32) -> Failure {
    let message = format!(
        "topic {topic:?} has no partition {partition}; it has {partitions}, numbered from 0"
    );
    Failure::api(highwater_proto::Reason::PartitionNotFound, message)
        .hint(format!("highwater topic describe {topic}"))
}

fn input_form(args: &ProduceArgs) -> Result<InputForm, Failure> {
    if args.key_field.is_some() && args.format != LineForm::Json {
        return Err(Failure::usage("--key-field names a field of JSON lines").hint("add -f json"));
    }
    if args.separator.is_some() && args.format != LineForm::Kv {
        return Err(Failure::usage("--separator stands between key and value").hint("add -f kv"));
    }
    Ok(match args.format {
        LineForm::Line => InputForm::Line,
        LineForm::Json => InputForm::Json {
            key_field: args.key_field.clone(),
        },
        LineForm::Kv => InputForm::KeyValue {
            separator: separator(args.separator.as_deref())?,
        },
    })
}

fn separator(text: Option<&str>) -> Result<Vec<u8>, Failure> {
    let bytes = unescape(text.unwrap_or("\\t"))
        .map_err(|error| Failure::usage(format!("--separator: {error}")))?;
    if bytes.is_empty() || bytes.contains(&b'\n') {
        return Err(Failure::usage(
            "--separator must not be empty or hold a newline",
        ));
    }
    Ok(bytes)
}

fn ack_output(form: Form) -> Option<JsonStream> {
    match form {
        Form::Table => None,
        Form::Json => Some(JsonStream::new(true)),
        Form::Jsonl => Some(JsonStream::new(false)),
    }
}

/// One run of the command.
struct Run {
    form: InputForm,
    names: Names,
    producer: Producer,
    partition: Option<PartitionIndex>,
    acks: Acks,
    progress: Progress,
}

impl Run {
    async fn finish(mut self, chunks: Chunks, interrupt: &Interrupt) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut out = output::stdout();
        let ended = tokio::select! {
            biased;
            () = interrupt.told.cancelled() => Err(Failure::Interrupted),
            ended = self.send_and_wait(chunks, &mut out) => ended,
        };
        let ended = match ended {
            Err(Failure::Interrupted) => {
                tokio::select! {
                    biased;
                    () = interrupt.enough.cancelled() => {}
                    // That nobody reads what is printed changes nothing now.
                    _ = self.answer_all(&mut out) => {}
                }
                Err(Failure::Interrupted)
            }
            ended => ended,
        };
        self.acks.give_up();
        self.progress.finish();
        let ended = self.verdict(ended);
        let finished = self.acks.finish(&mut out, failed(&ended));
        talk(self.acks.tally().summary(begun.elapsed()));
        ended.and(finished)
    }

    /// Sends every line and waits for the answers, also where sending ended early.
    async fn send_and_wait(&mut self, chunks: Chunks, out: &mut Stdout) -> Result<(), Failure> {
        let sent = self.send_all(chunks, out).await;
        let answered = self.answer_all(out).await;
        sent.and(answered)
    }

    /// Sends every line; stops at the first that is no record or could not be delivered.
    async fn send_all(&mut self, mut chunks: Chunks, out: &mut Stdout) -> Result<(), Failure> {
        while self.acks.first_failure().is_none() {
            tokio::select! {
                biased;
                () = self.acks.ready(), if !self.acks.is_empty() => {}
                chunk = chunks.recv() => match chunk {
                    None => return Ok(()),
                    Some(chunk) => self.send(chunk?).await?,
                },
            }
            self.acks.collect(out)?;
            self.progress.show(self.acks.tally());
        }
        Ok(())
    }

    async fn send(&mut self, chunk: Chunk) -> Result<(), Failure> {
        for line in chunk.lines {
            let place = Place {
                file: chunk.file,
                line: line.number,
            };
            let size = line.bytes.len();
            let pair = self.form.record(line.bytes);
            let pair = pair.map_err(|error| Failure::input(self.names.place(place), error))?;
            let mut record = Record::new(pair.value);
            if let Some(key) = pair.key {
                record = record.key(key);
            }
            if let Some(partition) = self.partition {
                record = record.partition(partition);
            }
            match self.producer.send(record).await {
                Ok(delivery) => self.acks.expect(place, size, delivery),
                Err(error) => {
                    self.acks.failed(place, error);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Waits for the answers to what was sent.
    async fn answer_all(&mut self, out: &mut Stdout) -> Result<(), Failure> {
        while !self.acks.is_empty() {
            self.acks.ready().await;
            self.acks.collect(out)?;
            self.progress.show(self.acks.tally());
        }
        Ok(())
    }

    /// How the command ends. The exit code of a failure says whether some records were written.
    fn verdict(&self, ended: Result<(), Failure>) -> Result<(), Failure> {
        let failure = match (ended, self.acks.first_failure()) {
            (Ok(()), None) => return Ok(()),
            (Ok(()), Some((place, error))) => {
                let message = format!("{}, at {}", error.message(), self.names.place(*place));
                Failure::api(reason_of(error), message)
            }
            (Err(failure), _) => failure,
        };
        let exit = exit_after(self.acks.tally().acknowledged, failure.exit_code());
        Err(failure.exiting(exit))
    }
}

/// The exit code after so many acknowledged records and then a failure with this one.
fn exit_after(acknowledged: u64, failure: ExitCode) -> ExitCode {
    match (acknowledged, failure) {
        (0, ExitCode::Unavailable) => failure,
        (0, _) => ExitCode::Failure,
        _ => ExitCode::Partial,
    }
}

#[cfg(test)]
mod tests;
