//! What `--version` says: the version, the commit it was built from, and what it reads and writes.

/// The commit, when the build could tell it: see `build.rs`.
pub(crate) const COMMIT: Option<&str> = option_env!("HIGHWATER_COMMIT");

/// The text of `--version`; `-V` has its first line only.
pub(crate) fn long() -> String {
    let mut text = format!(
        "{}\ncommit         {}",
        env!("CARGO_PKG_VERSION"),
        COMMIT.unwrap_or("unknown")
    );
    text.push_str(&of_broker());
    text
}

#[cfg(target_os = "linux")]
fn of_broker() -> String {
    use highwater_broker::{cluster, log};

    let levels = cluster::LEVELS;
    let formats: Vec<String> = log::FORMATS
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    format!(
        "\ncluster level  {} to {}\nfile formats   {}",
        levels.start(),
        levels.end(),
        formats.join(", ")
    )
}

#[cfg(not(target_os = "linux"))]
fn of_broker() -> String {
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stands_first_and_the_formats_follow() {
        let text = long();
        assert_eq!(text.lines().next(), Some(env!("CARGO_PKG_VERSION")));
        assert!(text.contains("\ncommit         "), "{text}");
        #[cfg(target_os = "linux")]
        assert!(text.contains("\nfile formats   segment 1, "), "{text}");
    }
}
