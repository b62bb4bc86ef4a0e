//! The exit codes, part of the contract in `docs/cli.md`.

use std::process;

use highwater_proto::Reason;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// Everything asked for was done.
    Ok = 0,
    /// It failed, and no code below says more.
    Failure = 1,
    /// The arguments or the configuration cannot be used.
    Usage = 2,
    /// A topic, partition or development cluster does not exist.
    NotFound = 3,
    /// It exists already, or something newer has taken its place.
    Conflict = 4,
    /// No answer, or not in time; trying again may help.
    Unavailable = 5,
    /// The principal may not do this.
    Denied = 6,
    /// Some of it was done.
    Partial = 7,
    /// Stopped by SIGINT.
    Interrupted = 130,
}

impl ExitCode {
    /// The code for an error of the API.
    pub(crate) fn of(reason: Reason) -> Self {
        match reason {
            Reason::TopicNotFound | Reason::PartitionNotFound => Self::NotFound,
            Reason::TopicExists
            | Reason::TopicIdMismatch
            | Reason::SequenceGap
            | Reason::DuplicateSequence
            | Reason::ProducerFenced
            | Reason::UnknownProducer
            | Reason::WrongCluster => Self::Conflict,
            Reason::NotLeader
            | Reason::NoLeader
            | Reason::QuorumLost
            | Reason::OutcomeUnknown
            | Reason::DiskFull
            | Reason::Overloaded
            | Reason::TimedOut
            | Reason::Unreachable
            | Reason::NotReady
            | Reason::Stale => Self::Unavailable,
            Reason::InvalidRequest
            | Reason::RequestTooLarge
            | Reason::InvalidTopicName
            | Reason::InvalidConfig
            | Reason::InvalidReplication => Self::Usage,
            Reason::Denied => Self::Denied,
            _ => Self::Failure,
        }
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_map_to_the_documented_codes() {
        assert_eq!(ExitCode::of(Reason::TopicNotFound), ExitCode::NotFound);
        assert_eq!(ExitCode::of(Reason::TopicExists), ExitCode::Conflict);
        assert_eq!(ExitCode::of(Reason::Unreachable), ExitCode::Unavailable);
        assert_eq!(ExitCode::of(Reason::TimedOut), ExitCode::Unavailable);
        assert_eq!(ExitCode::of(Reason::InvalidConfig), ExitCode::Usage);
        assert_eq!(ExitCode::of(Reason::Denied), ExitCode::Denied);
        assert_eq!(ExitCode::of(Reason::CorruptData), ExitCode::Failure);
    }

    #[test]
    fn no_reason_maps_to_success() {
        for reason in Reason::ALL.iter().copied() {
            assert_ne!(ExitCode::of(reason), ExitCode::Ok, "{reason}");
        }
    }
}
