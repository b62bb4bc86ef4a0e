//! Topic settings: one table with the name, the meaning and the rule of each, and the typed values.
//!
//! The rules here decide what the metadata group accepts, so all brokers of a cluster must agree on
//! them: a rule changes only together with the cluster level. Values are stored in their plain form
//! (`604800000`, not `7d`), so that what was accepted once never needs its suffixes again.

use std::collections::BTreeMap;

use highwater_proto::Reason;

use super::refusal::Refusal;

mod suggestion;
mod value;

const MIB: u64 = 1 << 20;
/// How many of the largest batches a partition must be able to keep.
const BATCHES: u64 = 10;
/// A partition whose bytes are limited has at least about this many segment files.
const FILES: u64 = 20;
/// No limit makes segment files smaller than this.
const LEAST_FILE: u64 = 64 << 10;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// When a produced batch is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When a majority of the replicas has synced it to disk.
    QuorumFsync,
}

/// What happens to records beyond the retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanupPolicy {
    /// They are deleted, whole segments at a time.
    Delete,
}

/// The settings of a topic, each with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// When a batch is acknowledged.
    pub durability: Durability,
    /// How long records are kept, in milliseconds; `None` for ever.
    pub retention_ms: Option<u64>,
    /// How many bytes of a partition are kept; `None` for all.
    pub retention_bytes: Option<u64>,
    /// What happens to records beyond the retention.
    pub cleanup_policy: CleanupPolicy,
    /// The largest size of a segment file, in bytes.
    pub segment_bytes: u64,
    /// The age at which a segment is sealed, in milliseconds.
    pub segment_ms: u64,
    /// The largest batch the topic takes, in bytes.
    pub max_batch_bytes: u64,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            durability: Durability::QuorumFsync,
            retention_ms: None,
            retention_bytes: None,
            cleanup_policy: CleanupPolicy::Delete,
            segment_bytes: 64 * MIB,
            segment_ms: 7 * DAY_MS,
            max_batch_bytes: MIB,
        }
    }
}

/// One row of the table of settings.
#[derive(Debug)]
pub struct Setting {
    /// The name, as in `-c NAME=VALUE`.
    pub name: &'static str,
    /// What it does and which values it takes.
    pub doc: &'static str,
    set: fn(&mut TopicConfig, &str) -> Result<(), String>,
    get: fn(&TopicConfig) -> String,
}

/// Every topic setting, by name.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "cleanup.policy",
        doc: "what happens to records beyond the retention: delete",
        set: |config, text| value::cleanup_policy(text).map(|v| config.cleanup_policy = v),
        get: |config| value::show_cleanup_policy(config.cleanup_policy),
    },
    Setting {
        name: "durability",
        doc: "when a batch is acknowledged: quorum-fsync, once a majority has synced it",
        set: |config, text| value::durability(text).map(|v| config.durability = v),
        get: |config| value::show_durability(config.durability),
    },
    Setting {
        name: "max.batch.bytes",
        doc: "the largest batch taken: bytes or KiB, MiB; from 1KiB to 3MiB",
        set: |config, text| value::size(text, 1024..=3 * MIB).map(|v| config.max_batch_bytes = v),
        get: |config| config.max_batch_bytes.to_string(),
    },
    Setting {
        name: "retention.bytes",
        doc: "what a replica may take on its disk: bytes or KiB, MiB, GiB, TiB; at least 1MiB and ten times max.batch.bytes; -1 for any number",
        set: |config, text| {
            value::or_unlimited(text, |text| value::size(text, MIB..=value::MAX))
                .map(|v| config.retention_bytes = v)
        },
        get: |config| value::show_or_unlimited(config.retention_bytes),
    },
    Setting {
        name: "retention.ms",
        doc: "how long records are kept: milliseconds or s, m, h, d; at least 1s; -1 for ever",
        set: |config, text| {
            value::or_unlimited(text, |text| value::time(text, 1000..=value::MAX))
                .map(|v| config.retention_ms = v)
        },
        get: |config| value::show_or_unlimited(config.retention_ms),
    },
    Setting {
        name: "segment.bytes",
        doc: "the largest size of a segment file: bytes or KiB, MiB, GiB; from 1MiB to 1GiB",
        set: |config, text| value::size(text, MIB..=1024 * MIB).map(|v| config.segment_bytes = v),
        get: |config| config.segment_bytes.to_string(),
    },
    Setting {
        name: "segment.ms",
        doc: "the age at which a segment is sealed: milliseconds or s, m, h, d; at least 1s",
        set: |config, text| value::time(text, 1000..=value::MAX).map(|v| config.segment_ms = v),
        get: |config| config.segment_ms.to_string(),
    },
];

impl Setting {
    /// The setting of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The default, in its plain form.
    pub fn default_value(&self) -> String {
        (self.get)(&TopicConfig::default())
    }
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No setting has this name.
    #[error("there is no topic setting {name:?}{}", did_you_mean(*.suggestion))]
    UnknownSetting {
        /// The name that was asked for, shortened.
        name: String,
        /// The nearest name there is.
        suggestion: Option<&'static str>,
    },
    /// The setting cannot have this value.
    #[error("{name} cannot be {value:?}: {why}")]
    Value {
        /// The setting.
        name: &'static str,
        /// The value, shortened.
        value: String,
        /// What it may be.
        why: String,
    },
    /// Two settings contradict each other.
    #[error("{name} cannot be {value}: {why}")]
    Contradiction {
        /// The setting.
        name: &'static str,
        /// Its value in plain form.
        value: String,
        /// What it contradicts.
        why: String,
    },
}

fn did_you_mean(suggestion: Option<&'static str>) -> String {
    match suggestion {
        Some(name) => format!("; did you mean {name}?"),
        None => {
            let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
            format!("; there are {}", names.join(", "))
        }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::new(Reason::InvalidConfig, error.to_string())
    }
}

impl TopicConfig {
    /// The defaults with `overrides` in their place. The first override that is wrong, in the order
    /// given, is the error.
    pub fn resolve<K, V>(overrides: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut config = Self::default();
        for (name, text) in overrides {
            let setting = known(name.as_ref())?;
            (setting.set)(&mut config, text.as_ref()).map_err(|why| ConfigError::Value {
                name: setting.name,
                value: shortened(text.as_ref()),
                why,
            })?;
        }
        Ok(config)
    }

    /// Refuses settings that cannot all hold. Defaults give way, so only what is `given` can
    /// contradict; the metadata group asks for what is new, never for what it has accepted once.
    pub fn check(&self, given: impl Fn(&str) -> bool) -> Result<(), ConfigError> {
        let contradiction = |name: &'static str, value: u64, why: String| {
            let value = value.to_string();
            Err(ConfigError::Contradiction { name, value, why })
        };
        let Self {
            max_batch_bytes: batch,
            segment_bytes: segment,
            ..
        } = *self;
        if batch > segment {
            let why = format!("a segment takes at most segment.bytes, {segment} bytes");
            return contradiction("max.batch.bytes", batch, why);
        }
        if let Some(bytes) = self.retention_bytes {
            if bytes < batch.saturating_mul(BATCHES) {
                let why = format!(
                    "it must be at least {} bytes, {BATCHES} times max.batch.bytes, so that whole \
                     segments can be deleted and records stay",
                    batch.saturating_mul(BATCHES)
                );
                return contradiction("retention.bytes", bytes, why);
            }
            if given("segment.bytes") && segment > bytes {
                let why = format!("a segment of segment.bytes, {segment} bytes, is larger");
                return contradiction("retention.bytes", bytes, why);
            }
        }
        match self.retention_ms {
            Some(ms) if given("segment.ms") && self.segment_ms > ms => {
                let open = self.segment_ms;
                let why = format!(
                    "only closed segments are deleted, and segment.ms, {open} ms, keeps them open \
                     for longer"
                );
                contradiction("retention.ms", ms, why)
            }
            _ => Ok(()),
        }
    }

    /// The largest size of a segment file: small enough for what a partition may take on the disk
    /// to be kept to.
    pub fn file_bytes(&self) -> u64 {
        let share = self.retention_bytes.map_or(u64::MAX, |bytes| bytes / FILES);
        self.segment_bytes.min(share.max(LEAST_FILE))
    }

    /// The age at which a segment is closed, in milliseconds: what is kept for a short time must
    /// be closed soon.
    pub fn file_ms(&self) -> i64 {
        let share = self.retention_ms.map_or(u64::MAX, |ms| (ms / 10).max(1000));
        i64::try_from(self.segment_ms.min(share)).unwrap_or(i64::MAX)
    }

    /// Every setting with its value in plain form, defaults included.
    pub fn describe(&self) -> BTreeMap<String, String> {
        let describe = |setting: &Setting| (setting.name.to_owned(), (setting.get)(self));
        SETTINGS.iter().map(describe).collect()
    }

    /// The value of one setting in plain form.
    pub fn value(&self, setting: &Setting) -> String {
        (setting.get)(self)
    }
}

/// The setting of this name, or an error that suggests one.
pub fn known(name: &str) -> Result<&'static Setting, ConfigError> {
    Setting::find(name).ok_or_else(|| ConfigError::UnknownSetting {
        name: shortened(name),
        suggestion: suggestion::nearest(name, SETTINGS.iter().map(|setting| setting.name)),
    })
}

/// What an error repeats of a text that came from outside.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
