//! `highwater explain`.

use crate::args::ExplainArgs;
use crate::error::Failure;
use crate::explain::Explanation;
use crate::output::{self, Form};
use crate::suggest;

pub(super) fn run(form: Form, args: &ExplainArgs) -> Result<(), Failure> {
    let all = Explanation::all();
    let Some(typed) = &args.reason else {
        return output::list(form, &all);
    };
    let reason = typed.to_uppercase().replace('-', "_");
    let found = all.iter().find(|explanation| explanation.reason == reason);
    let Some(found) = found else {
        return Err(unknown(typed, &reason, &all));
    };
    match form {
        Form::Table => output::object(form, found, Explanation::text),
        Form::Json | Form::Jsonl => output::list(form, std::slice::from_ref(found)),
    }
}

fn unknown(typed: &str, reason: &str, all: &[Explanation]) -> Failure {
    let known = all.iter().map(|explanation| explanation.reason.as_str());
    let hint = match suggest::nearest(reason, known) {
        Some(near) => format!("did you mean {near}? all: highwater explain"),
        None => "all: highwater explain".to_owned(),
    };
    Failure::usage(format!("{typed:?} is not the reason of an error")).hint(hint)
}
