//! Small files that are replaced as a whole: whoever reads one sees the old or the new payload,
//! never a mixture, and a damaged one is an error, never an empty one.

use std::io::{self, IoSlice};

use super::dir::Dir;

#[cfg(test)]
mod tests;

/// The first bytes of a small file.
const MAGIC: [u8; 8] = *b"HWFILE\0\0";
/// The version of the layout.
pub(super) const VERSION: u32 = 1;
/// Bytes before the payload.
const HEADER: usize = 24;

/// Why a small file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SmallFileError {
    /// The disk refused an operation.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not what was written.
    #[error("{file} is damaged: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Written by a later version.
    #[error("{file} has version {version}; this broker reads version 1")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
}

/// Replaces the payload of file `name`, durably: written beside, synced, renamed, directory synced.
/// After an error the file has its old payload, or the new one whole.
pub fn write_file(dir: &dyn Dir, name: &str, payload: &[u8]) -> Result<(), SmallFileError> {
    let beside = format!("{name}.tmp");
    let io = |action| {
        move |source| SmallFileError::Io {
            action,
            file: name.to_owned(),
            source,
        }
    };
    match dir.remove(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("replace")(error)),
        _ => {}
    }
    let len = (HEADER + payload.len()) as u64;
    let file = dir.create(&beside, len).map_err(io("create"))?;
    let head = header(payload);
    let parts = [IoSlice::new(&head), IoSlice::new(payload)];
    file.write_at(&parts, 0).map_err(io("write"))?;
    file.sync_now().map_err(io("sync"))?;
    dir.rename(&beside, name).map_err(io("rename"))?;
    dir.sync_dir().map_err(io("sync the directory of"))
}

/// The payload of file `name`; `None` when there is no such file.
pub fn read_file(dir: &dyn Dir, name: &str) -> Result<Option<Vec<u8>>, SmallFileError> {
    let file = match dir.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(SmallFileError::Io {
                action: "open",
                file: name.to_owned(),
                source,
            });
        }
    };
    let resident = file.make_resident(0..file.len());
    resident.map_err(|source| SmallFileError::Io {
        action: "read",
        file: name.to_owned(),
        source,
    })?;
    let bytes = file.slice(0..file.len());
    let damaged = |reason| SmallFileError::Damaged {
        file: name.to_owned(),
        reason,
    };
    let head = bytes
        .first_chunk::<HEADER>()
        .ok_or_else(|| damaged("it is too short"))?;
    let payload = &bytes[HEADER..];
    if head[..8] != MAGIC {
        return Err(damaged("it does not begin as it should"));
    }
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    let expected = header(payload);
    if version != VERSION && head[12..] == expected[12..] {
        return Err(damaged("its version is not the one that was written"));
    }
    if version != VERSION {
        return Err(SmallFileError::Version {
            file: name.to_owned(),
            version,
        });
    }
    if *head != expected {
        return Err(damaged("its length or its CRC does not match"));
    }
    Ok(Some(payload.to_vec()))
}

/// Removes a file durably; a missing one is fine.
pub fn remove_file(dir: &dyn Dir, name: &str) -> Result<(), SmallFileError> {
    let io = |source| SmallFileError::Io {
        action: "remove",
        file: name.to_owned(),
        source,
    };
    match dir.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.and_then(|()| dir.sync_dir()).map_err(io),
    }
}

fn header(payload: &[u8]) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..20].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&out[..20]);
    hasher.update(payload);
    out[20..].copy_from_slice(&hasher.finalize().to_le_bytes());
    out
}
