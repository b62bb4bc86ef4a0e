//! Things that may be named in a few places only, so that everything else can be simulated,
//! replaced or reasoned about without them.

use crate::assert_none;
use crate::code::{lines_with, sources};

/// A thing and where product code may name it.
struct Place {
    what: &'static str,
    /// Whole words or beginnings of paths.
    patterns: &'static [&'static str],
    /// Where the rule holds: beginnings of paths.
    within: &'static [&'static str],
    /// Where it may be named: beginnings of paths.
    allowed: &'static [&'static str],
}

const PLACES: &[Place] = &[
    Place {
        what: "openraft is quarantined in the adapter",
        patterns: &[
            "openraft::",
            "openraft_rt::",
            "openraft_rt_tokio::",
            "openraft_macros::",
        ],
        within: &[""],
        allowed: &["broker/src/raft/"],
    },
    Place {
        what: "gRPC ends at the listeners, the peer network and the client",
        patterns: &["tonic::"],
        within: &["broker/", "cli/"],
        allowed: &[
            "broker/src/listener/",
            "broker/src/peer/",
            "broker/src/raft/",
        ],
    },
    Place {
        what: "files belong to the directory seam and the map",
        patterns: &["std::fs", "fs::", "memmap2::", "rustix::fs"],
        within: &["broker/src/", "client/src/", "proto/src/"],
        allowed: &[
            "broker/src/log/dir/",
            "broker/src/log/dir.rs",
            "broker/src/log/map.rs",
        ],
    },
    Place {
        what: "unsafe code is in the map alone",
        patterns: &["unsafe"],
        within: &[""],
        allowed: &["broker/src/log/map.rs"],
    },
    Place {
        what: "time comes from the clock seam",
        patterns: &["Instant::now", "SystemTime::now", "SystemTime::elapsed"],
        within: &["broker/"],
        allowed: &["broker/src/clock.rs"],
    },
    Place {
        what: "tasks are spawned where they are counted and drained",
        patterns: &[
            "tokio::spawn",
            "task::spawn",
            "spawn_blocking",
            "tokio::task::spawn",
        ],
        within: &["broker/"],
        allowed: &["broker/src/tasks.rs"],
    },
    Place {
        what: "threads belong to the seams",
        patterns: &["std::thread", "thread::spawn", "thread::Builder"],
        within: &["broker/"],
        allowed: &["broker/src/log/dir/", "broker/src/tasks.rs"],
    },
    Place {
        what: "the log knows no runtime",
        patterns: &["tokio::", "tonic::", "async"],
        within: &["broker/src/log/"],
        allowed: &[],
    },
    Place {
        what: "what both ends agree on has no runtime",
        patterns: &["tokio::"],
        within: &["proto/src/"],
        allowed: &[],
    },
];

#[test]
fn things_are_named_only_where_they_belong() {
    let mut violations = Vec::new();
    for source in sources() {
        let starts = |places: &[&str]| places.iter().any(|place| source.path.starts_with(place));
        for place in PLACES
            .iter()
            .filter(|p| starts(p.within) && !starts(p.allowed))
        {
            for pattern in place.patterns {
                for (number, line) in lines_with(&source.product, pattern) {
                    let line = line.trim();
                    violations.push(format!("{}:{number}: {line} ({})", source.path, place.what));
                }
            }
        }
    }
    violations.sort();
    violations.dedup();
    assert_none("things are named only where they belong", &violations);
}
