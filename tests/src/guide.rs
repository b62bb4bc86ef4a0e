//! PURE. What a page of the documentation shows: commands with what they print, and quoted code.

/// A command of a page, and the lines that it shows of what the command prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The line it is on, from 1.
    pub line: usize,
    /// The command.
    pub command: String,
    /// What it prints; `…` stands for anything in a line, and alone for any lines.
    pub shown: Vec<String>,
}

/// The commands of the `console` blocks: lines after a `$`, each followed by its output.
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (first, block) in blocks(page, "console") {
        for (at, line) in block.lines().enumerate() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    line: first + at,
                    command: command.to_owned(),
                    shown: Vec::new(),
                }),
                (None, Some(step)) => step.shown.push(line.to_owned()),
                (None, None) => {}
            }
        }
    }
    steps
}

/// The fenced blocks of a language, each with the number of its first line.
pub fn blocks(page: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(tag)) if tag == language => open = Some((at + 2, String::new())),
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some((_, text)), _) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// Whether a command printed what the page shows.
pub fn matches(shown: &[String], printed: &[&str]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((any, rest)), _) if any == "…" => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        (Some((line, rest)), Some((found, others))) => {
            line_matches(line, found) && matches(rest, others)
        }
        _ => false,
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let Some((before, after)) = shown.split_once('…') else {
        return shown == printed;
    };
    let Some(rest) = printed.strip_prefix(before) else {
        return false;
    };
    let places = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    places
        .into_iter()
        .any(|at| line_matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_what_they_print_are_read_from_a_page() {
        let page =
            "text\n```console\n$ one\na\nb\n$ two\n```\n```\n$ three\n```\n```rust\nlet a;\n```\n";
        let found = steps(page);
        let shown: Vec<_> = found
            .iter()
            .map(|step| (step.line, &*step.command))
            .collect();
        assert_eq!(shown, [(3, "one"), (6, "two")]);
        assert_eq!(found[0].shown, ["a", "b"]);
        assert_eq!(blocks(page, "rust"), [(12, "let a;\n".to_owned())]);
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        let check = |shown: &[&str], printed: &[&str]| {
            let shown: Vec<String> = shown.iter().map(|line| (*line).to_owned()).collect();
            matches(&shown, printed)
        };
        assert!(check(&["a", "b"], &["a", "b"]));
        assert!(check(&["…"], &[]) && check(&["…"], &["a", "b"]));
        assert!(check(&["{…x…}"], &["{1x2}"]) && check(&["a", "…", "c"], &["a", "b", "c"]));
        assert!(!check(&["{…x…}"], &["{12}"]));
        assert!(!check(&["a"], &["a", "b"]) && !check(&["a", "b"], &["a"]));
        assert!(!check(&["…", "c"], &["a", "b"]));
    }
}
