//! The settings of a broker: flags, then `--set`, then the environment, then the file, then the
//! defaults; the first that names a setting decides it. Nothing unknown is accepted silently.

mod layers;
mod span;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use layers::{Layers, Origin, SettingsError};

/// What a setting may be when it is given as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Texts with commas between.
    List,
    Choice(&'static [&'static str]),
}

const BOOL: Kind = Kind::Choice(&["true", "false"]);

/// The names of the settings, as in [`Settings`], in the order of the documentation.
const NAMES: [(&str, Kind); 12] = [
    ("data_dir", Kind::Text),
    ("listen", Kind::Text),
    ("peer_listen", Kind::Text),
    ("http_listen", Kind::Text),
    ("advertise", Kind::Text),
    ("join", Kind::List),
    ("rack", Kind::Text),
    ("insecure", BOOL),
    (
        "log_level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
    ),
    ("log_format", Kind::Choice(&["text", "json"])),
    ("metrics_per_partition", BOOL),
    ("suspect_after", Kind::Text),
];

/// The settings of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: String,
    pub(crate) peer_listen: Option<String>,
    pub(crate) http_listen: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) join: Vec<String>,
    pub(crate) rack: String,
    pub(crate) insecure: bool,
    pub(crate) log_level: LogLevel,
    pub(crate) log_format: LogFormat,
    pub(crate) metrics_per_partition: bool,
    #[serde(with = "span")]
    pub(crate) suspect_after: Duration,
}

/// From which level on the log shows what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The filter of the log. What libraries say is for those who look for something.
    pub(crate) fn filter(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn,openraft=error",
            Self::Info => "info,openraft=error",
            Self::Debug => "info,highwater_broker=debug,highwater_cli=debug,openraft=warn",
            Self::Trace => "debug,highwater_broker=trace,highwater_cli=trace",
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// A JSON object.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./highwater-data"),
            listen: "127.0.0.1:7654".to_owned(),
            peer_listen: None,
            http_listen: None,
            advertise: None,
            join: Vec::new(),
            rack: String::new(),
            insecure: false,
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            metrics_per_partition: false,
            suspect_after: Duration::from_millis(400),
        }
    }
}

#[cfg(test)]
mod tests;
