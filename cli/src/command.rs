//! One file per family of verbs.

mod bench;
mod cluster;
mod completion;
#[cfg(target_os = "linux")]
mod config;
mod consume;
#[cfg(target_os = "linux")]
mod debug;
#[cfg(target_os = "linux")]
mod dev;
mod explain;
mod produce;
#[cfg(target_os = "linux")]
mod serve;
mod topic;

use std::time::Duration;

use crate::args::{Args, Command};
use crate::error::Failure;
use crate::interrupt;

/// How long after SIGINT a command may still say what it did.
const GRACE: Duration = Duration::from_millis(500);

/// Runs the command that was typed.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let Args { client, command } = args;
    match command {
        #[cfg(target_os = "linux")]
        Command::Serve(args) => serve::run(args).await,
        #[cfg(target_os = "linux")]
        Command::Config(args) => config::run(client.output, &args),
        #[cfg(target_os = "linux")]
        Command::Debug(args) => debug::run(&args),
        Command::Explain(args) => explain::run(client.output, &args),
        Command::Completion(args) => completion::run(&args),
        Command::Produce(args) => {
            let interrupted = interrupt::watch_with_answers(produce::LAST_ANSWERS, produce::GRACE);
            produce::run(&client, args, &interrupted).await
        }
        Command::Bench(args) => {
            let interrupted = interrupt::watch(bench::GRACE);
            bench::run(&client, args, &interrupted).await
        }
        Command::Topic(args) => unless_interrupted(topic::run(&client, args)).await,
        Command::Consume(args) => {
            let interrupted = interrupt::watch(consume::GRACE);
            consume::run(&client, args, &interrupted).await
        }
        Command::Cluster(args) => unless_interrupted(cluster::run(&client, args)).await,
        #[cfg(target_os = "linux")]
        Command::Dev(args) => unless_interrupted(dev::run(client.output, args)).await,
    }
}

async fn unless_interrupted(
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let interrupted = interrupt::watch(GRACE);
    tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(Failure::Interrupted),
        ended = command => ended,
    }
}
