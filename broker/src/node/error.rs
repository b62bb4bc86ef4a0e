//! Why a broker does not start.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why a broker does not start. Nothing was changed on the way, except where the message says so.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be.
    #[error("{0}")]
    Config(String),
    /// A listener's address cannot be taken.
    #[error("cannot listen on {address} ({name}): {source}{}", what_next(source))]
    Listen {
        /// The setting.
        name: &'static str,
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error("the data directory {}: {why}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// No member of the cluster let the broker in.
    #[error("cannot join the cluster: {0}")]
    Join(String),
    /// A group does not start.
    #[error("{0}")]
    Group(String),
}

impl StartError {
    /// The system refused the data directory.
    pub(super) fn no_access(path: &Path, error: &io::Error) -> Self {
        let next = match error.kind() {
            ErrorKind::ReadOnlyFilesystem => {
                "; a broker must be able to write there: find out why the file system is read-only \
                 (dmesg; ext4 becomes it after an error), mount it writable, or set data_dir to \
                 another place"
            }
            ErrorKind::PermissionDenied => {
                "; a broker must be able to write there: give the directory and all in it to the \
                 user that the broker runs as, or set data_dir to another place"
            }
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                "; it is no directory but a file, a link to nothing, or below a file: move that \
                 away, or set data_dir to another place"
            }
            _ => "",
        };
        Self::DataDir {
            path: path.to_owned(),
            why: format!("{error}{next}"),
        }
    }

    /// The exit code of a program that starts a broker: 2 for its usage, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Listen { .. } | Self::DataDir { .. } | Self::Join(_) | Self::Group(_) => 1,
        }
    }
}

/// What to do about an address that cannot be taken.
fn what_next(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::AddrInUse => "; is another broker running there?",
        ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: listen on one that it has, or on 0.0.0.0 or [::] for \
             all, and set advertise if others reach it by another"
        }
        ErrorKind::PermissionDenied => "; ports below 1024 are the system's: choose a higher one",
        _ => "",
    }
}
