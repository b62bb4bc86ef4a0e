//! The hard state of a broker: the votes of all replicas here. It is older than any of them, so where
//! replicas are and no hard state is, it was lost; a new one would have forgotten what they voted.

use std::io;

use super::groups::GROUPS_DIR;
use crate::log::{Dir, HardState};

const HARD_STATE_DIR: &str = "hard-state";

/// Opens the hard state, or begins it in a data directory that has no replica yet.
pub(super) fn open_hard_state(root: &dyn Dir) -> Result<HardState, String> {
    if is_lost(root).map_err(|error| error.to_string())? {
        return Err(format!(
            "there are replicas in {GROUPS_DIR} and nothing in {HARD_STATE_DIR}: what they voted is \
             lost, so this broker must not vote again. If it is the only broker of a cluster, \
             restore a copy of the whole data directory; if it is one of several, leave it stopped, \
             and never restore an older copy: its partitions go on with their other replicas"
        ));
    }
    let dir = root.subdir(HARD_STATE_DIR);
    let dir = dir.map_err(|error| error.to_string())?;
    HardState::open(dir).map_err(|error| error.to_string())
}

/// Whether there are replicas and no hard state. The first file of it is durable before the directory
/// of the replicas is made.
fn is_lost(root: &dyn Dir) -> io::Result<bool> {
    let there = root.list_subdirs()?;
    let has = |name: &str| there.iter().any(|there| there == name);
    if !has(GROUPS_DIR) || root.subdir(GROUPS_DIR)?.list_subdirs()?.is_empty() {
        return Ok(false);
    }
    if !has(HARD_STATE_DIR) {
        return Ok(true);
    }
    let kept = root.subdir(HARD_STATE_DIR)?;
    Ok(!HardState::is_begun(kept.as_ref())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::MemDir;

    #[test]
    fn replicas_without_a_hard_state_are_refused_and_nothing_is_made_anew() {
        let root = MemDir::new();
        drop(open_hard_state(&root).unwrap());
        drop(open_hard_state(&root).unwrap());
        let groups = root.subdir(GROUPS_DIR).unwrap();
        drop(open_hard_state(&root).unwrap());
        drop(groups.subdir("metadata.1").unwrap());
        drop(open_hard_state(&root).unwrap());

        let kept = root.subdir(HARD_STATE_DIR).unwrap();
        for name in kept.list().unwrap() {
            if !name.contains("spare") {
                kept.remove(&name).unwrap();
            }
        }
        for _ in 0..2 {
            let why = open_hard_state(&root).unwrap_err();
            assert!(why.contains("must not vote again"), "{why}");
        }
        root.remove_subdir(HARD_STATE_DIR).unwrap();
        for _ in 0..2 {
            let why = open_hard_state(&root).unwrap_err();
            assert!(why.contains(HARD_STATE_DIR), "{why}");
            assert_eq!(root.list_subdirs().unwrap(), [GROUPS_DIR]);
        }
        groups.remove_subdir("metadata.1").unwrap();
        drop(open_hard_state(&root).unwrap());
    }
}
