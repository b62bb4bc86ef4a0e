/// Say what the reason of an error means, and what to do.
///
/// The reason is what stands in `error[REASON]`. Without one, all are listed.
///
/// JSON: [{"reason","meaning","outcome","code","exit_code","exit_codes","hint"}]. outcome is
/// "refused" (nothing was written, asking again in the same way cannot help), "retriable" (nothing
/// was written, asking again may help) or "unknown" (it may have been written); code is that of
/// gRPC. Both are null for reasons that do not come from a broker. A command that did a part ends
/// with exit code 7, whatever the reason.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  highwater explain QUORUM_LOST
  highwater explain -o json")]
pub(crate) struct ExplainArgs {
    /// The reason, in any case, alone or as it was shown: error[REASON].
    #[arg(value_name = "REASON")]
    pub(crate) reason: Option<String>,
}
