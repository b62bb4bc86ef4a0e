//! Rust source without comments, string contents and code that is compiled for tests alone, so
//! that rules about code are not answered by prose. Lines keep their numbers.

/// The source with the insides of comments, strings and character literals made blank.
pub(crate) fn blank_prose(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = prose_length(rest, out.chars().next_back());
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            let (prose, after) = rest.split_at(length);
            out.extend(prose.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    out
}

/// How many bytes at the start of `rest` are a comment or a literal; 0 for code.
fn prose_length(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if !in_word && (rest.starts_with('r') || rest.starts_with("br")) {
        return raw_string(rest);
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    0
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_u32;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> usize {
    let body = rest.trim_start_matches('b').trim_start_matches('r');
    let hashes = body.len() - body.trim_start_matches('#').len();
    if !body[hashes..].starts_with('"') {
        return 0;
    }
    let open = rest.len() - body.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    rest[open..]
        .find(&close)
        .map_or(rest.len(), |at| open + at + close.len())
}

/// A character literal; a lifetime is code.
fn character(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted(rest, '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

/// Blanks every item behind `#[cfg(test)]`, and names the modules of that kind that are files.
pub(crate) fn blank_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut modules = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        let length = item_length(item);
        if let Some(name) = file_module(&item[MARK.len()..length]) {
            modules.push(name);
        }
        out.push_str(before);
        out.extend(item[..length].chars().filter(|c| *c == '\n'));
        rest = &item[length..];
    }
    out.push_str(rest);
    (out, modules)
}

/// The length of an item with its attributes: to the end of its braces, or to its semicolon.
fn item_length(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

fn file_module(item: &str) -> Option<String> {
    let declaration = item.trim().strip_suffix(';')?;
    let name = declaration.rsplit_once("mod ")?.1.trim();
    Some(name.to_owned())
}

#[test]
fn comments_and_literals_are_blank_and_code_stays() {
    let source = "let a = \"unsafe \\\" x\"; // unsafe\nb('\"', '\\'', 'x); /* unsafe /* */ */ c";
    let code = blank_prose(source);
    assert!(!code.contains("unsafe"), "{code}");
    assert!(
        code.starts_with("let a =") && code.contains("b(") && code.ends_with(" c"),
        "{code}"
    );
    assert!(code.contains("'x)"), "a lifetime is code: {code}");
    assert_eq!(code.lines().count(), source.lines().count());
}

#[test]
fn raw_strings_are_blank() {
    let code = blank_prose("f(r#\"un\"safe\"#, br\"todo\"); bar; r#type");
    assert!(!code.contains("safe") && !code.contains("todo"), "{code}");
    assert!(code.contains("bar; r#type"), "{code}");
}

#[test]
fn code_for_tests_is_blank_and_its_files_are_named() {
    let source =
        "a;\n#[cfg(test)]\nmod tests {\n fn x() { y }\n}\nb;\n#[cfg(test)]\nmod suite;\nc;";
    let (code, modules) = blank_tests(source);
    assert!(
        !code.contains("fn x") && code.contains("b;") && code.contains("c;"),
        "{code}"
    );
    assert_eq!(modules, ["suite"]);
    assert_eq!(code.lines().count(), source.lines().count());
}
