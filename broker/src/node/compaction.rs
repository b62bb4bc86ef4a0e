//! Keeps the log of the metadata short: what it says is in the state, so the entries before a
//! snapshot are of no more use. Every broker does so for its own replica.

use std::sync::Arc;
use std::time::Duration;

use crate::service::Services;

/// It acts when the log has more entries than this.
const MOST: u64 = 1024;
/// Entries that stay: a replica that lacks no more than these needs no snapshot.
const KEPT: u64 = 256;
/// After a failure it waits for so long.
const AGAIN: Duration = Duration::from_secs(10);

/// Runs until the metadata ends.
pub(super) async fn run(services: Arc<Services>) {
    let mut published = services.metadata.watch();
    loop {
        let replica = services.metadata.replica();
        let entries = replica.log_entries();
        if entries > MOST {
            match replica.compact(KEPT).await {
                Ok(()) => tracing::info!(entries, "the log of the metadata was purged"),
                Err(error) => {
                    tracing::warn!(%error, entries, "the log of the metadata grows");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}
