//! `highwater cluster drain`: tells a broker once to hand over, and looks until it has. What it says
//! while it looks is no order: a cancel by somebody else stays.

use std::time::{Duration, Instant};

use highwater_client::{BrokerId, Client};

use crate::args::ClientArgs;
use crate::connection::{connect, connect_within};
use crate::error::{Failure, talk};
use crate::exit::ExitCode;
use crate::output;
use crate::progress::ProgressLine;
use crate::view::{BrokerState, DrainView};

const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn run(
    args: &ClientArgs,
    broker: BrokerId,
    cancel: bool,
    wait: Duration,
) -> Result<(), Failure> {
    let drain = match cancel {
        true => DrainView::new(broker, connect(args).await?.cancel_drain(broker).await?),
        false => {
            // A broker that does not answer is no reason to wait longer than was said.
            let limit = args.call_timeout().min(wait);
            let client = connect_within(&args.brokers.join(","), limit).await?;
            until_handed_over(&client, broker, wait).await?
        }
    };
    output::object(args.output, &drain, DrainView::text)?;
    match drain.state {
        BrokerState::Draining if !cancel && drain.leaderships > 0 => {
            Err(Failure::Told(ExitCode::Failure))
        }
        BrokerState::Up if !cancel => {
            talk(DrainView::ENDED);
            Err(Failure::Told(ExitCode::Conflict))
        }
        _ => Ok(()),
    }
}

/// Has it drained, and looks until nothing is left to hand over or the drain has ended; after `wait`
/// gives what was seen last.
async fn until_handed_over(
    client: &Client,
    broker: BrokerId,
    wait: Duration,
) -> Result<DrainView, Failure> {
    let deadline = Instant::now() + wait;
    let line = ProgressLine::start();
    let mut seen: Option<DrainView> = None;
    loop {
        let answered = match seen {
            // Bounded by the limit of each call, which knows what brokers said meanwhile.
            None => client.drain_broker(broker).await?,
            Some(seen) => {
                match tokio::time::timeout_at(deadline.into(), client.drain_progress(broker)).await
                {
                    Ok(answered) => answered?,
                    Err(_) => {
                        line.clear();
                        return Ok(seen);
                    }
                }
            }
        };
        let drain = DrainView::new(broker, answered);
        let ended = drain.state != BrokerState::Draining;
        if ended || drain.leaderships == 0 || Instant::now() >= deadline {
            line.clear();
            return Ok(drain);
        }
        line.show(|| {
            let left = output::count(drain.leaderships, "leadership");
            format!("{left} to hand over")
        });
        seen = Some(drain);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
