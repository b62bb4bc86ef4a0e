//! What a broker wants of its machine, and what is missing. A want is no reason not to start: it is
//! said once, in the log, before it hurts.

use std::io;
use std::path::Path;

use rustix::fs::statfs;
use rustix::process::{Resource, getrlimit};

/// Open files that a broker with many partitions and clients may need.
const FILES_WANTED: u64 = 65_536;

const GIB: u64 = 1 << 30;

/// File systems on which what was synced may be gone, by the number that the kernel gives them.
const UNFIT: [(u32, &str, Unfit); 9] = [
    (0x0102_1994, "tmpfs", Unfit::Memory),
    (0x8584_58f6, "ramfs", Unfit::Memory),
    (0x6969, "nfs", Unfit::Network),
    (0x517b, "smb", Unfit::Network),
    (0xff53_4d42, "cifs", Unfit::Network),
    (0xfe53_4d42, "smb2", Unfit::Network),
    (0x0102_1997, "9p", Unfit::Network),
    (0x00c3_6400, "ceph", Unfit::Network),
    (0x5346_414f, "afs", Unfit::Network),
];

/// Why a file system is unfit for data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    Memory,
    Network,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    free_bytes: u64,
    total_bytes: u64,
    unfit: Option<(&'static str, Unfit)>,
    /// How many files may be open; none for as many as there is memory for.
    file_limit: Option<u64>,
}

/// What is missing for a broker with its data in `data_dir`, which need not be there yet.
pub(crate) fn wants(data_dir: &Path) -> io::Result<Vec<String>> {
    let found = statfs(existing(data_dir))?;
    let block = u64::try_from(found.f_bsize).unwrap_or(1);
    // The kernel's numbers have 32 bits; some come with their sign extended.
    let number = found.f_type as u32;
    let unfit = UNFIT.iter().find(|(known, ..)| *known == number);
    let facts = Facts {
        free_bytes: found.f_bavail.saturating_mul(block),
        total_bytes: found.f_blocks.saturating_mul(block),
        unfit: unfit.map(|(_, name, why)| (*name, *why)),
        file_limit: getrlimit(Resource::Nofile).current,
    };
    Ok(facts.wants(data_dir))
}

/// The nearest directory above that exists.
fn existing(path: &Path) -> &Path {
    let found = path.ancestors().find(|path| path.exists());
    match found {
        Some(found) if found != Path::new("") => found,
        _ => Path::new("."),
    }
}

impl Facts {
    fn wants(&self, data_dir: &Path) -> Vec<String> {
        let place = data_dir.display();
        let mut wants = Vec::new();
        if self.free_bytes < GIB || self.free_bytes < self.total_bytes / 20 {
            wants.push(format!(
                "the disk of {place} has {} MiB free, below 1 GiB or 5 %: when it is full, nothing \
                 can be written; free some",
                self.free_bytes >> 20
            ));
        }
        match self.unfit {
            Some((name, Unfit::Memory)) => wants.push(format!(
                "{place} is on {name}: it is in memory and gone with the machine; use a disk"
            )),
            Some((name, Unfit::Network)) => wants.push(format!(
                "{place} is on {name}: locks and syncs over a network do not hold what a local \
                 disk holds; use one"
            )),
            None => {}
        }
        if let Some(limit) = self.file_limit.filter(|limit| *limit < FILES_WANTED) {
            wants.push(format!(
                "only {limit} files may be open, below {FILES_WANTED}: partitions and connections \
                 need them; raise the hard limit (LimitNOFILE, ulimit -Hn)"
            ));
        }
        wants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Facts = Facts {
        free_bytes: 50 * GIB,
        total_bytes: 100 * GIB,
        unfit: None,
        file_limit: Some(FILES_WANTED),
    };

    fn wants(facts: Facts) -> Vec<String> {
        facts.wants(Path::new("/data"))
    }

    #[test]
    fn a_machine_that_has_everything_is_not_warned_of() {
        assert_eq!(wants(FINE), Vec::<String>::new());
        let file_limit = None;
        assert_eq!(wants(Facts { file_limit, ..FINE }), Vec::<String>::new());
    }

    #[test]
    fn little_space_is_below_a_gib_or_a_twentieth() {
        let with = |free_bytes, total_bytes| {
            let facts = Facts {
                free_bytes,
                total_bytes,
                ..FINE
            };
            wants(facts).len()
        };
        assert_eq!(with(GIB - 1, 10 * GIB), 1);
        assert_eq!(with(4 * GIB, 100 * GIB), 1);
        assert_eq!(with(GIB, 10 * GIB), 0);
        let facts = Facts {
            free_bytes: 5 << 20,
            ..FINE
        };
        assert!(wants(facts)[0].starts_with("the disk of /data has 5 MiB free"));
    }

    #[test]
    fn few_files_and_unfit_file_systems_are_named() {
        let file_limit = Some(1024);
        let few = wants(Facts { file_limit, ..FINE });
        assert!(few[0].starts_with("only 1024 files may be open"), "{few:?}");
        let unfit = Some(("nfs", Unfit::Network));
        let network = wants(Facts { unfit, ..FINE });
        assert!(network[0].starts_with("/data is on nfs"), "{network:?}");
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(&dir.path().join("a/b")), dir.path());
        assert_eq!(existing(Path::new("no-such-directory")), Path::new("."));
        assert!(super::wants(&dir.path().join("a/b")).is_ok());
    }
}
