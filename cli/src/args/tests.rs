use super::*;
use crate::record::position::Position;

fn parse(line: &str) -> Command {
    read(line).command
}

fn read(line: &str) -> Args {
    Args::read(line.split_whitespace()).unwrap()
}

fn refusal(line: &str) -> (String, String) {
    let error = Args::read(line.split_whitespace()).unwrap_err();
    let words = line.split_whitespace().skip(1).map(OsString::from);
    reworded(&error.render().to_string(), &verbs_of(words))
}

#[test]
fn the_definitions_are_consistent() {
    Args::definition().debug_assert();
}

#[test]
fn brokers_of_the_environment_hold_and_are_not_taken_for_typed() {
    let read = |line: &str| {
        let definition = Args::definition_with(Some("a:1,b:2".into()));
        Args::read_by(definition, line.split_whitespace())
    };
    let brokers = |line| read(line).unwrap().client.brokers;
    assert_eq!(brokers("highwater topic list"), ["a:1", "b:2"]);
    assert_eq!(brokers("highwater topic list -b c:3"), ["c:3"]);
    for line in ["highwater topic create t", "highwater topic lst"] {
        let refused = read(line).unwrap_err().render().to_string();
        assert!(!refused.contains("--brokers"), "{refused}");
    }
    let alone = read("highwater topic").unwrap_err().kind();
    assert_eq!(alone, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
}

#[test]
fn a_value_that_cannot_be_is_answered_with_the_help_of_its_command() {
    for (line, help) in [
        (
            "highwater topic create t -p x",
            "highwater topic create --help",
        ),
        (
            "highwater -b a:1 bench e2e --batch 99999999",
            "highwater bench e2e --help",
        ),
        (
            "highwater --timeout never topic list",
            "highwater topic list --help",
        ),
        (
            "highwater bench e2e --topic t -p 3",
            "highwater bench e2e --help",
        ),
    ] {
        assert_eq!(refusal(line).1, help, "{line}");
    }
}

#[test]
fn client_arguments_may_stand_before_or_after_the_verb() {
    for line in [
        "highwater -b a:1,b:2 -o json --timeout 2m topic list",
        "highwater topic -b a:1,b:2 -o json --timeout 2m list",
        "highwater topic list -b a:1,b:2 -o json --timeout 2m",
        "highwater -b a:1,b:2 consume t -o json --timeout 2m",
    ] {
        let client = read(line).client;
        assert_eq!(client.brokers, ["a:1", "b:2"]);
        assert_eq!(client.output, Form::Json);
        assert_eq!(client.call_timeout(), Duration::from_secs(120));
    }
}

#[test]
fn client_arguments_without_a_use_are_refused_and_not_shown() {
    for line in [
        "highwater -b a:1 serve",
        "highwater serve -o json",
        "highwater dev up --timeout 1s",
        "highwater dev -o json down",
        "highwater explain -b a:1",
        "highwater --timeout 1s completion bash",
    ] {
        let (message, _) = refusal(line);
        assert!(message.contains("has no use for --"), "{line}: {message}");
    }
    assert_eq!(
        read("highwater dev -o jsonl status").client.output,
        Form::Jsonl
    );
    let mut definition = Args::definition();
    definition.build();
    let serve = definition.find_subcommand_mut("serve").unwrap();
    let help = serve.render_long_help().to_string();
    assert!(
        !help.contains("--brokers") && help.contains("--data-dir"),
        "{help}"
    );
}

#[test]
fn watching_takes_a_time_only_behind_an_equals_sign() {
    let watch = |line: &str| match parse(line) {
        Command::Topic(TopicArgs {
            verb: TopicVerb::Describe { name, watch },
        }) => (name, watch),
        other => panic!("{other:?}"),
    };
    let two = Some(Duration::from_secs(2));
    assert_eq!(watch("highwater topic describe t"), ("t".to_owned(), None));
    assert_eq!(
        watch("highwater topic describe --watch t"),
        ("t".to_owned(), two)
    );
    assert_eq!(
        watch("highwater topic describe t --watch=500ms"),
        ("t".to_owned(), Some(Duration::from_millis(500)))
    );
}

#[test]
fn a_topic_is_created_with_partitions_replicas_and_settings() {
    let line = "highwater topic create t -p 6 -r 3 -c a=1 -c b=x=y --if-not-exists";
    let Command::Topic(TopicArgs {
        verb: TopicVerb::Create(args),
    }) = parse(line)
    else {
        panic!("not create")
    };
    assert_eq!(
        (args.partitions, args.replication, args.if_not_exists),
        (6, Some(3), true)
    );
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(args.config, [pair("a", "1"), pair("b", "x=y")]);
}

#[test]
fn consume_takes_negative_positions_and_lists_of_partitions() {
    let Command::Consume(args) = parse("highwater consume t -p 0,3 --from -10 -n 5") else {
        panic!("not consume")
    };
    assert_eq!(args.partitions, [0, 3]);
    assert_eq!(args.from, Position::Last(10));
    assert_eq!(args.max_records, Some(5));
    let Command::Consume(args) = parse("highwater consume t") else {
        panic!("not consume")
    };
    assert_eq!(args.from, Position::Start);
    let Command::Consume(args) = parse("highwater consume t --from @-10m --exit-at-end") else {
        panic!("not consume")
    };
    assert_eq!(args.from, Position::Ago(600_000));
    assert!(args.exit_at_end);
}

#[test]
fn produce_delivers_longer_than_a_call_lasts() {
    let read = read("highwater produce t a.txt b.txt -f json");
    let Command::Produce(args) = read.command else {
        panic!("not produce")
    };
    assert_eq!(args.files.len(), 2);
    assert_eq!(args.format, LineForm::Json);
    assert_eq!(read.client.delivery_timeout(), Duration::from_secs(120));
    assert_eq!(read.client.call_timeout(), Duration::from_secs(30));
}

#[test]
fn durations_have_units_and_are_longer_than_nothing() {
    assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
    for wrong in ["", "30", "0s", "-5s", "5 parsecs"] {
        assert!(duration(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_slip_is_answered_with_the_nearest_and_the_help_of_the_verb() {
    let (message, hint) = refusal("highwater topic create t --partition 3");
    assert!(message.contains("--partitions"), "{message}");
    assert_eq!(hint, "highwater topic create --help");
    let (message, _) = refusal("highwater tpoic list");
    assert!(message.contains("topic"), "{message}");
    let (message, hint) = refusal("highwater consume t --from yesterday");
    assert!(message.contains("@2026-11-20T10:00:00Z"), "{message}");
    assert!(hint.ends_with(" --help"), "{hint}");
}

#[test]
fn help_is_no_failure_and_comes_for_a_lone_name() {
    let kind = |line: &str| Args::read(line.split_whitespace()).unwrap_err().kind();
    assert_eq!(kind("highwater --help"), ErrorKind::DisplayHelp);
    assert_eq!(kind("highwater serve --help"), ErrorKind::DisplayHelp);
    assert_eq!(kind("highwater --version"), ErrorKind::DisplayVersion);
    assert_eq!(
        kind("highwater topic"),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
}

#[test]
fn the_help_of_a_command_says_all_that_is_written_of_it() {
    let commands = commands();
    for (names, part) in [
        ("serve", r#"{"ready":true"#),
        ("config show", r#"[{"name","value","origin","place"}]"#),
        ("topic create", "nothing is deleted by default"),
        ("topic alter", r#""deletes":"#),
        ("topic trim", r#""deleted_records"}]"#),
        ("produce", r#"{"file","line","partition","offset"}"#),
        ("consume", r#""value_base64""#),
        ("bench", r#""latency_ms":"#),
        ("explain", r#""exit_codes","hint"}]"#),
    ] {
        let named = |(all, _): &&(String, _)| *all == format!("highwater {names}");
        let (_, command) = commands.iter().find(named).unwrap();
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains(part), "{names}: {help}");
    }
}

/// Every command with its names in a row, such as `topic create`.
fn commands() -> Vec<(String, clap::Command)> {
    fn walk(names: &str, command: &clap::Command, all: &mut Vec<(String, clap::Command)>) {
        all.push((names.to_owned(), command.clone()));
        for verb in command.get_subcommands() {
            walk(&format!("{names} {}", verb.get_name()), verb, all);
        }
    }
    let mut all = Vec::new();
    walk("highwater", &Args::definition(), &mut all);
    all
}

#[test]
fn the_manual_has_every_command_and_flag() {
    let manual = include_str!("../../../docs/cli.md");
    for (names, command) in commands() {
        assert!(manual.contains(&names), "docs/cli.md does not have {names}");
        for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
            let Some(long) = flag.get_long() else {
                continue;
            };
            assert!(
                manual.contains(&format!("--{long}")),
                "docs/cli.md: {names} --{long}"
            );
        }
    }
}

#[test]
fn the_manual_has_every_reason_with_its_exit_code() {
    let manual = include_str!("../../../docs/cli.md");
    for reason in highwater_proto::Reason::ALL.iter().copied() {
        let row = format!("| `{reason}` | {} |", ExitCode::of(reason) as u8);
        assert!(manual.contains(&row), "docs/cli.md does not have {row}");
    }
}

/// The words of a line of shell, quotes taken away.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// The commands of this program that a text shows as examples: lines that begin with it, with a
/// setting of the environment, or with a command whose output goes into it. Lines with brackets or
/// dots show the form of a command and are none.
fn examples(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.contains(['[', '…']))
        .filter_map(|line| {
            let line = line.split("  #").next().unwrap_or(line);
            let at = line.find("highwater ")?;
            let before = &line[..at];
            let runs =
                before.is_empty() || before.ends_with("| ") || before.starts_with("HIGHWATER_");
            let command = line[at..].split("  ").next().unwrap_or_default();
            let alone = [" | ", " > ", " && "]
                .iter()
                .fold(command, |command, then| {
                    command.split_once(then).map_or(command, |(first, _)| first)
                });
            runs.then(|| alone.trim().to_owned())
        })
        .collect()
}

#[track_caller]
fn assert_examples_parse(place: &str, text: &str, at_least: usize) {
    let examples = examples(text);
    assert!(
        examples.len() >= at_least,
        "{place} has {} examples",
        examples.len()
    );
    for example in examples {
        let words = words(&example);
        let plain = ["--help", "--version"]
            .iter()
            .any(|flag| example.ends_with(flag));
        let parsed = Args::read(words);
        assert!(
            parsed.is_ok() || plain,
            "{place}: {example}: {}",
            parsed.unwrap_err()
        );
    }
}

#[test]
fn the_examples_of_the_documentation_are_commands() {
    assert_examples_parse("docs/cli.md", include_str!("../../../docs/cli.md"), 15);
    assert_examples_parse("README.md", include_str!("../../../README.md"), 10);
}

#[test]
fn the_examples_of_the_help_are_commands() {
    for (names, mut command) in commands() {
        let help = command.render_long_help().to_string();
        let examples = help.split("Examples:").nth(1).unwrap_or_default();
        assert_examples_parse(&names, examples, 0);
    }
    let (_, mut root) = commands().swap_remove(0);
    assert_eq!(examples(&root.render_long_help().to_string()).len(), 5);
}

#[test]
fn arguments_that_are_no_text_are_refused_with_the_help_of_their_command() {
    use std::os::unix::ffi::OsStringExt;

    for (words, help) in [
        (
            &["topic", "describe", "x"][..],
            "highwater topic describe --help",
        ),
        (&["x"], "highwater --help"),
        (&["produce", "t", "-f", "x"], "highwater produce --help"),
        (&["serve", "--set", "rack="], "highwater serve --help"),
    ] {
        let mut words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let mut last = words.pop().unwrap().into_vec();
        last.push(0xff);
        words.push(OsString::from_vec(last));
        let line = [vec![OsString::from("highwater")], words.clone()].concat();
        let error = Args::read(line).unwrap_err();
        let (message, hint) = reworded(&error.render().to_string(), &verbs_of(words.into_iter()));
        assert_eq!(hint, help, "{message}");
    }
}

#[test]
fn a_time_that_no_clock_reaches_is_refused_by_name() {
    assert_eq!(duration("8784h"), Ok(LONGEST));
    for line in [
        "highwater --timeout 9223372036854775807s topic list",
        "highwater cluster health --wait 8785h",
        "highwater cluster drain 1 --wait 9223372036854775807s",
        "highwater dev up --wait 9223372036854775807s",
    ] {
        let (message, _) = refusal(line);
        assert!(message.contains("longer than 366 days"), "{message}");
        assert!(
            message.contains("--timeout") || message.contains("--wait"),
            "{message}"
        );
    }
}

#[test]
fn a_span_of_time_may_be_in_days_of_24_hours() {
    assert_eq!(duration("2d"), duration("48h"));
    assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
    let too_long = duration("400d").unwrap_err();
    assert!(too_long.contains("longer than 366 days"), "{too_long}");
    for wrong in ["0s", "-5s", "5", "1 parsec", "1y", ""] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}

/// The rows of the manual's table of topic settings: the name and the default.
fn topic_settings(manual: &str) -> Vec<(&str, &str)> {
    let (_, table) = manual.split_once("## Topic settings").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let cells = table
        .lines()
        .map(|line| line.split('`').collect::<Vec<_>>());
    cells
        .filter(|cells| cells[0] == "| " && cells[2] == " | ")
        .map(|cells| (cells[1], cells[3]))
        .collect()
}

#[test]
fn the_help_of_create_has_the_topic_settings_of_the_manual() {
    let mut program = Args::command();
    let topic = program.find_subcommand_mut("topic").unwrap();
    let create = topic.find_subcommand_mut("create").unwrap();
    let help = create.render_long_help().to_string();
    let settings = topic_settings(include_str!("../../../docs/cli.md"));
    assert_eq!(settings.len(), 7, "{settings:?}");
    for (name, default) in settings {
        let row = format!("\n  {name}={default} ");
        assert!(help.contains(&row), "no {row:?} in {help}");
    }
}
