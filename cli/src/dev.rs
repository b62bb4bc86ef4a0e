//! The machinery of `highwater dev`: brokers of this machine that outlive the command which
//! started them. `state` is what a cluster's directory remembers, `lock` keeps it to one command at a
//! time, `process` tells whether a process is still the one that was started, `launch` starts a broker
//! and waits for its word.

mod launch;
mod lock;
mod process;
mod state;

pub(crate) use launch::{LaunchError, Launched};
pub(crate) use lock::{DirLock, LockError};
pub(crate) use process::Signal;
pub(crate) use state::{Node, State, StateError};
