//! `highwater cluster drain`: asks a broker to hand over, and looks until it has.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use highwater_client::{BrokerId, Client};
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::args::ClientArgs;
use crate::connection::connect;
use crate::error::Failure;
use crate::exit::ExitCode;
use crate::output;
use crate::view::DrainView;

const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn run(
    args: &ClientArgs,
    broker: BrokerId,
    cancel: bool,
    wait: Duration,
) -> Result<(), Failure> {
    let client = connect(args).await?;
    let drain = match cancel {
        true => DrainView::new(broker, client.cancel_drain(broker).await?),
        false => until_handed_over(&client, broker, wait).await?,
    };
    output::object(args.output, &drain, DrainView::text)?;
    match cancel || drain.leaderships == 0 {
        true => Ok(()),
        false => Err(Failure::Told(ExitCode::Failure)),
    }
}

/// Asks until nothing is left to hand over; after `wait` gives what was seen last.
async fn until_handed_over(
    client: &Client,
    broker: BrokerId,
    wait: Duration,
) -> Result<DrainView, Failure> {
    let deadline = Instant::now() + wait;
    let bar = io::stderr().is_terminal().then(|| {
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
            .with_message("handing over")
    });
    loop {
        let drain = DrainView::new(broker, client.drain_broker(broker).await?);
        if drain.leaderships == 0 || Instant::now() >= deadline {
            bar.inspect(ProgressBar::finish_and_clear);
            return Ok(drain);
        }
        if let Some(bar) = &bar {
            bar.set_message(format!("{} leaderships to hand over", drain.leaderships));
            bar.tick();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
