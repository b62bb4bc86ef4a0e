//! The client arguments may stand anywhere on the line. Where a command has no use for one, its
//! help does not show it, and giving it is refused rather than ignored.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

const BROKERS: &str = "brokers";
const OUTPUT: &str = "output";
const TIMEOUT: &str = "timeout";

/// The commands, and what they have no use for.
const WITHOUT: &[(&str, &[&str])] = &[
    ("serve", &[BROKERS, OUTPUT, TIMEOUT]),
    ("config", &[BROKERS, TIMEOUT]),
    ("dev", &[BROKERS, TIMEOUT]),
    ("dev up", &[OUTPUT]),
    ("dev down", &[OUTPUT]),
    ("debug", &[BROKERS, OUTPUT, TIMEOUT]),
    ("explain", &[BROKERS, TIMEOUT]),
    ("completion", &[BROKERS, OUTPUT, TIMEOUT]),
];

/// The definition in which useless arguments are not shown.
pub(super) fn hiding(root: Command) -> Command {
    let global: Vec<Arg> = root
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .cloned()
        .collect();
    WITHOUT.iter().fold(root, |root, (path, ids)| {
        let useless = global
            .iter()
            .filter(|arg| ids.contains(&arg.get_id().as_str()));
        let hidden: Vec<Arg> = useless.map(|arg| arg.clone().hide(true)).collect();
        let names: Vec<&str> = path.split(' ').collect();
        with_arguments(root, &names, hidden)
    })
}

fn with_arguments(command: Command, names: &[&str], arguments: Vec<Arg>) -> Command {
    let Some((name, below)) = names.split_first() else {
        return command.args(arguments);
    };
    if command.find_subcommand(name).is_none() {
        return command;
    }
    command.mut_subcommand(*name, |command| with_arguments(command, below, arguments))
}

/// Refuses an argument that was typed and that the command has no use for.
pub(super) fn refuse_useless(matches: &ArgMatches) -> Result<(), clap::Error> {
    let (path, last) = typed(matches);
    for (command, ids) in WITHOUT {
        let is_meant = path == *command || path.starts_with(&format!("{command} "));
        let useless = ids
            .iter()
            .find(|id| last.value_source(id) == Some(ValueSource::CommandLine));
        if let (true, Some(id)) = (is_meant, useless) {
            let message = format!("`highwater {path}` has no use for --{id}");
            return Err(clap::Error::raw(ErrorKind::UnknownArgument, message));
        }
    }
    Ok(())
}

/// The names of the commands that were typed, and the matches of the last one.
fn typed(matches: &ArgMatches) -> (String, &ArgMatches) {
    let mut names = Vec::new();
    let mut last = matches;
    while let Some((name, below)) = last.subcommand() {
        names.push(name);
        last = below;
    }
    (names.join(" "), last)
}
