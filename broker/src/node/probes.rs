//! What HTTP answers, from the first moment of a start on: a broker that waits for its cluster lives,
//! whoever restarts those that do not answer.

use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::listener::{Slots, http};
use crate::tasks::Tasks;

/// The answers of a broker whose state is not known yet, or is.
#[derive(Clone, Default)]
pub(super) struct Probes(Arc<OnceLock<State>>);

struct State {
    settled: watch::Receiver<bool>,
    page: http::MetricsPage,
}

impl Probes {
    /// Answers until the listeners end.
    pub(super) fn serve(&self, http: (TcpListener, Slots), listeners: &Tasks) {
        let (readiness, page) = (self.clone(), self.clone());
        let stop = listeners.clone();
        listeners.spawn(http::serve(
            http,
            Arc::new(move || readiness.is_ready()),
            Arc::new(move || page.0.get().and_then(|state| (state.page)())),
            async move { stop.cancelled().await },
        ));
    }

    /// From here on the broker is ready once `settled`, and has metrics.
    pub(super) fn follow(&self, settled: watch::Receiver<bool>, page: http::MetricsPage) {
        let _ = self.0.set(State { settled, page });
    }

    fn is_ready(&self) -> Result<(), String> {
        match self.0.get() {
            Some(state) if *state.settled.borrow() => Ok(()),
            _ => Err("the broker is joining its cluster or recovering its partitions".to_owned()),
        }
    }
}
