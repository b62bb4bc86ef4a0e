//! What is looked up when somebody asks.

/// The state of a broker at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gauges {
    /// The broker's id.
    pub broker: u32,
    /// The cluster's id.
    pub cluster: String,
    /// Whether it has joined its cluster and opened what is placed on it.
    pub ready: bool,
    /// Whether it leads the metadata group.
    pub controller: bool,
    /// Brokers of the cluster that answer this one, itself included.
    pub brokers_up: u64,
    /// Brokers of the cluster that do not.
    pub brokers_down: u64,
    /// Topics of the cluster.
    pub topics: u64,
    /// Partitions of the cluster.
    pub partitions: u64,
    /// Partitions of the cluster of which this broker knows no leader.
    pub partitions_leaderless: u64,
    /// Partitions that this broker leads.
    pub partitions_led: u64,
    /// Those of them that lack a replica: its broker does not answer, or it is far behind.
    pub partitions_under_replicated: u64,
    /// The most committed entries that a replica lacks, of all partitions led here.
    pub lag_entries: u64,
    /// Replicas that are open here.
    pub replicas: u64,
    /// Segment files of them that are ready for the next records.
    pub ready_segments: u64,
    /// Replicas that are placed here and not open.
    pub replicas_out: u64,
    /// Those of them whose files are damaged.
    pub replicas_damaged: u64,
    /// Those of them whose history differs from the rest of their group.
    pub replicas_diverged: u64,
    /// By how much the machine's clock is ahead of the time that the broker goes by.
    pub clock_offset_ms: i64,
    /// The largest difference between this broker's time and that of another one.
    pub clock_skew_ms: u64,
    /// The disk of the data directory: (free, total) bytes; none when it could not be asked.
    pub disk: Option<(u64, u64)>,
    /// Bytes of deleted files that are on it because somebody still reads them.
    pub disk_deleted: u64,
    /// True while appends are refused because that disk is full.
    pub disk_full: bool,
    /// Open files, and how many there may be; none when it could not be asked.
    pub files: Option<(u64, u64)>,
    /// Memory that is no page of a file, in bytes; none when it could not be asked.
    pub memory: Option<u64>,
    /// Each partition led here; empty unless the setting asks for them.
    pub each: Vec<PartitionGauges>,
}

/// The state of a partition, as its leader knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionGauges {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
    /// The first offset that can be read.
    pub log_start_offset: u64,
    /// The end of what can be read.
    pub high_watermark: u64,
    /// The term of the leader.
    pub leader_epoch: u64,
    /// Replicas that have everything that is committed.
    pub in_sync: u64,
    /// The most committed entries that a replica lacks.
    pub lag_entries: u64,
}
