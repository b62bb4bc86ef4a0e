use clap_complete::Shell;

/// Print what makes a shell complete commands and flags.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  highwater completion bash > /etc/bash_completion.d/highwater
  highwater completion zsh > ~/.zfunc/_highwater
  highwater completion fish > ~/.config/fish/completions/highwater.fish")]
pub(crate) struct CompletionArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}
