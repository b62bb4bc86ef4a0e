//! A broker on its way.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use serde_json::Value;

use super::{Broker, Life, READY};
use crate::program::Program;
use crate::stderr::Stderr;

/// A broker that was started and may not be ready yet. Killed if nobody waits for it.
#[derive(Debug)]
pub struct Launched {
    pub(super) program: Program,
    pub(super) data_dir: PathBuf,
    pub(super) extra: Vec<String>,
    pub(super) child: Life,
    pub(super) log: Arc<Stderr>,
    pub(super) stdout: Receiver<String>,
}

impl Launched {
    /// The first line of its log with `wanted` in it; waits for it.
    #[track_caller]
    pub fn log_line(&self, wanted: &str) -> String {
        self.log.line_with(wanted)
    }

    /// Its address for HTTP, which is that for clients and two more.
    pub fn http(&self) -> String {
        let listen = self
            .extra
            .iter()
            .skip_while(|arg| *arg != "--listen")
            .nth(1);
        let port = listen.and_then(|listen| listen.strip_prefix("127.0.0.1:")?.parse::<u16>().ok());
        let port = port.expect("it listens at a port that was chosen");
        format!("127.0.0.1:{}", port + 2)
    }

    /// Waits until it is ready.
    #[track_caller]
    pub fn until_ready(mut self) -> Broker {
        let Ok(line) = self.stdout.recv_timeout(READY) else {
            drop(self.child.kill());
            let status = self.child.wait();
            panic!(
                "no broker is ready within {READY:?} ({status:?}); its log:\n{}",
                self.log.text()
            );
        };
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        assert_eq!(ready["ready"], true, "{line}");
        Broker {
            program: self.program,
            data_dir: self.data_dir,
            extra: self.extra,
            child: self.child,
            log: self.log,
            stdout: self.stdout,
            ready,
        }
    }
}
