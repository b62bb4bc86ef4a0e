//! What others wait for of a replica: who leads, and whether its core has ended.

use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;

use super::knowledge::{Leadership, leadership_of};
use super::state_machine::OpenRaft;

/// Keeps what others wait for of a core's metrics: one task, since each change of them wakes it.
pub(super) struct Watcher {
    pub(super) raft: OpenRaft,
    /// Whether `super::heartbeats` sends the group's heartbeats.
    pub(super) shares_heartbeats: bool,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) ended: watch::Sender<Option<String>>,
}

impl Watcher {
    pub(super) async fn run(self) {
        let mut metrics = self.raft.metrics();
        loop {
            let (now, end) = {
                let metrics = metrics.borrow_watched();
                let end = metrics.running_state.as_ref().err();
                (leadership_of(&metrics), end.map(ToString::to_string))
            };
            let changed = |old: &mut Leadership| std::mem::replace(old, now) != now;
            if self.leadership.send_if_modified(changed) {
                self.tick(now);
            }
            if end.is_some() {
                self.ended.send_replace(end);
                return;
            }
            if metrics.changed().await.is_err() {
                self.leadership.send_modify(|now| now.mine = false);
                let why = "its core has ended without saying why".to_owned();
                self.ended.send_replace(Some(why));
                return;
            }
        }
    }

    /// The core's own clock is for followers, to find out that nobody leads: a leader has nothing to
    /// do by itself.
    fn tick(&self, now: Leadership) {
        if self.shares_heartbeats {
            self.raft.runtime_config().tick(!now.mine);
        }
    }
}
