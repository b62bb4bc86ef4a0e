//! How a command fails: what, where, why and the next command, on stderr.

use std::fmt;
use std::io::{self, Write};

use highwater_proto::Reason;

use crate::exit::ExitCode;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read stdout has gone; that is how `| head` ends a command, and no failure.
    ReaderGone,
    /// SIGINT.
    Interrupted,
    /// The command has said on stderr what went wrong.
    Told(ExitCode),
    /// To be said on stderr.
    Report(Box<Report>),
}

/// An error as it is shown.
#[derive(Debug)]
pub(crate) struct Report {
    label: Label,
    exit: ExitCode,
    message: String,
    hint: Option<String>,
}

/// What stands in `error[…]`: a reason of the API or one of the program's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    /// A reason of the API.
    Api(Reason),
    /// The arguments cannot be used.
    Usage,
    /// The configuration of the broker cannot be used.
    Config,
    /// A line of the input cannot be used.
    Input,
    /// The operating system refused something.
    Io,
    /// The broker could not start.
    Start,
    /// The broker had to stop.
    Stopped,
    /// There is no development cluster, or it does not do what it should.
    Dev,
    /// Records of a bench are not as they were sent, or not of a bench.
    Bench,
}

impl Label {
    /// The program's own labels, with their exit codes (the usual one first), meaning and hint.
    pub(crate) const OWN: [(Self, &'static [ExitCode], &'static str, &'static str); 8] = [
        (
            Self::Usage,
            &[ExitCode::Usage],
            "The arguments cannot be used.",
            "the message names the argument; --help after any command shows what it takes",
        ),
        (
            Self::Config,
            &[ExitCode::Usage],
            "The configuration of the broker cannot be used.",
            "highwater config show --origin tells where each setting comes from",
        ),
        (
            Self::Input,
            &[ExitCode::Failure, ExitCode::Partial],
            "A line of the input cannot be used; file and line are named.",
            "correct the line; what was acknowledged need not be sent again",
        ),
        (
            Self::Io,
            &[ExitCode::Failure, ExitCode::Partial],
            "The operating system refused something.",
            "the message says what was tried",
        ),
        (
            Self::Start,
            &[ExitCode::Failure],
            "The broker could not start.",
            "the message says why: a port or directory in use, a directory of another cluster",
        ),
        (
            Self::Stopped,
            &[ExitCode::Failure],
            "The broker had to stop.",
            "its log says why; after a failed sync look at the disk before starting it again",
        ),
        (
            Self::Bench,
            &[ExitCode::Failure, ExitCode::Conflict],
            "Records of a bench are not as they were sent, or records of others were seen in the topic.",
            "let it make a topic of its own, or name one that only benches have used",
        ),
        (
            Self::Dev,
            &[ExitCode::Failure, ExitCode::NotFound],
            "The development cluster is not there, or does not do what it should.",
            "highwater dev status; the brokers' logs are in its directory",
        ),
    ];
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api(reason) => reason.as_str(),
            Self::Usage => "USAGE",
            Self::Config => "CONFIG",
            Self::Input => "INPUT",
            Self::Io => "IO",
            Self::Start => "START",
            Self::Stopped => "STOPPED",
            Self::Dev => "DEV",
            Self::Bench => "BENCH",
        })
    }
}

impl Failure {
    /// A failure with this label, exit code and message, without a hint.
    pub(crate) fn new(label: Label, exit: ExitCode, message: impl Into<String>) -> Self {
        Self::Report(Box::new(Report {
            label,
            exit,
            message: message.into(),
            hint: None,
        }))
    }

    /// An error of the API, with its own hint.
    pub(crate) fn api(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Label::Api(reason), ExitCode::of(reason), message).hint(reason.hint())
    }

    /// Arguments that parse and still cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Label::Usage, ExitCode::Usage, message)
    }

    /// A configuration that cannot be used.
    #[cfg(target_os = "linux")]
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(Label::Config, ExitCode::Usage, message)
    }

    /// A line of input that cannot be used; `place` is `file:line`.
    pub(crate) fn input(place: impl fmt::Display, message: impl fmt::Display) -> Self {
        let text = format!("{message}, at {place}");
        Self::new(Label::Input, ExitCode::Failure, text)
            .hint("correct the line; what was acknowledged need not be sent again")
    }

    /// The operating system refused `what`, such as "reading changes.jsonl".
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(Label::Io, ExitCode::Failure, format!("{what}: {error}"))
    }

    /// The same failure with a next step for the user.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Report(report) = &mut self {
            report.hint = Some(hint.into());
        }
        self
    }

    /// The same failure with another exit code.
    #[must_use]
    pub(crate) fn exiting(mut self, exit: ExitCode) -> Self {
        if let Self::Report(report) = &mut self {
            report.exit = exit;
        }
        self
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::ReaderGone => ExitCode::Ok,
            Self::Interrupted => ExitCode::Interrupted,
            Self::Told(exit) => *exit,
            Self::Report(report) => report.exit,
        }
    }

    /// Writes it to stderr. There is nobody to tell if that fails.
    pub(crate) fn tell(&self) {
        if let Self::Report(report) = self {
            talk(report);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.label, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// For writes to stdout: a broken pipe is a quiet end.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::io("writing to stdout", &error),
        }
    }
}

/// True for a failure. An interrupt is none: the command ends in order.
pub(crate) fn failed(ended: &Result<(), Failure>) -> bool {
    let is_failure =
        |failure: &Failure| !matches!(failure.exit_code(), ExitCode::Ok | ExitCode::Interrupted);
    ended.as_ref().is_err_and(is_failure)
}

/// Says one line on stderr; there is nobody to tell if that fails.
pub(crate) fn talk(line: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(failure: &Failure) -> String {
        match failure {
            Failure::Report(report) => report.to_string(),
            other => panic!("{other:?} shows nothing"),
        }
    }

    #[test]
    fn an_api_error_shows_its_reason_and_hint() {
        let failure = Failure::api(Reason::TopicNotFound, "no topic \"x\"");
        let expected = "error[TOPIC_NOT_FOUND]: no topic \"x\"\nhint: highwater topic list";
        assert_eq!(shown(&failure), expected);
        assert_eq!(failure.exit_code(), ExitCode::NotFound);
    }

    #[test]
    fn an_input_error_names_the_place() {
        let failure = Failure::input("a.jsonl:7", "not JSON");
        let text = shown(&failure);
        assert!(
            text.starts_with("error[INPUT]: not JSON, at a.jsonl:7\nhint: "),
            "{text}"
        );
        assert_eq!(failure.exit_code(), ExitCode::Failure);
    }

    #[test]
    fn a_closed_stdout_is_no_failure() {
        let gone = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(gone.exit_code(), ExitCode::Ok);
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit_code(), ExitCode::Failure);
    }
}
