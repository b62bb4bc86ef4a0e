//! Support for tests on real processes: the program built once more as `highwater-under-test`,
//! brokers and clusters of it, and input to send through them.
//!
//! The API is spoken in three ways: by the program's own commands, by the generated clients
//! ([`Api`], [`Session`]), and by reflection alone.
//!
//! Everything waits for events with a limit and panics with what the processes said; whatever was
//! started is killed when it goes out of scope.

use std::io::Write;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub mod api;
pub mod batches;
pub mod broker;
pub mod cluster;
pub mod conversation;
pub mod disk;
pub mod files;
pub mod guide;
mod health;
pub mod history;
pub mod http;
pub mod input;
pub mod load;
pub mod neighbour;
pub mod ports;
pub mod program;
pub mod protos;
pub mod proxy;
pub mod python;
pub mod random;
pub mod reflect;
pub mod session;
pub mod sockets;
mod stderr;
pub mod storage;
pub mod unfinished;
mod wait;

pub use api::{Answer, Api, Refusal};
pub use broker::Broker;
pub use cluster::Cluster;
pub use conversation::Conversation;
pub use disk::{FailingDisk, SmallDisk};
pub use http::Metrics;
pub use load::Load;
pub use neighbour::Neighbour;
pub use program::{Ended, Program};
pub use proxy::Proxy;
pub use session::Session;
pub use unfinished::Unfinished;

/// The program under test. Only the tests themselves can know where cargo has put it.
#[macro_export]
macro_rules! program {
    () => {
        $crate::Program::at(env!("CARGO_BIN_EXE_highwater-under-test"))
    };
}

/// How much a test does that has a long form: what this variable of the environment says, or
/// `ordinary`.
///
/// # Panics
///
/// When the variable is no number.
#[must_use]
pub fn long_form(variable: &str, ordinary: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => ordinary,
    }
}

/// How long something may take: what is promised in a release build, which is measured with nothing else
/// on the machine, and otherwise what a machine may need that is busy with other tests.
#[must_use]
pub const fn may_take(promised: Duration, busy: Duration) -> Duration {
    if cfg!(debug_assertions) {
        busy
    } else {
        promised
    }
}

/// What this process has had of the processors.
#[must_use]
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Says what was measured, also when the test succeeds.
pub fn figure(text: &str) {
    drop(writeln!(std::io::stderr(), "figure: {text}"));
}
