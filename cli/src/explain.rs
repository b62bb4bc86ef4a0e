//! What the reasons in `error[…]` mean: those of the API, and the program's own.

use highwater_proto::Reason;
use highwater_proto::reason::Outcome;
use serde::Serialize;

use crate::error::Label;
use crate::exit::ExitCode;
use crate::output::Row;

/// A reason in full. The names of the fields are JSON keys, a contract of `docs/cli.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Explanation {
    pub(crate) reason: String,
    pub(crate) meaning: &'static str,
    /// What may be concluded; none for the program's own reasons.
    pub(crate) outcome: Option<&'static str>,
    /// The name of the gRPC code; none for the program's own reasons.
    pub(crate) code: Option<String>,
    /// The usual one.
    pub(crate) exit_code: u8,
    /// All that it may come with where nothing was done; a part that was done makes it 7.
    pub(crate) exit_codes: Vec<u8>,
    pub(crate) hint: &'static str,
}

impl Explanation {
    /// All reasons, in the order of the documentation.
    pub(crate) fn all() -> Vec<Self> {
        let api = Reason::ALL.iter().copied().map(Self::of_api);
        api.chain(Label::OWN.into_iter().map(Self::of_program))
            .collect()
    }

    fn of_api(reason: Reason) -> Self {
        Self {
            reason: reason.to_string(),
            meaning: reason.meaning(),
            outcome: Some(match reason.outcome() {
                Outcome::Refused => "refused",
                Outcome::Retriable => "retriable",
                Outcome::Unknown => "unknown",
            }),
            code: Some(canonical(&format!("{:?}", reason.code()))),
            exit_code: ExitCode::of(reason) as u8,
            exit_codes: vec![ExitCode::of(reason) as u8],
            hint: reason.hint(),
        }
    }

    fn of_program(
        (label, exits, meaning, hint): (Label, &[ExitCode], &'static str, &'static str),
    ) -> Self {
        Self {
            reason: label.to_string(),
            meaning,
            outcome: None,
            code: None,
            exit_code: exits.first().map_or(1, |exit| *exit as u8),
            exit_codes: exits.iter().map(|exit| *exit as u8).collect(),
            hint,
        }
    }

    /// `1 or 7`.
    fn exits(&self) -> String {
        let codes: Vec<String> = self.exit_codes.iter().map(u8::to_string).collect();
        codes.join(" or ")
    }

    /// The reason for people.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![self.reason.clone(), line("meaning", self.meaning)];
        let conclusion = self.outcome.map(|outcome| match outcome {
            "refused" => {
                "refused: this request wrote nothing, and asking again in the same way cannot help"
            }
            "retriable" => "retriable: nothing was written, and asking again may help",
            _ => {
                "unknown: it may have been written; only a sequenced batch may safely be sent again"
            }
        });
        lines.extend(conclusion.map(|text| line("outcome", text)));
        lines.extend(self.code.as_ref().map(|code| line("gRPC", code)));
        lines.push(line("exit", &format!("code {}", self.exits())));
        lines.push(line("hint", self.hint));
        lines.join("\n") + "\n"
    }
}

fn line(name: &str, text: &str) -> String {
    format!("  {name:<8} {text}")
}

/// `FailedPrecondition` as gRPC spells it, `FAILED_PRECONDITION`.
fn canonical(name: &str) -> String {
    let mut spelled = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !spelled.is_empty() {
            spelled.push('_');
        }
        spelled.push(c.to_ascii_uppercase());
    }
    spelled
}

impl Row for Explanation {
    const COLUMNS: &'static [&'static str] = &["REASON", "OUTCOME", "EXIT", "MEANING"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.reason.clone(),
            self.outcome.unwrap_or("-").to_owned(),
            self.exits(),
            self.meaning.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(reason: &str) -> Explanation {
        let mut all = Explanation::all().into_iter();
        all.find(|explanation| explanation.reason == reason)
            .unwrap()
    }

    #[test]
    fn the_keys_of_an_explanation_are_the_contract() {
        let json = serde_json::to_string(&named("TOPIC_NOT_FOUND")).unwrap();
        let expected = concat!(
            r#"{"reason":"TOPIC_NOT_FOUND","meaning":"No topic has this name.","#,
            r#""outcome":"refused","code":"NOT_FOUND","exit_code":3,"exit_codes":[3],"#,
            r#""hint":"highwater topic list"}"#
        );
        assert_eq!(json, expected);
        let own = serde_json::to_value(named("USAGE")).unwrap();
        assert!(own["code"].is_null() && own["outcome"].is_null(), "{own}");
    }

    #[test]
    fn every_label_of_an_error_is_explained_once() {
        let mut reasons: Vec<String> = Explanation::all()
            .into_iter()
            .map(|explanation| explanation.reason)
            .collect();
        let count = reasons.len();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), count);
        assert_eq!(count, Reason::ALL.len() + Label::OWN.len());
    }

    #[test]
    fn people_learn_whether_it_was_written() {
        let text = named("OUTCOME_UNKNOWN").text();
        assert!(
            text.contains("  outcome  unknown: it may have been written"),
            "{text}"
        );
        assert!(text.contains("  gRPC     UNAVAILABLE\n"), "{text}");
        assert!(!named("IO").text().contains("outcome"));
    }

    #[test]
    fn the_manual_has_the_exit_codes_that_are_explained() {
        let manual = include_str!("../../docs/cli.md");
        for explanation in Explanation::all() {
            let row = format!("| `{}` | {} |", explanation.reason, explanation.exits());
            assert!(manual.contains(&row), "{row}");
        }
        assert!(named("DEV").text().contains("code 1 or 3\n"));
    }

    #[test]
    fn codes_are_spelled_as_grpc_does() {
        assert_eq!(canonical("FailedPrecondition"), "FAILED_PRECONDITION");
        assert_eq!(canonical("Internal"), "INTERNAL");
    }
}
