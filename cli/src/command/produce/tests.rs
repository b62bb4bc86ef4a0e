use highwater_proto::Reason;

use super::*;
use crate::args::{Args, Command};

fn form(line: &str) -> Result<InputForm, Failure> {
    let args = Args::read(line.split_whitespace()).unwrap();
    let Command::Produce(args) = args.command else {
        panic!("not produce")
    };
    input_form(&args)
}

fn message(result: Result<InputForm, Failure>) -> String {
    match result {
        Err(Failure::Report(report)) => report.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_form_follows_from_the_arguments() {
    assert_eq!(form("highwater produce t").unwrap(), InputForm::Line);
    let tab = InputForm::KeyValue {
        separator: b"\t".to_vec(),
    };
    assert_eq!(form("highwater produce t -f kv").unwrap(), tab);
    let other = InputForm::KeyValue {
        separator: b"\x1f=".to_vec(),
    };
    assert_eq!(
        form(r"highwater produce t -f kv --separator \x1f=").unwrap(),
        other
    );
    let json = InputForm::Json {
        key_field: Some("path".to_owned()),
    };
    assert_eq!(
        form("highwater produce t -f json --key-field path").unwrap(),
        json
    );
}

#[test]
fn arguments_that_do_not_fit_together_are_refused() {
    let key_field = message(form("highwater produce t --key-field path"));
    assert!(key_field.ends_with("hint: add -f json"), "{key_field}");
    let separator = message(form("highwater produce t --separator ,"));
    assert!(separator.ends_with("hint: add -f kv"), "{separator}");
    let newline = message(form(r"highwater produce t -f kv --separator \n"));
    assert!(newline.starts_with("error[USAGE]: "), "{newline}");
    let escape = message(form(r"highwater produce t -f kv --separator \q"));
    assert!(escape.contains("'\\q' is no escape"), "{escape}");
}

#[test]
fn when_nothing_was_acknowledged_in_time_that_is_the_exit_code() {
    let after = |count, reason| exit_after(count, ExitCode::of(reason));
    assert_eq!(after(0, Reason::TimedOut), ExitCode::Unavailable);
    assert_eq!(after(0, Reason::QuorumLost), ExitCode::Unavailable);
    assert_eq!(after(0, Reason::BatchTooLarge), ExitCode::Failure);
    assert_eq!(after(1, Reason::TimedOut), ExitCode::Partial);
}
