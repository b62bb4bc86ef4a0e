//! `highwater config`.

use serde::Serialize;
use serde_json::Value;

use super::serve::{broker_config, start_failure};
use crate::args::{ConfigArgs, ConfigVerb, ShowArgs};
use crate::error::{Failure, talk};
use crate::output::{self, Form, Row};
use crate::settings::{Layers, Origin, Settings, SettingsError};

pub(super) fn run(form: Form, args: &ConfigArgs) -> Result<(), Failure> {
    match &args.verb {
        ConfigVerb::Show(show) => show_settings(form, show),
    }
}

fn show_settings(form: Form, args: &ShowArgs) -> Result<(), Failure> {
    let layers = Layers::read(&args.serve, std::env::vars_os())?;
    let settings = layers.settings()?;
    for overlooked in layers.overlooked() {
        talk(format!("warning: {overlooked}"));
    }
    let rows = rows(&layers, &settings);
    let checked = broker_config(settings).check(args.serve.ephemeral);
    checked.map_err(start_failure)?;
    match form {
        Form::Table if !args.origin => {
            output::list(form, &rows.iter().map(Plain).collect::<Vec<_>>())
        }
        _ => output::list(form, &rows),
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::config(error.to_string()).hint("highwater serve --help")
    }
}

/// A setting. The names of the fields are JSON keys, a contract of `docs/cli.md`.
#[derive(Debug, Serialize)]
struct SettingRow {
    name: &'static str,
    value: Value,
    origin: &'static str,
    place: Option<String>,
}

/// A setting without its origin, for people.
#[derive(Debug, Serialize)]
struct Plain<'a>(&'a SettingRow);

fn rows(layers: &Layers, settings: &Settings) -> Vec<SettingRow> {
    let values = serde_json::to_value(settings).unwrap_or_default();
    let row = |(name, origin): (&'static str, Origin)| SettingRow {
        name,
        value: values.get(name).cloned().unwrap_or_default(),
        origin: origin.kind(),
        place: origin.place(),
    };
    layers.origins().map(row).collect()
}

impl SettingRow {
    /// The value for people: a dash for what is not set.
    fn text(&self) -> String {
        let text = match &self.value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let items = items.iter().filter_map(Value::as_str);
                items.collect::<Vec<_>>().join(",")
            }
            Value::Null => String::new(),
            other => other.to_string(),
        };
        if text.is_empty() {
            "-".to_owned()
        } else {
            text
        }
    }
}

impl Row for SettingRow {
    const COLUMNS: &'static [&'static str] = &["SETTING", "VALUE", "ORIGIN"];

    fn cells(&self) -> Vec<String> {
        let origin = self.place.as_deref().unwrap_or(self.origin);
        vec![self.name.to_owned(), self.text(), origin.to_owned()]
    }
}

impl Row for Plain<'_> {
    const COLUMNS: &'static [&'static str] = &["SETTING", "VALUE"];

    fn cells(&self) -> Vec<String> {
        vec![self.0.name.to_owned(), self.0.text()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ServeArgs;

    #[test]
    fn each_setting_is_shown_with_its_value_and_origin() {
        let args = ServeArgs {
            set: vec!["join=a:1,b:2".to_owned()],
            insecure: true,
            ..ServeArgs::default()
        };
        let variables = [("HIGHWATER__LOG_LEVEL".into(), "debug".into())];
        let layers = Layers::read(&args, variables).unwrap();
        let rows = rows(&layers, &layers.settings().unwrap());
        let json = |name: &str| {
            let row = rows.iter().find(|row| row.name == name).unwrap();
            (serde_json::to_string(row).unwrap(), row.cells())
        };
        let (join, cells) = json("join");
        let expected = r#"{"name":"join","value":["a:1","b:2"],"origin":"set","place":"--set"}"#;
        assert_eq!(join, expected);
        assert_eq!(cells, ["join", "a:1,b:2", "--set"]);
        let (insecure, _) = json("insecure");
        assert!(insecure.contains(r#""value":true,"origin":"flag","place":"--insecure""#));
        let (_, cells) = json("log_level");
        assert_eq!(cells, ["log_level", "debug", "HIGHWATER__LOG_LEVEL"]);
        let (peer, cells) = json("peer_listen");
        assert!(
            peer.ends_with(r#""value":null,"origin":"default","place":null}"#),
            "{peer}"
        );
        assert_eq!(cells, ["peer_listen", "-", "default"]);
    }
}
