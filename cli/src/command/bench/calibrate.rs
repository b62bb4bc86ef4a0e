//! What the machine can do at most, measured in the same run: figures of different machines, and
//! of different hours of one, can only be compared beside these. Takes less than two seconds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::record::mix;

const TCP_TIME: Duration = Duration::from_millis(300);
const SYNC_TIME: Duration = Duration::from_millis(300);
const WRITE_TIME: Duration = Duration::from_millis(400);
const COPY_TIME: Duration = Duration::from_millis(150);

const TCP_CHUNK: usize = 256 << 10;
const BLOCK: usize = 4 << 10;
const WRITE_CHUNK: usize = 1 << 20;
const MOST_WRITTEN: u64 = 512 << 20;
const COPIED: usize = 32 << 20;

/// The figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Calibration {
    /// One TCP stream over the loopback, writes of 256 KiB.
    pub(super) tcp_gb_per_second: f64,
    /// Half of the `fdatasync` calls after a write of 4 KiB into written extents take at most this.
    pub(super) fdatasync_us_p50: f64,
    /// All but a hundredth of them take at most this.
    pub(super) fdatasync_us_p99: f64,
    /// A growing file, `fdatasync` after each MiB.
    pub(super) synced_write_mb_per_second: f64,
    /// One thread, 32 MiB from one place to another.
    pub(super) memcpy_gb_per_second: f64,
}

impl Calibration {
    /// Measures, with a file in `dir` that is removed again. Blocks.
    pub(super) fn measure(dir: &Path) -> io::Result<Self> {
        let scratch = Scratch::create(dir)?;
        let [p50, p99] = fdatasync(&scratch.file)?.map(|time| time.as_secs_f64() * 1e6);
        Ok(Self {
            fdatasync_us_p50: rounded(p50, 10.0),
            fdatasync_us_p99: rounded(p99, 10.0),
            synced_write_mb_per_second: rounded(synced_write(&scratch.file)? / 1e6, 10.0),
            tcp_gb_per_second: rounded(tcp()? / 1e9, 1000.0),
            memcpy_gb_per_second: rounded(memcpy() / 1e9, 1000.0),
        })
    }
}

/// A file that is removed when it is no longer needed.
struct Scratch {
    file: File,
    path: PathBuf,
}

impl Scratch {
    fn create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!("highwater-calibration-{}", std::process::id()));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(&path)?;
        Ok(Self { file, path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// The median and the 99th percentile of the time of an `fdatasync` after 4 KiB.
fn fdatasync(file: &File) -> io::Result<[Duration; 2]> {
    const BLOCKS: usize = 1024;
    file.write_all_at(&vec![1; BLOCKS * BLOCK], 0)?;
    file.sync_all()?;
    let block = [2; BLOCK];
    let mut times = Vec::new();
    let begin = Instant::now();
    for number in 0..BLOCKS {
        if begin.elapsed() >= SYNC_TIME && !times.is_empty() {
            break;
        }
        file.write_all_at(&block, (number * BLOCK) as u64)?;
        let synced = Instant::now();
        file.sync_data()?;
        times.push(synced.elapsed());
    }
    times.sort_unstable();
    Ok([times[times.len() / 2], times[times.len() * 99 / 100]])
}

/// Bytes a second that become durable in a file that grows.
fn synced_write(file: &File) -> io::Result<f64> {
    file.set_len(0)?;
    file.sync_all()?;
    let chunk: Vec<u8> = (0..WRITE_CHUNK as u64 / 8)
        .flat_map(|number| mix(number).to_le_bytes())
        .collect();
    let mut written = 0;
    let begin = Instant::now();
    while begin.elapsed() < WRITE_TIME && written < MOST_WRITTEN {
        file.write_all_at(&chunk, written)?;
        file.sync_data()?;
        written += chunk.len() as u64;
    }
    Ok(written as f64 / begin.elapsed().as_secs_f64())
}

/// Bytes a second over a loopback connection.
fn tcp() -> io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let sender = std::thread::spawn(move || -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let chunk = vec![3; TCP_CHUNK];
        let begin = Instant::now();
        while begin.elapsed() < TCP_TIME {
            stream.write_all(&chunk)?;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    let mut chunk = vec![0; TCP_CHUNK];
    let mut received = 0_u64;
    let begin = Instant::now();
    loop {
        match stream.read(&mut chunk)? {
            0 => break,
            len => received += len as u64,
        }
    }
    let rate = received as f64 / begin.elapsed().as_secs_f64();
    match sender.join() {
        Ok(sent) => sent.map(|()| rate),
        Err(_) => Err(io::Error::other("the sending thread panicked")),
    }
}

/// Bytes a second that one thread copies.
fn memcpy() -> f64 {
    let source = vec![5_u8; COPIED];
    let mut target = vec![0_u8; COPIED];
    let mut copied = 0_u64;
    let begin = Instant::now();
    while copied == 0 || begin.elapsed() < COPY_TIME {
        target.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&mut target);
        copied += COPIED as u64;
    }
    copied as f64 / begin.elapsed().as_secs_f64()
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_measured_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let rates = || {
            let found = Calibration::measure(dir.path()).unwrap();
            let disk = found.synced_write_mb_per_second;
            [disk, found.tcp_gb_per_second, found.memcpy_gb_per_second]
        };
        // A machine that stands still for the time of a measurement does nothing in it.
        let measured = |rates: &[f64; 3]| rates.iter().all(|rate| *rate > 0.0);
        let mut rounds = Vec::new();
        while !rounds.last().is_some_and(measured) {
            assert!(rounds.len() < 4, "{rounds:?}");
            rounds.push(rates());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error() {
        let missing = Path::new("no/such/directory");
        assert!(Calibration::measure(missing).is_err());
    }
}
