//! Topic names: `[A-Za-z0-9._-]{1,249}`, not `.` or `..`, and not the system's own `__` names.

use std::fmt;

/// The longest topic name, in bytes.
pub const MAX_TOPIC_NAME: usize = 249;

/// A valid topic name. It never reaches a file system: directories are named by ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(String);

/// Why a text is not a topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("a topic name must not be empty")]
    Empty,
    /// The name is longer than [`MAX_TOPIC_NAME`].
    #[error("a topic name has at most {MAX_TOPIC_NAME} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside the allowed set.
    #[error("{0:?} is not allowed in a topic name; use letters, digits, '.', '_' and '-'")]
    Character(char),
    /// `.` and `..` look like paths.
    #[error("'.' and '..' are not topic names")]
    Dots,
    /// `__` begins the names of the system.
    #[error("topic names that begin with '__' are reserved for the system")]
    Reserved,
}

impl TopicName {
    /// Checks `text` and takes it as a topic name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(bad));
        }
        if text.len() > MAX_TOPIC_NAME {
            return Err(NameError::TooLong(text.len()));
        }
        match text {
            "." | ".." => Err(NameError::Dots),
            _ if text.starts_with("__") => Err(NameError::Reserved),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest name of a producer, in bytes.
pub const MAX_PRODUCER_NAME: usize = 249;

/// The name of a producer that keeps its identity over restarts: `[A-Za-z0-9._-]{1,249}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerName(String);

/// The text is not the name of a producer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a producer name has 1 to {MAX_PRODUCER_NAME} letters, digits, '.', '_' and '-'")]
pub struct ProducerNameError;

impl ProducerName {
    /// Checks `text` and takes it as the name of a producer.
    pub fn parse(text: &str) -> Result<Self, ProducerNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = (1..=MAX_PRODUCER_NAME).contains(&text.len());
        match fits && text.chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(ProducerNameError),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProducerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_accepted() {
        for name in [
            "a",
            "orders",
            "Orders.v2_eu-1",
            "_x",
            "...",
            &"n".repeat(249),
        ] {
            assert_eq!(TopicName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn path_like_long_and_reserved_names_are_refused_with_the_reason() {
        assert_eq!(TopicName::parse(""), Err(NameError::Empty));
        assert_eq!(TopicName::parse("../x"), Err(NameError::Character('/')));
        assert_eq!(TopicName::parse(".."), Err(NameError::Dots));
        assert_eq!(TopicName::parse("a b"), Err(NameError::Character(' ')));
        assert_eq!(TopicName::parse("é"), Err(NameError::Character('é')));
        assert_eq!(
            TopicName::parse(&"n".repeat(250)),
            Err(NameError::TooLong(250))
        );
        assert_eq!(TopicName::parse("__groups"), Err(NameError::Reserved));
    }

    #[test]
    fn a_producer_name_has_the_characters_of_a_topic_name() {
        for name in ["a", "orders-writer", "__x", &"n".repeat(249)] {
            assert_eq!(ProducerName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "a b", "a/b", "\u{e9}", &"n".repeat(250)] {
            assert_eq!(ProducerName::parse(name), Err(ProducerNameError), "{name}");
        }
    }
}
