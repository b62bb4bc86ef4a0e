//! What `/metrics` answers: what was counted, the state of the services, and that of the machine.

use std::sync::Arc;

use tokio::sync::watch;

use super::config::BrokerConfig;
use crate::listener::http::MetricsPage;
use crate::log::deleted_bytes;
use crate::log::dir::usage;
use crate::metrics::{Gauges, render};
use crate::service::{RIGHTS, Services};

/// The methods that clients may call, as `Service/Method`.
pub(super) fn methods() -> impl Iterator<Item = &'static str> {
    let short = |name: &'static str| name.rsplit_once('.').map_or(name, |(_, short)| short);
    RIGHTS.iter().map(move |(name, _)| short(name))
}

/// What `/metrics` answers.
pub(super) fn page(
    config: &BrokerConfig,
    services: &Arc<Services>,
    settled: &watch::Receiver<bool>,
) -> MetricsPage {
    let (services, settled) = (Arc::clone(services), settled.clone());
    let (data_dir, each) = (config.data_dir.clone(), config.metrics_per_partition);
    Arc::new(move || {
        let gauges = Gauges {
            ready: *settled.borrow(),
            disk: usage::disk(&data_dir).ok(),
            disk_deleted: deleted_bytes(),
            disk_full: services.metadata.replica().room().is_disk_full(),
            files: usage::files().ok(),
            memory: usage::memory().ok(),
            ..services.gauges(each)
        };
        Some(render(&services.metrics, gauges))
    })
}
