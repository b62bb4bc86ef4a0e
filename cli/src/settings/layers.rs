//! Where settings come from, one layer over the other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Serialized, Toml};
use figment::value::Value;
use figment::{Figment, Provider};
use serde::Serialize;

use super::{Kind, NAMES, Settings};
use crate::args::ServeArgs;
use crate::suggest;

/// What begins the names of environment variables that are settings.
const ENV_PREFIX: &str = "HIGHWATER__";

/// What begins those of this program that are no settings, such as HIGHWATER_BROKERS.
const OTHER_PREFIX: &str = "HIGHWATER_";

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing names the setting.
    Default,
    /// The file of `--config`.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// `--set`.
    Set,
    /// The setting's own flag.
    Flag(String),
}

impl Origin {
    /// The kind of place, as JSON has it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File(_) => "file",
            Self::Environment(_) => "environment",
            Self::Set => "set",
            Self::Flag(_) => "flag",
        }
    }

    /// The file, variable or flag; none for a default.
    pub(crate) fn place(&self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::File(path) => Some(path.display().to_string()),
            Self::Environment(variable) => Some(variable.clone()),
            Self::Set => Some("--set".to_owned()),
            Self::Flag(flag) => Some(flag.clone()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place().unwrap_or_else(|| "default".to_owned()))
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A name that is no setting.
    #[error("unknown setting {name:?} in {place}{suggestion}")]
    Unknown {
        name: String,
        place: String,
        /// "; did you mean …?" or nothing.
        suggestion: String,
    },
    /// `--set` without `=`.
    #[error("--set {0} is not KEY=VALUE")]
    NoPair(String),
    /// A flag, or a variable of the environment that is a setting, whose value is no text.
    #[error("the value of {0} is no text (UTF-8)")]
    NoText(String),
    /// A value that the setting cannot have.
    #[error("{name} in {place} is {value:?}; it may be {}", either(allowed))]
    NoChoice {
        name: String,
        place: String,
        value: String,
        allowed: &'static [&'static str],
    },
    /// A setting that says where data is kept, beside `--ephemeral`.
    #[error("--ephemeral keeps nothing, and {name} is set in {place}; leave out one of them")]
    Ephemeral { name: &'static str, place: String },
    /// The file cannot be read or does not say what it should.
    #[error("{0}")]
    Invalid(String),
}

/// All layers, and which of them decided each setting.
#[derive(Debug)]
pub(crate) struct Layers {
    merged: Figment,
    origins: BTreeMap<&'static str, Origin>,
    /// Variables with one underscore too few, and the settings that they would be.
    misspelled: Vec<(String, &'static str)>,
}

impl Layers {
    /// Reads the file, the environment and the flags.
    pub(crate) fn read(
        args: &ServeArgs,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let mut layers = Self {
            merged: Figment::from(Serialized::defaults(Settings::default())),
            origins: BTreeMap::new(),
            misspelled: Vec::new(),
        };
        if let Some(path) = &args.config {
            layers.file(path)?;
        }
        for (variable, value) in environment {
            // What is no setting may be anything, also no text.
            let Ok(variable) = variable.into_string() else {
                continue;
            };
            if let Some(name) = variable.strip_prefix(ENV_PREFIX) {
                let name = name.to_lowercase();
                let text = value.into_string();
                let value = text.map_err(|_| SettingsError::NoText(variable.clone()))?;
                layers.text(&name, &value, Origin::Environment(variable))?;
            } else if let Some(name) = variable.strip_prefix(OTHER_PREFIX) {
                let name = name.to_lowercase();
                if let Some((name, _)) = NAMES.iter().find(|(known, _)| *known == name) {
                    layers.misspelled.push((variable, name));
                }
            }
        }
        for pair in &args.set {
            let split = pair.split_once('=');
            let (name, value) = split.ok_or_else(|| SettingsError::NoPair(pair.clone()))?;
            layers.text(name.trim(), value, Origin::Set)?;
        }
        layers.flags(args)?;
        Ok(layers)
    }

    /// The settings that hold.
    pub(crate) fn settings(&self) -> Result<Settings, SettingsError> {
        let extracted = self.merged.extract();
        extracted.map_err(|error| self.misfit(&error))
    }

    /// A value of the wrong kind, with the name of the setting and where it was set.
    fn misfit(&self, error: &figment::Error) -> SettingsError {
        let name = error.path.first();
        let origin = name.and_then(|name| self.origins.get(name.as_str()));
        SettingsError::Invalid(match (name, origin) {
            (Some(name), Some(origin)) => format!("{name} in {origin}: {}", error.kind),
            _ => error.to_string(),
        })
    }

    /// Every setting, in the order of the documentation, with the origin of its value.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (&'static str, Origin)> {
        let origin = |name| self.origins.get(name).cloned().unwrap_or(Origin::Default);
        NAMES.iter().map(move |(name, _)| (*name, origin(name)))
    }

    /// Variables that were perhaps meant to be settings and are none. Where the setting has a value, the
    /// variable may be there for whoever gave it.
    pub(crate) fn overlooked(&self) -> impl Iterator<Item = String> {
        let unset = |(_, name): &&(_, _)| !self.origins.contains_key(name);
        self.misspelled
            .iter()
            .filter(unset)
            .map(|(variable, name)| {
                let right = format!("{ENV_PREFIX}{}", name.to_uppercase());
                format!("{variable} sets nothing; the variable of the setting {name} is {right}")
            })
    }

    fn file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let invalid = |error: &dyn fmt::Display| {
            // What the parser says ends with the line that it means, and that with its end.
            let error = error.to_string();
            SettingsError::Invalid(format!("{}: {}", path.display(), error.trim_end()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| invalid(&error))?;
        let layer = Toml::string(&text);
        let profiles = layer.data().map_err(|error| invalid(&error))?;
        let origin = Origin::File(path.to_owned());
        for (name, value) in profiles.values().flatten() {
            let (name, kind) = known(name, &origin)?;
            if let (Kind::Choice(allowed), Value::String(_, value)) = (kind, value) {
                choice(name, allowed, value, &origin)?;
            }
            self.origins.insert(name, origin.clone());
        }
        self.merged = std::mem::take(&mut self.merged).merge(layer);
        Ok(())
    }

    /// One setting given as text.
    fn text(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), SettingsError> {
        let (name, kind) = known(name, &origin)?;
        match kind {
            Kind::Text => self.put(name, value, origin),
            Kind::List => {
                let items = value.split(',').filter(|item| !item.is_empty());
                self.put(name, items.collect::<Vec<_>>(), origin);
            }
            Kind::Choice(allowed) => {
                choice(name, allowed, value, &origin)?;
                match value.parse::<bool>() {
                    Ok(value) => self.put(name, value, origin),
                    Err(_) => self.put(name, value, origin),
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, name: &'static str, value: impl Serialize, origin: Origin) {
        let layer = Serialized::default(name, value);
        self.merged = std::mem::take(&mut self.merged).merge(layer);
        self.origins.insert(name, origin);
    }

    fn flags(&mut self, args: &ServeArgs) -> Result<(), SettingsError> {
        let texts = [
            ("listen", &args.listen),
            ("peer_listen", &args.peer_listen),
            ("http_listen", &args.http_listen),
            ("advertise", &args.advertise),
            ("rack", &args.rack),
            ("log_level", &args.log_level),
            ("log_format", &args.log_format),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                self.text(name, value, flag(name))?;
            }
        }
        if let Some(dir) = &args.data_dir {
            let text = dir.to_str();
            let dir = text.ok_or_else(|| SettingsError::NoText("--data-dir".to_owned()))?;
            self.text("data_dir", dir, flag("data_dir"))?;
        }
        if !args.join.is_empty() {
            self.put("join", &args.join, flag("join"));
        }
        if args.insecure {
            self.put("insecure", true, flag("insecure"));
        }
        if args.ephemeral {
            self.ephemeral()?;
        }
        Ok(())
    }

    /// What is kept nowhere has no place, and what acknowledges without keeping joins nobody.
    fn ephemeral(&mut self) -> Result<(), SettingsError> {
        for name in ["data_dir", "join"] {
            if let Some(origin) = self.origins.get(name) {
                let place = origin.to_string();
                return Err(SettingsError::Ephemeral { name, place });
            }
        }
        self.put("data_dir", "", flag("ephemeral"));
        if !self.origins.contains_key("listen") {
            self.put("listen", "127.0.0.1:0", flag("ephemeral"));
        }
        Ok(())
    }
}

fn flag(name: &str) -> Origin {
    Origin::Flag(format!("--{}", name.replace('_', "-")))
}

fn known(name: &str, origin: &Origin) -> Result<(&'static str, Kind), SettingsError> {
    if let Some(found) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*found);
    }
    let nearest = suggest::nearest(name, NAMES.map(|(name, _)| name));
    Err(SettingsError::Unknown {
        name: name.to_owned(),
        place: origin.to_string(),
        suggestion: nearest
            .map(|near| format!("; did you mean {near:?}?"))
            .unwrap_or_default(),
    })
}

/// `a, b or c`.
fn either(allowed: &[&str]) -> String {
    match allowed.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn choice(
    name: &str,
    allowed: &'static [&'static str],
    value: &str,
    origin: &Origin,
) -> Result<(), SettingsError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(SettingsError::NoChoice {
        name: name.to_owned(),
        place: origin.to_string(),
        value: value.to_owned(),
        allowed,
    })
}
