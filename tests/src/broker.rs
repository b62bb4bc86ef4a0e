//! A broker as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

use crate::health::unhealthy;
use crate::ports;
use crate::program::{Program, Run};
use crate::sockets;
use crate::stderr::Stderr;
use crate::wait::ended_within;

mod launched;

pub use launched::Launched;

/// How long a broker may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// How long a broker may take to stop in order.
const STOP: Duration = Duration::from_secs(30);

/// A broker that runs, or ran until it was killed or stopped.
#[derive(Debug)]
pub struct Broker {
    program: Program,
    data_dir: PathBuf,
    extra: Vec<String>,
    child: Life,
    log: Arc<Stderr>,
    stdout: Receiver<String>,
    ready: Value,
}

impl Broker {
    /// Starts a broker on free ports of 127.0.0.1 and waits until it is ready.
    #[track_caller]
    pub fn start(program: &Program, data_dir: &Path, extra: &[&str]) -> Self {
        let listen = format!("127.0.0.1:{}", ports::in_a_row(3));
        let mut args = vec!["--listen".to_owned(), listen];
        args.extend(extra.iter().map(|arg| (*arg).to_owned()));
        Self::launch(program, data_dir, args).until_ready()
    }

    /// Starts a broker that tells clients to come to its port on `host`, where a proxy listens that
    /// passes them on to that port of 127.0.0.1. Other brokers reach it on `host` itself.
    #[track_caller]
    pub fn start_behind(program: &Program, data_dir: &Path, host: &str, extra: &[&str]) -> Self {
        let port = ports::in_a_row(3);
        let mut args = Vec::new();
        for (flag, address) in [
            ("--listen", format!("127.0.0.1:{port}")),
            ("--peer-listen", format!("{host}:{}", port + 1)),
            ("--http-listen", format!("{host}:{}", port + 2)),
            ("--advertise", host.to_owned()),
        ] {
            args.extend([flag.to_owned(), address]);
        }
        args.extend(extra.iter().map(|arg| (*arg).to_owned()));
        Self::launch(program, data_dir, args).until_ready()
    }

    /// Starts a broker that joins the one with this peer address and tells everybody to come to a host
    /// where nobody listens: it is a member, and nobody reaches it.
    pub fn launch_astray(program: &Program, data_dir: &Path, join: &str) -> Launched {
        let listen = format!("127.0.0.1:{}", ports::in_a_row(3));
        let args = [
            "--listen",
            &listen,
            "--advertise",
            "127.0.0.3",
            "--join",
            join,
        ];
        Self::launch(program, data_dir, args.map(str::to_owned).into())
    }

    /// Starts a broker and does not wait until it is ready.
    fn launch(program: &Program, data_dir: &Path, args: Vec<String>) -> Launched {
        let mut command = program.command();
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(data_dir)
            .args(&args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be run");
        let log = Stderr::keep(child.stderr.take().expect("stderr is a pipe"));
        let stdout = lines(child.stdout.take().expect("stdout is a pipe"));
        let (program, data_dir) = (program.clone(), data_dir.to_owned());
        Launched {
            program,
            data_dir,
            extra: args,
            child: Life(child),
            log,
            stdout,
        }
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
        self.log.until_ended();
    }

    /// Stops it with SIGTERM.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let ended = ended_within(&mut self.child, STOP);
        let ended = ended
            .unwrap_or_else(|| panic!("does not stop within {STOP:?}; its log:\n{}", self.log()));
        self.log.until_ended();
        ended
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let ended = ended_within(&mut self.child, READY);
        let ended = ended.unwrap_or_else(|| panic!("it does not end; its log:\n{}", self.log()));
        self.log.until_ended();
        ended
    }

    /// Sends it a signal. After `STOP` none of its threads runs any more when this returns.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a child can be signalled");
        if signal == Signal::STOP {
            let stopped = waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED);
            stopped.expect("a child can be waited for");
        }
    }

    /// Starts it again on its data directory and its addresses, after it was killed or stopped,
    /// and waits until it is ready.
    #[track_caller]
    pub fn restart(&mut self) {
        let ready = self.relaunch().until_ready();
        *self = ready;
    }

    /// Starts it again and leaves it to the caller to wait: brokers of a cluster may need each
    /// other to become ready.
    pub fn relaunch(&self) -> Launched {
        let mut args = self.extra.clone();
        if args.iter().any(|arg| arg == "--advertise") {
            // What it says is not what it listens on, and its ports are fixed.
            return Self::launch(&self.program, &self.data_dir, args);
        }
        for (flag, address) in [
            ("--listen", self.listen()),
            ("--peer-listen", self.peer()),
            ("--http-listen", self.http()),
        ] {
            match args.iter().position(|arg| arg == flag) {
                Some(at) => args[at + 1] = address.to_owned(),
                None => args.extend([flag.to_owned(), address.to_owned()]),
            }
        }
        Self::launch(&self.program, &self.data_dir, args)
    }

    /// Starts it again on its data directory at this port of 127.0.0.1 and the two behind it, whatever it
    /// had before, and told to look for its cluster at the peer address `join` if there is one. Its other
    /// flags must all have values.
    pub fn relaunch_at(&self, port: u16, join: Option<&str>) -> Launched {
        let address = format!("127.0.0.1:{port}");
        let mut args = vec!["--listen".to_owned(), address];
        args.extend(
            join.iter()
                .flat_map(|join| ["--join", join].map(str::to_owned)),
        );
        let others = self.extra.chunks_exact(2);
        let others = others.filter(|flag| !flag[0].ends_with("listen") && flag[0] != "--join");
        args.extend(others.flatten().cloned());
        Self::launch(&self.program, &self.data_dir, args)
    }

    /// The line it printed when it was ready.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        self.ready["broker"].as_u64().expect("a broker has an id")
    }

    /// Its process, as `/proc` tells of it.
    pub fn process(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }

    /// Its ends of the connections whose other end is `peer`, as it set them up; waits for `count`.
    #[track_caller]
    pub fn sockets(&self, peer: SocketAddr, count: usize) -> Vec<OwnedFd> {
        sockets::connected(Pid::from_child(&self.child), peer, count)
    }

    /// The memory that is its own and nobody else's, in bytes: what it has mapped of its files is
    /// the page cache's.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(self.process().join("status"));
        let status = status.expect("the process runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: usize = kib
            .and_then(|kib| kib.parse().ok())
            .expect("a process has memory");
        kib << 10
    }

    /// The processor time it has used, of the user and the system, to a tick (10 ms).
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(self.process().join("stat")).expect("the process runs");
        let (_, behind_name) = stat.rsplit_once(')').expect("a name in parentheses");
        let mut fields = behind_name.split_whitespace().skip(11);
        let mut ticks = || -> u64 {
            let field = fields.next().and_then(|field| field.parse().ok());
            field.expect("ticks")
        };
        let ticks = ticks() + ticks();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// The address for clients.
    pub fn listen(&self) -> &str {
        self.address("listen")
    }

    /// The address for other brokers.
    pub fn peer(&self) -> &str {
        self.address("peer")
    }

    /// The address for HTTP.
    pub fn http(&self) -> &str {
        self.address("http")
    }

    fn address(&self, key: &str) -> &str {
        self.ready[key]
            .as_str()
            .expect("the ready line has the addresses")
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its log so far; all of it once it was killed, stopped or has ended.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The first line of its log with `wanted` in it; waits for it.
    #[track_caller]
    pub fn log_line(&self, wanted: &str) -> String {
        self.log.line_with(wanted)
    }

    /// What it has printed after the line that said it is ready.
    pub fn further_output(&self) -> Vec<String> {
        self.stdout.try_iter().collect()
    }

    /// Asks this broker for the health of its cluster until it is not healthy and every part is said;
    /// gives what was said.
    #[track_caller]
    pub fn unhealthy(&self, parts: &[&str]) -> String {
        unhealthy(|| self.run(&["cluster", "health"]), parts)
    }

    /// A client command that asks this broker.
    pub fn run(&self, args: &[&str]) -> Run {
        self.program
            .run(args)
            .env("HIGHWATER_BROKERS", self.listen())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if thread::panicking() {
            let name = self.ready["broker"].to_string();
            let log = self.log();
            let shown = log.len().saturating_sub(8000);
            let tail = String::from_utf8_lossy(&log.as_bytes()[shown..]).into_owned();
            drop(std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("--- the end of the log of broker {name}:\n{tail}\n").as_bytes(),
            ));
        }
    }
}

/// A process that does not outlive the test.
#[derive(Debug)]
struct Life(Child);

impl Deref for Life {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Life {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        for line in lines {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
