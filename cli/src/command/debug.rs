//! `highwater debug`: looks into files of a broker, which need not run.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use highwater_broker::log::dump::{DumpError, dump};
use highwater_proto::Reason;

use crate::args::{DebugArgs, DebugVerb};
use crate::error::{Failure, Label};
use crate::exit::ExitCode;
use crate::output;

pub(super) fn run(args: &DebugArgs) -> Result<(), Failure> {
    match &args.verb {
        DebugVerb::Segment { file } => segment(file),
    }
}

fn segment(file: &Path) -> Result<(), Failure> {
    let failed = |error: &io::Error| Failure::io(format!("reading {}", file.display()), error);
    let bytes = fs::read(file)
        .map(Bytes::from)
        .map_err(|error| failed(&error))?;
    let mut out = output::stdout();
    let dumped = match dump(&bytes, &mut out) {
        Err(DumpError::Output(error)) => return Err(error.into()),
        Err(error @ DumpError::NotASegment { .. }) => {
            let message = format!("{}: {error}", file.display());
            return Err(Failure::new(Label::Input, ExitCode::Failure, message));
        }
        Ok(dumped) => dumped,
    };
    out.flush()?;
    if dumped.damaged {
        let message = format!("{} is not as it was written; see above", file.display());
        return Err(Failure::api(Reason::CorruptData, message));
    }
    Ok(())
}
