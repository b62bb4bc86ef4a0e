//! The layers of the broker: a module uses those below it, never one above or beside.

use crate::assert_none;
use crate::code::{Source, sources};

/// The modules of the broker, lowest layer first.
const LAYERS: &[&[&str]] = &[
    &[
        "config",
        "metrics",
        "clock",
        "entropy",
        "tasks",
        "telemetry",
    ],
    &["log"],
    &["peer"],
    &["raft"],
    &["partition", "cluster", "group", "admission"],
    &["service"],
    &["listener"],
    &["node", "broker", "reconcile"],
    &["testing"],
];

const BROKER: &str = "broker/src/";

/// The crates of the workspace that a crate may use.
const CRATES: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("client", &["highwater_proto"]),
    ("broker", &["highwater_proto"]),
    (
        "cli",
        &["highwater_proto", "highwater_client", "highwater_broker"],
    ),
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The top module that a file of the broker belongs to; `None` for the list of modules itself.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix(BROKER)?;
    let top = inside.split('/').next()?.trim_end_matches(".rs");
    (top != "lib" && top != "main").then_some(top)
}

/// The modules that `code` names by `crate::`, each with its line.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut uses = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let joined = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if joined || code[..at].ends_with("$") {
            continue;
        }
        let number = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => top_names(group),
            None => vec![first_word(rest)],
        };
        uses.extend(names.into_iter().map(|name| (number, name)));
    }
    uses
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first words of the items of a `{…}` group whose brace has been read.
fn top_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut item = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_word(std::mem::take(&mut item).trim())),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    names.push(first_word(item.trim()));
    names.retain(|name| !name.is_empty());
    names
}

fn wrong_uses(source: &Source) -> Vec<String> {
    let Some(module) = module_of(&source.path) else {
        return Vec::new();
    };
    let Some(own) = layer(module) else {
        return Vec::new();
    };
    uses(&source.product)
        .into_iter()
        .filter(|(_, used)| used != module && layer(used).is_some_and(|other| other >= own))
        .map(|(number, used)| format!("{}:{number}: {module} uses {used}", source.path))
        .collect()
}

#[test]
fn modules_of_the_broker_use_only_layers_below() {
    let violations: Vec<String> = sources().iter().flat_map(wrong_uses).collect();
    assert_none(
        "a module uses layers below it, never above or beside",
        &violations,
    );
}

#[test]
fn every_module_of_the_broker_has_a_layer() {
    let mut violations: Vec<String> = sources()
        .iter()
        .filter(|source| !source.product.is_empty())
        .filter_map(|source| module_of(&source.path))
        .filter(|module| layer(module).is_none())
        .map(ToOwned::to_owned)
        .collect();
    violations.dedup();
    assert_none("every module stands in LAYERS", &violations);
}

#[test]
fn crates_use_only_crates_below() {
    let mut violations = Vec::new();
    for source in sources() {
        let Some((name, allowed)) = CRATES
            .iter()
            .find(|(name, _)| source.path.starts_with(&format!("{name}/src/")))
        else {
            continue;
        };
        for (other, _) in CRATES {
            let path = format!("highwater_{other}");
            let used = other != name && source.product.contains(&format!("{path}::"));
            if used && !allowed.contains(&path.as_str()) {
                violations.push(format!("{}: {name} uses {other}", source.path));
            }
        }
    }
    assert_none("crates use only those below", &violations);
}

#[test]
fn uses_are_found_in_paths_and_groups() {
    let code =
        "use crate::log::Log;\nuse crate::{raft::{A, B}, clock, $crate::x};\ncrate::service::f()";
    let found: Vec<String> = uses(code).into_iter().map(|(_, name)| name).collect();
    assert_eq!(found, ["log", "raft", "clock", "service"]);
    let up = Source {
        path: "broker/src/log/view.rs".to_owned(),
        code: String::new(),
        product: code.to_owned(),
    };
    assert_eq!(wrong_uses(&up).len(), 2, "{:?}", wrong_uses(&up));
}
