//! What the broker uses of its machine, as the system tells.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::statvfs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Free and all bytes of the disk that `path` is on; free is what a broker without privileges may
/// use.
pub fn disk(path: &Path) -> io::Result<(u64, u64)> {
    let found = statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok((bytes(found.f_bavail), bytes(found.f_blocks)))
}

/// How many files this process has open, and how many it may have.
pub fn files() -> io::Result<(u64, u64)> {
    // The directory that is read is open itself.
    let open = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
    Ok((open as u64, file_limit()))
}

/// How many files this process may have open.
pub fn file_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Allows as many open files as the system does; when that is refused, the limit stays.
pub fn raise_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// Bytes of this process's memory that are no pages of files.
pub fn memory() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|line| {
        let line = line.strip_prefix("RssAnon:")?.trim();
        line.strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    let missing = || io::Error::other("/proc/self/status has no RssAnon");
    Ok(kib.ok_or_else(missing)?.saturating_mul(1024))
}

/// Names this run of the machine's kernel; empty where that is not told.
pub fn boot() -> Vec<u8> {
    let name = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    name.trim_ascii().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let (free, total) = disk(dir.path()).unwrap();
        assert!(free <= total && total > 0, "{free} of {total}");
        assert!(disk(&dir.path().join("missing")).is_err());
        assert!(memory().unwrap() > 100_000);
        let (before, limit) = files().unwrap();
        assert!(before > 0 && before < limit);
        assert!(!boot().is_empty() && boot() == boot());
    }
}
