use std::path::PathBuf;

use clap::Subcommand;

/// Look into files of a broker.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct DebugArgs {
    #[command(subcommand)]
    pub(crate) verb: DebugVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DebugVerb {
    /// Print the header and the frames of a segment file. The broker need not run.
    Segment {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}
