//! `highwater bench`: load on a cluster, measured and verified.

mod acks;
mod calibrate;
mod clock;
mod ground;
mod latency;
mod load;
mod measure;
mod pace;
mod plan;
mod progress;
mod read;
mod record;
mod report;
mod verify;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use highwater_client::Client;
use tokio_util::sync::CancellationToken;

use crate::args::{BenchArgs, ClientArgs};
use crate::connection::connect;
use crate::error::{Failure, Label, talk};
use crate::exit::ExitCode;
use crate::output;

use calibrate::Calibration;
use ground::Ground;
use measure::{Measured, Measurement};
use plan::Plan;
use report::Report;

/// How long after SIGINT this command may take: its topic is to be deleted.
pub(super) const GRACE: Duration = Duration::from_secs(5);

pub(super) async fn run(
    client_args: &ClientArgs,
    args: BenchArgs,
    interrupted: &CancellationToken,
) -> Result<(), Failure> {
    let form = client_args.output;
    let times = (client_args.call_timeout(), client_args.delivery_timeout());
    let plan = Plan::new(args.verb)?;
    let client = tokio::select! {
        biased;
        () = interrupted.cancelled() => return Err(Failure::Interrupted),
        client = connect(client_args) => client?,
    };
    let calibration = calibrated(&plan).await?;
    let run = new_run();
    let ground = prepared(&client, &plan, run, interrupted).await?;
    let measurement = Measurement::new(&client, &plan, &ground, run, times);
    let measured = tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(Failure::Interrupted),
        measured = measurement.run() => measured,
    };
    measurement.stop();
    ground.clear().await;
    let measured = measured?;
    if measured.tally.foreign > 0 {
        return Err(ground.foreign(measured.tally.foreign));
    }
    let report = Report::new(measured.figures(plan.size), calibration);
    output::object(form, &report, Report::text)?;
    verdict(&measured)
}

/// The topic of the run. One that is being made when the signal comes is waited for, to be deleted.
async fn prepared(
    client: &Client,
    plan: &Plan,
    run: u64,
    interrupted: &CancellationToken,
) -> Result<Ground, Failure> {
    if interrupted.is_cancelled() {
        return Err(Failure::Interrupted);
    }
    let ground = Ground::prepare(client, plan, run);
    let ground = match plan.topic {
        None => ground.await,
        Some(_) => tokio::select! {
            biased;
            () = interrupted.cancelled() => Err(Failure::Interrupted),
            ground = ground => ground,
        },
    };
    ground.map_err(|failure| match interrupted.is_cancelled() {
        true => failure.exiting(ExitCode::Interrupted),
        false => failure,
    })
}

async fn calibrated(plan: &Plan) -> Result<Calibration, Failure> {
    let dir = plan.calibrate_dir.clone();
    let what = format!("calibrating in {}", dir.display());
    let measured = tokio::task::spawn_blocking(move || Calibration::measure(&dir)).await;
    let measured = measured.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    measured.map_err(|error| Failure::io(what, &error))
}

/// A number that no other run has.
fn new_run() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos() as u64;
    record::mix(nanos ^ u64::from(std::process::id()) << 40)
}

/// What is wrong is said on stderr, after the report.
fn verdict(measured: &Measured) -> Result<(), Failure> {
    let tally = measured.tally;
    if measured.errors() == 0 {
        return Ok(());
    }
    let counts = [
        (measured.failed, "were not acknowledged"),
        (tally.missing, "were sent and not read"),
        (tally.repeated, "came repeated or out of order"),
        (tally.broken, "were damaged"),
    ];
    let wrong = counts.iter().filter(|(count, _)| *count > 0);
    let wrong: Vec<String> = wrong.map(|(n, what)| format!("{n} {what}")).collect();
    let cause = match &measured.failure {
        Some(error) => format!("; the first error in sending: {error}"),
        None => String::new(),
    };
    let message = format!("of the records {}{cause}", wrong.join(", "));
    talk(format!("error[{}]: {message}", Label::Bench));
    Err(Failure::Told(ExitCode::Failure))
}
