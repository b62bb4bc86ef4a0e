//! The documentation and the manifests: links lead somewhere, every dependency has its reason,
//! and the text is about the product alone.

use crate::{Text, assert_none, root, texts};

/// A text that only means something on the machine or in the hands of whoever wrote it. Put
/// together from halves, so that this file does not contain them.
fn foreign_words() -> Vec<String> {
    [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["cla", "ude"],
        ["anthro", "pic"],
        ["session pro", "mpt"],
        ["../sha", "red"],
        ["sub", "agent"],
    ]
    .iter()
    .map(|halves| halves.concat())
    .collect()
}

fn markdown() -> Vec<Text> {
    texts()
        .into_iter()
        .filter(|text| text.path.ends_with(".md"))
        .collect()
}

/// The targets of the links in a page, code blocks aside, with their lines.
fn links(page: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (at, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (start, _) in line.match_indices("](") {
            let rest = &line[start + 2..];
            if let Some(end) = rest.find(')') {
                links.push((at + 1, rest[..end].to_owned()));
            }
        }
    }
    links
}

/// A heading's anchor, as it is made of the heading's text.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn leads_somewhere(pages: &[Text], page: &Text, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
    let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let target = match path {
        "" => page.path.clone(),
        _ => resolve(folder, path),
    };
    if !root().join(&target).exists() {
        return false;
    }
    let headings = |text: &Text| {
        text.content
            .lines()
            .any(|line| line.starts_with('#') && anchor(line) == fragment)
    };
    fragment.is_empty()
        || pages
            .iter()
            .any(|text| text.path == target && headings(text))
}

fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// The names under a table of a manifest, such as `[workspace.dependencies]`.
fn names_in_table<'a>(manifest: &'a str, table: &str) -> Vec<&'a str> {
    let lines = manifest
        .lines()
        .skip_while(|line| line.trim() != table)
        .skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['=', '.']).next())
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let pages = markdown();
    let mut violations = Vec::new();
    for page in &pages {
        for (number, link) in links(&page.content) {
            if !leads_somewhere(&pages, page, &link) {
                violations.push(format!("{}:{number}: {link}", page.path));
            }
        }
    }
    assert_none(
        "links lead to files and headings that are there",
        &violations,
    );
}

#[test]
fn every_dependency_has_its_reason() {
    let texts = texts();
    let content = |path: &str| {
        let found = texts.iter().find(|text| text.path == path);
        found.map_or(String::new(), |text| text.content.clone())
    };
    let style = content("docs/style.md");
    let manifest = content("Cargo.toml");
    let names = names_in_table(&manifest, "[workspace.dependencies]");
    assert!(names.len() > 10, "the table of dependencies was not found");
    let violations: Vec<String> = names
        .into_iter()
        .filter(|name| !name.starts_with("highwater-") && !style.contains(&format!("`{name}`")))
        .map(ToOwned::to_owned)
        .collect();
    assert_none(
        "docs/style.md gives a reason for each dependency",
        &violations,
    );
}

#[test]
fn every_dependency_is_used() {
    let texts = texts();
    let manifest = texts.iter().find(|text| text.path == "Cargo.toml").unwrap();
    let members: Vec<&Text> = texts
        .iter()
        .filter(|text| text.path.ends_with("/Cargo.toml"))
        .collect();
    let takes = |name: &str| {
        let line = |line: &str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        };
        members
            .iter()
            .any(|member| member.content.lines().any(line))
    };
    let violations: Vec<String> = names_in_table(&manifest.content, "[workspace.dependencies]")
        .into_iter()
        .filter(|name| !takes(name))
        .map(ToOwned::to_owned)
        .collect();
    assert_none("what no crate takes is not listed", &violations);
}

#[test]
fn crates_take_their_dependencies_from_the_workspace() {
    let mut violations = Vec::new();
    for text in texts() {
        let of_member = text.path.ends_with("/Cargo.toml") && !text.path.starts_with("fuzz/");
        if !of_member {
            continue;
        }
        let mut in_dependencies = false;
        let said = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
        for line in text.content.lines().filter(said) {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && !line.contains("workspace = true") {
                violations.push(format!("{}: {line}", text.path));
            }
        }
    }
    assert_none("versions are given once, in the workspace", &violations);
}

#[test]
fn the_text_is_about_the_product() {
    let words = foreign_words();
    let mut violations = Vec::new();
    for text in texts() {
        for (at, line) in text.content.lines().enumerate() {
            let lower = line.to_lowercase();
            for word in words.iter().filter(|word| lower.contains(word.as_str())) {
                violations.push(format!("{}:{}: {word}", text.path, at + 1));
            }
        }
    }
    assert_none(
        "no path of a machine and no word about how the text came to be",
        &violations,
    );
}

#[test]
fn links_and_anchors_are_read() {
    let page = "see [a](x.md#the-b) and [c](#d)\n```\n[no](code.md)\n```\n";
    assert_eq!(
        links(page),
        [(1, "x.md#the-b".to_owned()), (1, "#d".to_owned())]
    );
    assert_eq!(
        anchor("## The `topic` command: it's"),
        "the-topic-command-its"
    );
    assert_eq!(resolve("docs/adr", "../format.md"), "docs/format.md");
    let manifest =
        "[a]\nx = 1\n[workspace.dependencies]\nbytes = \"1\"\n\nfoo.workspace = true\n[c]\nz = 1";
    assert_eq!(
        names_in_table(manifest, "[workspace.dependencies]"),
        ["bytes", "foo"]
    );
}
