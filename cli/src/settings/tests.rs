use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::args::ServeArgs;

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn load(
    args: &ServeArgs,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, SettingsError> {
    Layers::read(args, environment)?.settings()
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
    let settings = load(&ServeArgs::default(), env(&[("PATH", "/bin")])).unwrap();
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
    let settings = load(&args, variables).unwrap();
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
    let settings = load(&ServeArgs::default(), variables).unwrap();
    assert_eq!(settings.join, ["a:1", "b:2"]);
    assert!(settings.insecure);
    assert_eq!(settings.rack, "7");
}

#[test]
fn a_variable_that_is_no_text_is_refused_where_it_is_a_setting_and_else_ignored() {
    let no_text = || OsString::from_vec(vec![0xff]);
    let load = |variables| load(&ServeArgs::default(), variables);
    let foreign = vec![("FOO".into(), no_text()), (no_text(), "x".into())];
    assert_eq!(load(foreign), Ok(Settings::default()));
    let error = load(vec![("HIGHWATER__RACK".into(), no_text())]).unwrap_err();
    assert_eq!(error, SettingsError::NoText("HIGHWATER__RACK".to_owned()));
}

#[test]
fn a_data_directory_whose_name_is_no_text_is_refused() {
    let args = ServeArgs {
        data_dir: Some(OsString::from_vec(b"/tmp/\xff".to_vec()).into()),
        ..ServeArgs::default()
    };
    let error = load(&args, []).unwrap_err();
    assert_eq!(error, SettingsError::NoText("--data-dir".to_owned()));
}

#[test]
fn a_file_that_is_no_toml_is_refused_in_lines_that_say_something() {
    let (_file, args) = config("listen =");
    let error = load(&args, []).unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
    assert_eq!(error.trim_end(), error);
}

#[test]
fn an_unknown_name_is_refused_with_its_place_and_the_nearest() {
    let (file, args) = config("data_dri = 'x'");
    let error = load(&args, []).unwrap_err().to_string();
    let place = file.path().display();
    let expected = format!("unknown setting \"data_dri\" in {place}; did you mean \"data_dir\"?");
    assert_eq!(error, expected);

    let variables = env(&[("HIGHWATER__LISTENS", "x")]);
    let error = load(&ServeArgs::default(), variables)
        .unwrap_err()
        .to_string();
    let expected = "unknown setting \"listens\" in HIGHWATER__LISTENS; did you mean \"listen\"?";
    assert_eq!(error, expected);

    let args = ServeArgs {
        set: vec!["quorum=2".to_owned()],
        ..ServeArgs::default()
    };
    let error = load(&args, []).unwrap_err().to_string();
    assert_eq!(error, "unknown setting \"quorum\" in --set");
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let args = ServeArgs {
        set: vec!["insecure=yes".to_owned()],
        ..ServeArgs::default()
    };
    let error = load(&args, []).unwrap_err().to_string();
    assert_eq!(
        error,
        "insecure in --set is \"yes\"; it may be true or false"
    );
    let args = ServeArgs {
        set: vec!["insecure".to_owned()],
        ..ServeArgs::default()
    };
    let no_pair = SettingsError::NoPair("insecure".to_owned());
    assert_eq!(load(&args, []), Err(no_pair));
    for text in ["listen = 7", "listen =", "[listen]\na = 1"] {
        let (_file, args) = config(text);
        assert!(load(&args, []).is_err(), "{text:?}");
    }
    for (text, name) in [("listen = 5", "listen"), ("join = [7]", "join")] {
        let (file, args) = config(text);
        let error = load(&args, []).unwrap_err().to_string();
        let start = format!("{name} in {}: invalid type: ", file.path().display());
        assert!(error.starts_with(&start), "{error}");
        assert!(!error.contains("default"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error_that_names_it() {
    let args = ServeArgs {
        config: Some(PathBuf::from("no/such.toml")),
        ..ServeArgs::default()
    };
    let error = load(&args, []).unwrap_err().to_string();
    assert!(error.starts_with("no/such.toml: "), "{error}");
}

#[test]
fn the_names_are_those_of_the_settings() {
    let value = serde_json::to_value(Settings::default()).unwrap();
    let mut names: Vec<&str> = NAMES.map(|(name, _)| name).to_vec();
    names.sort_unstable();
    let mut fields: Vec<&String> = value.as_object().unwrap().keys().collect();
    fields.sort_unstable();
    assert_eq!(fields, names);
}

#[test]
fn a_choice_is_checked_wherever_it_is_made() {
    let allowed = "it may be error, warn, info, debug or trace";
    let (file, args) = config("log_level = 'loud'");
    let error = load(&args, []).unwrap_err().to_string();
    let place = file.path().display();
    assert_eq!(
        error,
        format!("log_level in {place} is \"loud\"; {allowed}")
    );
    let args = ServeArgs {
        log_level: Some("loud".to_owned()),
        ..ServeArgs::default()
    };
    let error = load(&args, []).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("log_level in --log-level is \"loud\"; {allowed}")
    );

    let variables = env(&[("HIGHWATER__LOG_FORMAT", "json")]);
    let settings = load(&ServeArgs::default(), variables).unwrap();
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(settings.log_level, LogLevel::Info);
}

#[test]
fn each_value_knows_where_it_comes_from() {
    let (file, mut args) = config("rack = 'file'\nlisten = 'file:1'\nadvertise = 'file'");
    args.listen = Some("flag:1".to_owned());
    args.set = vec!["insecure=true".to_owned()];
    let variables = env(&[("HIGHWATER__ADVERTISE", "env")]);
    let layers = Layers::read(&args, variables).unwrap();
    let origin = |name| {
        layers
            .origins()
            .find(|(known, _)| *known == name)
            .unwrap()
            .1
    };
    assert_eq!(origin("rack"), Origin::File(file.path().to_owned()));
    assert_eq!(origin("listen"), Origin::Flag("--listen".to_owned()));
    let variable = "HIGHWATER__ADVERTISE".to_owned();
    assert_eq!(origin("advertise"), Origin::Environment(variable));
    assert_eq!(origin("insecure"), Origin::Set);
    assert_eq!(origin("data_dir"), Origin::Default);
    assert_eq!(layers.origins().count(), NAMES.len());
}

#[test]
fn every_level_is_a_filter_that_can_be_used() {
    for level in [
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ] {
        let filter = tracing_subscriber::EnvFilter::builder().parse(level.filter());
        assert!(filter.is_ok(), "{level:?}");
    }
}

#[test]
fn the_manual_has_every_setting() {
    let manual = include_str!("../../../docs/cli.md");
    for (name, _) in NAMES {
        assert!(
            manual.contains(&format!("| `{name}` |")),
            "docs/cli.md: {name}"
        );
    }
}

#[test]
fn an_ephemeral_broker_takes_free_ports_and_no_place_for_data() {
    let ephemeral = || ServeArgs {
        ephemeral: true,
        ..ServeArgs::default()
    };
    let settings = load(&ephemeral(), env(&[])).unwrap();
    assert_eq!(settings.listen, "127.0.0.1:0");
    assert_eq!(settings.data_dir, PathBuf::new());
    let asked = env(&[("HIGHWATER__LISTEN", "127.0.0.1:9000")]);
    let settings = load(&ephemeral(), asked).unwrap();
    assert_eq!(settings.listen, "127.0.0.1:9000");
    let flag = ServeArgs {
        data_dir: Some("d".into()),
        ..ephemeral()
    };
    let refused = load(&flag, env(&[])).unwrap_err().to_string();
    assert!(
        refused.contains("data_dir is set in --data-dir"),
        "{refused}"
    );
    for name in ["DATA_DIR", "JOIN"] {
        let variable = format!("HIGHWATER__{name}");
        let refused = load(&ephemeral(), env(&[(&variable, "x")])).unwrap_err();
        assert!(refused.to_string().contains(&variable), "{refused}");
    }
}

#[test]
fn a_variable_with_one_underscore_too_few_is_named_unless_its_setting_has_a_value() {
    let overlooked = |args: &ServeArgs, variables: &[(&str, &str)]| {
        let layers = Layers::read(args, env(variables)).unwrap();
        layers.overlooked().collect::<Vec<_>>()
    };
    let variables = [
        ("HIGHWATER_DATA_DIR", "/data"),
        ("HIGHWATER_BROKERS", "b1:7654"),
        ("HIGHWATER_SERVICE_PORT", "7654"),
    ];
    let said = overlooked(&ServeArgs::default(), &variables);
    let expected = "HIGHWATER_DATA_DIR sets nothing; the variable of the setting data_dir is \
                    HIGHWATER__DATA_DIR";
    assert_eq!(said, [expected]);
    let given = ServeArgs {
        data_dir: Some("/data".into()),
        ..ServeArgs::default()
    };
    assert!(overlooked(&given, &variables).is_empty());
}
