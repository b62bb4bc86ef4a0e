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
    let reason = named(typed);
    let found = all.iter().find(|explanation| explanation.reason == reason);
    let Some(found) = found else {
        return Err(unknown(typed, &reason, &all));
    };
    match form {
        Form::Table => output::object(form, found, Explanation::text),
        Form::Json | Form::Jsonl => output::list(form, std::slice::from_ref(found)),
    }
}

/// The reason that is meant, also where the begin of an error was copied.
fn named(typed: &str) -> String {
    let typed = typed.trim().trim_end_matches(':');
    let within = typed.strip_prefix("error[");
    let within = within.and_then(|rest| rest.strip_suffix(']'));
    within.unwrap_or(typed).to_uppercase().replace('-', "_")
}

fn unknown(typed: &str, reason: &str, all: &[Explanation]) -> Failure {
    let known = all.iter().map(|explanation| explanation.reason.as_str());
    let hint = match suggest::nearest(reason, known) {
        Some(near) => format!("did you mean {near}? all: highwater explain"),
        None => "all: highwater explain".to_owned(),
    };
    Failure::usage(format!("{typed:?} is not the reason of an error")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_may_be_typed_in_small_letters_or_copied_from_an_error() {
        for typed in [
            "QUORUM_LOST",
            "quorum-lost",
            "error[QUORUM_LOST]",
            "error[QUORUM_LOST]:",
        ] {
            assert_eq!(named(typed), "QUORUM_LOST", "{typed}");
        }
    }
}
