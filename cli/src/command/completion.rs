//! `highwater completion`.

use std::io::Write;

use crate::args::{Args, CompletionArgs};
use crate::error::Failure;
use crate::output;

pub(super) fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut Args::definition(),
        "highwater",
        &mut script,
    );
    let mut out = output::stdout();
    out.write_all(&script)?;
    Ok(out.flush()?)
}
