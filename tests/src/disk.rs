//! A small disk of its own for a broker: a real file system in an image, mounted in a mount namespace
//! that the test makes and that ends with it. Needs root, `unshare`, `nsenter` and `mount`. It is ext4
//! where there are `mkfs.ext4` and loop devices, else `tmpfs`, which the test says; without either the
//! test fails.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::figure;
use crate::files::partition_dir;
use crate::program::Program;

/// Whether there is what an ext4 in an image takes.
const HAS_EXT4: &str = r#"
    PATH="$PATH:/usr/sbin:/sbin"
    command -v mkfs.ext4 >/dev/null && test -e /dev/loop-control
"#;

/// Mounts, says so, and holds the namespace until its stdin ends.
const HOLD: &str = r#"
    PATH="$PATH:/usr/sbin:/sbin"
    if truncate -s "$2" "$1/image" && mkfs.ext4 -q -F -m 0 "$1/image" && mount -o loop "$1/image" "$1/disk"
    then echo ext4
    elif mount -t tmpfs -o "size=$2" none "$1/disk"
    then echo tmpfs
    else exit 1
    fi
    read -r _
"#;

/// The same with the image in memory that can be taken away from it.
const HOLD_FAILING: &str = r#"
    PATH="$PATH:/usr/sbin:/sbin"
    mkdir "$1/under" && mount -t tmpfs -o "size=$2" none "$1/under" &&
    truncate -s "$2" "$1/under/image" && mkfs.ext4 -q -F -m 0 "$1/under/image" &&
    mount -o loop "$1/under/image" "$1/disk" && echo ext4 && read -r _
"#;

/// Takes the disk away as a power loss does, and mounts what was really written.
const POWER_CYCLE: &str = r#"
    PATH="$PATH:/usr/sbin:/sbin"
    umount "$1/disk" && { e2fsck -f -y "$1/under/image" >&2; test $? -lt 4; } &&
    mount -o loop "$1/under/image" "$1/disk"
"#;

/// Puts a directory on a disk of its own, with the file that is named behind all others, and takes away
/// everything of that disk from the third page of the file on.
const LOSE: &str = r#"
    PATH="$PATH:/usr/sbin:/sbin"
    other="$1/under/other" && mkdir "$1/other" &&
    truncate -s 32M "$other" && mkfs.ext4 -q -F -b 4096 -m 0 -O ^has_journal "$other" &&
    mount -o loop "$other" "$1/other" && mv "$2/$3" "$1/kept" && cp -a "$2/." "$1/other/" &&
    sync -f "$1/other" && cp -a "$1/kept" "$1/other/$3" && sync -f "$1/other" &&
    at=$(filefrag -v -b4096 "$1/other/$3" | awk '$1 == "0:" { sub(/\.\..*/, "", $4); print $4 }') &&
    umount "$1/other" && mount -o loop "$other" "$2" && truncate -s $(((at + 2) * 4096)) "$other"
"#;

/// A small disk. What is on it is gone with it.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    home: TempDir,
}

impl SmallDisk {
    /// A disk of so many MiB, the file system's own included.
    ///
    /// # Panics
    ///
    /// When none can be mounted here.
    #[track_caller]
    pub fn new(mib: u64) -> Self {
        Self::hold(HOLD, mib)
    }

    #[track_caller]
    fn hold(script: &str, mib: u64) -> Self {
        let home = tempfile::tempdir().expect("there is a place for temporary files");
        fs::create_dir(home.path().join("disk")).expect("a directory can be made");
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(home.path())
            .arg((mib << 20).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) is there");
        let stdout = holder.stdout.take().expect("stdout is a pipe");
        let mut mounted = String::new();
        drop(BufReader::new(stdout).read_line(&mut mounted));
        assert!(
            !mounted.is_empty(),
            "no file system of {mib} MiB can be mounted: this test needs root (CAP_SYS_ADMIN) and a \
             loop device or tmpfs"
        );
        let mounted = mounted.trim_end();
        figure(&format!("a disk of {mib} MiB, {mounted}"));
        let found = Command::new("sh").args(["-c", HAS_EXT4]).status();
        let has_ext4 = found.is_ok_and(|found| found.success());
        assert!(mounted == "ext4" || !has_ext4, "ext4 could be mounted");
        Self { holder, home }
    }

    /// The program, run where the disk is mounted.
    pub fn program(&self, program: &Program) -> Program {
        let target = format!("--target={}", self.holder.id());
        program.through(&["nsenter", &target, "--mount", "--"])
    }

    /// The data directory for a broker on it, as that broker sees it.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("disk/data")
    }

    /// A path on the disk as this process sees it.
    fn seen(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let disk = self.home.path().join("disk");
        let disk = disk.strip_prefix("/").unwrap_or(Path::new("disk"));
        root.join(disk).join(name)
    }

    /// Runs a script where the disk is mounted; `$1` is the directory it is in, and `args` follow.
    #[track_caller]
    fn run(&self, script: &str, args: &[&str]) {
        let target = format!("--target={}", self.holder.id());
        let ended = Command::new("nsenter")
            .args([&target, "--mount", "--", "sh", "-c", script, "sh"])
            .arg(self.home.path())
            .args(args)
            .output()
            .expect("nsenter (util-linux) is there");
        assert!(ended.status.success(), "{script}: {ended:?}");
    }

    /// Mounts it read-only. No file on it may be open for writing.
    #[track_caller]
    pub fn make_read_only(&self) {
        self.run(r#"mount -o remount,ro "$1/disk""#, &[]);
    }

    /// Takes `mib` MiB of the disk away, as a file of this name.
    #[track_caller]
    pub fn occupy(&self, name: &str, mib: u64) {
        let mut file = fs::File::create(self.seen(name)).expect("a file can be made");
        let zeroes = vec![0; 1 << 20];
        for _ in 0..mib {
            file.write_all(&zeroes).expect("there is room");
        }
        file.sync_all().expect("it is kept");
    }

    /// Takes whatever is free.
    #[track_caller]
    pub fn occupy_all(&self, name: &str) {
        let mut file = fs::File::create(self.seen(name)).expect("a file can be made");
        for step in [1 << 20, 4096] {
            let zeroes = vec![0; step];
            while file.write_all(&zeroes).is_ok() {}
        }
        drop(file.sync_all());
    }

    /// Gives back what the file of this name has taken.
    #[track_caller]
    pub fn release(&self, name: &str) {
        fs::remove_file(self.seen(name)).expect("the file is there");
    }

    /// Bytes that are free.
    #[track_caller]
    pub fn free(&self) -> u64 {
        let found = statvfs(self.seen("")).expect("the disk is mounted");
        found.f_bavail * found.f_frsize
    }
}

/// An ext4 whose syncs really fail on demand: the memory below its image is taken away, so what was
/// never written before cannot be.
#[derive(Debug)]
pub struct FailingDisk(SmallDisk);

impl FailingDisk {
    /// A disk of so many MiB that works.
    ///
    /// # Panics
    ///
    /// When none can be mounted here.
    #[track_caller]
    pub fn new(mib: u64) -> Self {
        Self(SmallDisk::hold(HOLD_FAILING, mib))
    }

    /// The disk itself.
    pub fn disk(&self) -> &SmallDisk {
        &self.0
    }

    fn under(&self) -> PathBuf {
        self.0.seen("../under/taken")
    }

    /// From now on what goes to places of the disk that were never written fails when it is synced.
    #[track_caller]
    pub fn fail(&self) {
        let mut file = fs::File::create(self.under()).expect("a file can be made");
        for step in [1 << 20, 4096] {
            let zeroes = vec![0; step];
            while file.write_all(&zeroes).is_ok() {}
        }
    }

    /// Makes it work again, with nothing on it but what had reached it. Nobody may use it meanwhile.
    #[track_caller]
    pub fn mend(&self) {
        drop(fs::remove_file(self.under()));
        self.0.run(POWER_CYCLE, &[]);
    }

    /// From the third page on the first segment file of the only partition cannot be read any more: an
    /// input/output error for who reads it, and SIGBUS for who touches a map of it. Nobody may use it
    /// meanwhile.
    #[track_caller]
    pub fn lose_sectors(&self) {
        let seen = partition_dir(&self.0.seen("data"));
        let name = seen.file_name().and_then(|name| name.to_str());
        let name = name.expect("the name of the directory is text");
        let dir = self.0.data_dir().join("groups").join(name);
        let dir = dir.to_str().expect("its path is text");
        self.0.run(LOSE, &[dir, "00000001.seg"]);
    }

    /// Makes the file system read-only while files on it are open, as ext4 does by itself after an error.
    #[track_caller]
    pub fn abort(&self) {
        self.0.run(r#"mount -o remount,abort "$1/disk""#, &[]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
