use clap::Subcommand;

use super::ServeArgs;

/// Look at the configuration of a broker.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    Show(ShowArgs),
}

/// Show the settings that `highwater serve` would have with the same arguments.
///
/// It starts nothing and asks no broker.
///
/// JSON: [{"name","value","origin","place"}]. origin is "default", "file", "environment", "set" or
/// "flag"; place is the file, the variable or the flag, and null for a default.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  highwater config show --origin
  highwater config show --config highwater.toml --set rack=r1 -o json")]
pub(crate) struct ShowArgs {
    /// Say where each value comes from. JSON says it always.
    #[arg(long)]
    pub(crate) origin: bool,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}
