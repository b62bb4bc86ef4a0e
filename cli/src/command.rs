//! One file per family of verbs.

use crate::args::{Args, Command};
use crate::error::Failure;

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        _ => Ok(()),
    }
}
