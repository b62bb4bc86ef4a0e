//! `highwater serve`: the settings become a broker, which runs until it is told to stop.

use std::io::{self, IsTerminal, Write};

use highwater_broker::log::MemDir;
use highwater_broker::log::dir::usage::raise_file_limit;
use highwater_broker::node::{Broker, BrokerConfig, StartError};
use rustix::process::setsid;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::ServeArgs;
use crate::error::{Failure, Label};
use crate::exit::ExitCode;
use crate::machine;
use crate::parent::Parent;
use crate::settings::{Layers, LogFormat, Settings};

/// Where the settings are explained.
const HELP: &str = "highwater serve --help";

/// The line that says the broker accepts work: a contract of `docs/cli.md`.
#[derive(Debug, Serialize)]
struct Ready {
    ready: bool,
    broker: u32,
    cluster: String,
    listen: String,
    peer: String,
    http: String,
}

pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let layers = Layers::read(&args, std::env::vars_os())?;
    let settings = layers.settings()?;
    if args.new_session {
        setsid().map_err(|error| Failure::io("leaving the terminal", &error.into()))?;
    }
    start_log(&settings)?;
    for overlooked in layers.overlooked() {
        tracing::warn!("{overlooked}");
    }
    look_at_machine(&settings, args.ephemeral);
    let mut stop = Stop::listen(args.ephemeral)?;
    let broker = tokio::select! {
        biased;
        () = stop.wait() => return Ok(()),
        started = start(settings, args.ephemeral) => started.map_err(start_failure)?,
    };
    announce(&broker)?;
    let failed = tokio::select! {
        biased;
        why = broker.failed() => Some(why),
        () = stop.wait() => None,
    };
    tracing::info!("stopping");
    match failed {
        None => {
            broker.shutdown().await;
            Ok(())
        }
        Some(why) => {
            broker.leave().await;
            Err(Failure::new(Label::Stopped, ExitCode::Failure, why))
        }
    }
}

async fn start(settings: Settings, ephemeral: bool) -> Result<Broker, StartError> {
    let config = broker_config(settings);
    if !ephemeral {
        return Broker::start(config).await;
    }
    tracing::warn!("everything is kept in memory and gone when this broker ends (--ephemeral)");
    Broker::start_in_memory(config, MemDir::volatile()).await
}

pub(super) fn broker_config(settings: Settings) -> BrokerConfig {
    BrokerConfig {
        data_dir: settings.data_dir,
        listen: settings.listen,
        peer_listen: settings.peer_listen,
        http_listen: settings.http_listen,
        advertise: settings.advertise,
        join: settings.join,
        rack: settings.rack,
        insecure: settings.insecure,
        metrics_per_partition: settings.metrics_per_partition,
        suspect_after: settings.suspect_after,
    }
}

pub(super) fn start_failure(error: StartError) -> Failure {
    let (label, exit) = match error.exit_code() {
        2 => (Label::Config, ExitCode::Usage),
        _ => (Label::Start, ExitCode::Failure),
    };
    Failure::new(label, exit, error.to_string()).hint(HELP)
}

/// Prints the one line. Whoever started the broker may not want to read it; that is no reason to
/// stop.
fn announce(broker: &Broker) -> Result<(), Failure> {
    let ready = Ready {
        ready: true,
        broker: broker.id(),
        cluster: broker.cluster_id(),
        listen: broker.listen_addr().to_string(),
        peer: broker.peer_addr().to_string(),
        http: broker.http_addr().to_string(),
    };
    let mut line = serde_json::to_vec(&ready).map_err(io::Error::from)?;
    line.push(b'\n');
    let mut out = io::stdout();
    match out.write_all(&line).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn start_log(settings: &Settings) -> Result<(), Failure> {
    let wanted = ["HIGHWATER_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let wanted = wanted.as_deref().unwrap_or(settings.log_level.filter());
    let filter = EnvFilter::builder().parse(wanted).map_err(|error| {
        Failure::config(format!("the log filter {wanted:?} cannot be used: {error}"))
            .hint("set HIGHWATER_LOG to a level such as info, or to target=level,…")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        // A log that cannot be written (a full disk, a reader that is gone) is no reason to stop: told on
        // stderr, too, it would end whichever task had something to say.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match settings.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Says in the log what the machine lacks.
fn look_at_machine(settings: &Settings, ephemeral: bool) {
    // Segments and connections are open files.
    if let Err(error) = raise_file_limit() {
        tracing::debug!(%error, "the limit of open files was not raised");
    }
    if ephemeral {
        return;
    }
    match machine::wants(&settings.data_dir) {
        Ok(wants) => wants.iter().for_each(|want| tracing::warn!("{want}")),
        Err(error) => tracing::debug!(%error, "the disk was not looked at"),
    }
}

/// SIGTERM and SIGINT, and for an ephemeral broker the end of its stdin.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    parent: Option<Parent>,
}

impl Stop {
    fn listen(with_parent: bool) -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::io("waiting for signals", &error));
        let parent = match with_parent {
            true => Parent::watch().map_err(|error| Failure::io("watching stdin", &error))?,
            false => None,
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            parent,
        })
    }

    /// Waits for any of them. Cancel-safe.
    async fn wait(&mut self) {
        let parent = async {
            match &mut self.parent {
                Some(parent) => parent.gone().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = parent => tracing::info!("stdin was closed"),
        }
    }
}
