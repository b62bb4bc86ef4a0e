//! The settings of a broker: flags, then `--set`, then the environment, then the file, then the
//! defaults; the first that names a setting decides it. Nothing unknown is accepted silently.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Serialized, Toml};
use figment::{Figment, Provider};
use serde::{Deserialize, Serialize};

use crate::args::ServeArgs;
use crate::suggest;

/// What begins the names of environment variables that are settings.
const ENV_PREFIX: &str = "HIGHWATER__";

/// The names of the settings, as in [`Settings`].
const NAMES: [&str; 8] = [
    "data_dir",
    "listen",
    "peer_listen",
    "http_listen",
    "advertise",
    "join",
    "rack",
    "insecure",
];

/// The settings of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: String,
    pub(crate) peer_listen: Option<String>,
    pub(crate) http_listen: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) join: Vec<String>,
    pub(crate) rack: String,
    pub(crate) insecure: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./highwater-data"),
            listen: "127.0.0.1:7654".to_owned(),
            peer_listen: None,
            http_listen: None,
            advertise: None,
            join: Vec::new(),
            rack: String::new(),
            insecure: false,
        }
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
    /// A value that the setting cannot have.
    #[error("{name} in {place} is {value:?}; it may be true or false")]
    NotBool {
        name: String,
        place: String,
        value: String,
    },
    /// The file cannot be read or does not say what it should.
    #[error("{0}")]
    Invalid(String),
}

impl Settings {
    /// The settings that the arguments and the environment give.
    pub(crate) fn load(
        args: &ServeArgs,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut layers = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = &args.config {
            layers = layers.merge(file(path)?);
        }
        for (variable, value) in environment {
            if let Some(name) = variable.strip_prefix(ENV_PREFIX) {
                layers = set(layers, &name.to_lowercase(), &value, &variable)?;
            }
        }
        for pair in &args.set {
            let split = pair.split_once('=');
            let (name, value) = split.ok_or_else(|| SettingsError::NoPair(pair.clone()))?;
            layers = set(layers, name.trim(), value, "--set")?;
        }
        flags(layers, args)
            .extract()
            .map_err(|error| SettingsError::Invalid(error.to_string()))
    }
}

/// The file as a layer, once all its names are known to be settings.
fn file(path: &Path) -> Result<impl Provider, SettingsError> {
    let invalid = |error: &dyn std::fmt::Display| {
        SettingsError::Invalid(format!("{}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| invalid(&error))?;
    let layer = Toml::string(&text);
    let profiles = layer.data().map_err(|error| invalid(&error))?;
    for name in profiles.values().flat_map(|settings| settings.keys()) {
        known(name, &path.display().to_string())?;
    }
    Ok(layer)
}

/// One setting given as text.
fn set(layers: Figment, name: &str, value: &str, place: &str) -> Result<Figment, SettingsError> {
    known(name, place)?;
    Ok(match name {
        "join" => {
            let peers: Vec<&str> = value.split(',').filter(|peer| !peer.is_empty()).collect();
            layers.merge(Serialized::default(name, peers))
        }
        "insecure" => {
            let value: bool = value.parse().map_err(|_| SettingsError::NotBool {
                name: name.to_owned(),
                place: place.to_owned(),
                value: value.to_owned(),
            })?;
            layers.merge(Serialized::default(name, value))
        }
        _ => layers.merge(Serialized::default(name, value)),
    })
}

fn known(name: &str, place: &str) -> Result<(), SettingsError> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    let nearest = suggest::nearest(name, NAMES);
    Err(SettingsError::Unknown {
        name: name.to_owned(),
        place: place.to_owned(),
        suggestion: nearest
            .map(|near| format!("; did you mean {near:?}?"))
            .unwrap_or_default(),
    })
}

fn flags(mut layers: Figment, args: &ServeArgs) -> Figment {
    let texts = [
        ("listen", &args.listen),
        ("peer_listen", &args.peer_listen),
        ("http_listen", &args.http_listen),
        ("advertise", &args.advertise),
        ("rack", &args.rack),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            layers = layers.merge(Serialized::default(name, value));
        }
    }
    if let Some(dir) = &args.data_dir {
        layers = layers.merge(Serialized::default("data_dir", dir));
    }
    if !args.join.is_empty() {
        layers = layers.merge(Serialized::default("join", &args.join));
    }
    if args.insecure {
        layers = layers.merge(Serialized::default("insecure", true));
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn config(text: &str) -> (tempfile::NamedTempFile, ServeArgs) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let args = ServeArgs {
            config: Some(file.path().to_owned()),
            ..ServeArgs::default()
        };
        (file, args)
    }

    #[test]
    fn without_any_there_are_defaults() {
        let settings = Settings::load(&ServeArgs::default(), env(&[("PATH", "/bin")])).unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn each_layer_covers_the_ones_below_it() {
        let (_file, mut args) = config(
            "listen = 'file:1'\nrack = 'file'\nadvertise = 'file'\nhttp_listen = 'file:2'\njoin = ['a:1', 'b:2']",
        );
        let variables = env(&[
            ("HIGHWATER__LISTEN", "env:1"),
            ("HIGHWATER__RACK", "env"),
            ("HIGHWATER__ADVERTISE", "env"),
        ]);
        args.set = vec!["listen=set:1".to_owned(), "rack=set".to_owned()];
        args.listen = Some("flag:1".to_owned());
        let settings = Settings::load(&args, variables).unwrap();
        assert_eq!(settings.listen, "flag:1");
        assert_eq!(settings.rack, "set");
        assert_eq!(settings.advertise.as_deref(), Some("env"));
        assert_eq!(settings.http_listen.as_deref(), Some("file:2"));
        assert_eq!(settings.join, ["a:1", "b:2"]);
        assert_eq!(settings.data_dir, Settings::default().data_dir);
    }

    #[test]
    fn text_is_turned_into_what_the_setting_is() {
        let variables = env(&[
            ("HIGHWATER__JOIN", "a:1,b:2"),
            ("HIGHWATER__INSECURE", "true"),
            ("HIGHWATER__RACK", "7"),
        ]);
        let settings = Settings::load(&ServeArgs::default(), variables).unwrap();
        assert_eq!(settings.join, ["a:1", "b:2"]);
        assert!(settings.insecure);
        assert_eq!(settings.rack, "7");
    }

    #[test]
    fn an_unknown_name_is_refused_with_its_place_and_the_nearest() {
        let (file, args) = config("data_dri = 'x'");
        let error = Settings::load(&args, []).unwrap_err().to_string();
        let place = file.path().display();
        let expected =
            format!("unknown setting \"data_dri\" in {place}; did you mean \"data_dir\"?");
        assert_eq!(error, expected);

        let variables = env(&[("HIGHWATER__LISTENS", "x")]);
        let error = Settings::load(&ServeArgs::default(), variables)
            .unwrap_err()
            .to_string();
        let expected =
            "unknown setting \"listens\" in HIGHWATER__LISTENS; did you mean \"listen\"?";
        assert_eq!(error, expected);

        let args = ServeArgs {
            set: vec!["quorum=2".to_owned()],
            ..ServeArgs::default()
        };
        let error = Settings::load(&args, []).unwrap_err().to_string();
        assert_eq!(error, "unknown setting \"quorum\" in --set");
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let args = ServeArgs {
            set: vec!["insecure=yes".to_owned()],
            ..ServeArgs::default()
        };
        let error = Settings::load(&args, []).unwrap_err().to_string();
        assert_eq!(
            error,
            "insecure in --set is \"yes\"; it may be true or false"
        );
        let args = ServeArgs {
            set: vec!["insecure".to_owned()],
            ..ServeArgs::default()
        };
        let no_pair = SettingsError::NoPair("insecure".to_owned());
        assert_eq!(Settings::load(&args, []), Err(no_pair));
        for text in ["listen = 7", "listen =", "[listen]\na = 1"] {
            let (_file, args) = config(text);
            assert!(Settings::load(&args, []).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_that_names_it() {
        let args = ServeArgs {
            config: Some(PathBuf::from("no/such.toml")),
            ..ServeArgs::default()
        };
        let error = Settings::load(&args, []).unwrap_err().to_string();
        assert!(error.starts_with("no/such.toml: "), "{error}");
    }

    #[test]
    fn the_names_are_those_of_the_settings() {
        let value = serde_json::to_value(Settings::default()).unwrap();
        let mut names: Vec<&str> = NAMES.to_vec();
        names.sort_unstable();
        let mut fields: Vec<&String> = value.as_object().unwrap().keys().collect();
        fields.sort_unstable();
        assert_eq!(fields, names);
    }
}
