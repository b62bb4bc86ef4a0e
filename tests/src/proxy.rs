//! A proxy before a broker that loses answers. It passes bytes on and understands no more of HTTP/2
//! than where frames begin: an answer is a frame with data from the broker. It is lost in one of
//! two ways, by turns as chance has it: the connection breaks instead, or, if the frame is one whole
//! message and not the first of its stream, it alone is missing.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// The bytes before the payload of a frame: its length, kind, flags and stream.
const HEAD: usize = 9;
const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 8;
/// The bytes before a message: whether it is compressed, and its length.
const MESSAGE_HEAD: usize = 5;
/// The largest frame that is passed on.
const LARGEST: usize = 1 << 24;

/// A proxy that runs until it goes out of scope.
#[derive(Debug)]
pub struct Proxy {
    losses: Arc<Losses>,
    runtime: Option<Runtime>,
}

/// How many answers are lost.
#[derive(Debug)]
struct Losses {
    per_mille: AtomicU64,
    random: AtomicU64,
    /// Answers passed on while others were to be lost.
    passed: AtomicU64,
    broken: AtomicU64,
    swallowed: AtomicU64,
}

/// What became of the answers while some were to be lost.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// They were passed on.
    pub passed: u64,
    /// They were lost with their connection.
    pub broken: u64,
    /// They alone were lost.
    pub swallowed: u64,
}

impl Answers {
    /// The answers of both.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self {
            passed: self.passed + others.passed,
            broken: self.broken + others.broken,
            swallowed: self.swallowed + others.swallowed,
        }
    }
}

/// What becomes of an answer.
enum Fate {
    Pass,
    Break,
    Swallow,
}

impl Losses {
    fn draw(&self) -> u64 {
        let next = |seed: u64| Some(seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        let drawn = self
            .random
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        drawn.unwrap_or_default() >> 33
    }

    fn fate(&self, may_swallow: bool) -> Fate {
        let per_mille = self.per_mille.load(Ordering::SeqCst);
        if self.draw() % 1000 >= per_mille {
            self.passed
                .fetch_add(u64::from(per_mille > 0), Ordering::SeqCst);
            return Fate::Pass;
        }
        if may_swallow && self.draw().is_multiple_of(2) {
            self.swallowed.fetch_add(1, Ordering::SeqCst);
            return Fate::Swallow;
        }
        self.broken.fetch_add(1, Ordering::SeqCst);
        Fate::Break
    }
}

impl Proxy {
    /// Passes connections to `listen` on to `broker`, and loses `per_mille` of a thousand answers,
    /// chosen by `seed`.
    pub fn start(listen: &str, broker: &str, per_mille: u64, seed: u64) -> Self {
        let losses = Arc::new(Losses {
            per_mille: AtomicU64::new(per_mille),
            random: AtomicU64::new(seed),
            passed: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
        });
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let bound = std::net::TcpListener::bind(listen);
        let bound = bound.expect("the address of the proxy is free");
        bound.set_nonblocking(true).expect("a socket can be asked");
        let listening = {
            let _inside = runtime.enter();
            TcpListener::from_std(bound).expect("a socket can be listened to")
        };
        runtime.spawn(accept(listening, broker.to_owned(), Arc::clone(&losses)));
        Self {
            losses,
            runtime: Some(runtime),
        }
    }

    /// From now on, loses so many of a thousand answers.
    pub fn lose(&self, per_mille: u64) {
        self.losses.per_mille.store(per_mille, Ordering::SeqCst);
    }

    /// What became of the answers so far, while some were to be lost.
    pub fn answers(&self) -> Answers {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Answers {
            passed: count(&self.losses.passed),
            broken: count(&self.losses.broken),
            swallowed: count(&self.losses.swallowed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listening: TcpListener, broker: String, losses: Arc<Losses>) {
    while let Ok((client, _)) = listening.accept().await {
        let (broker, losses) = (broker.clone(), Arc::clone(&losses));
        tokio::spawn(async move {
            // A broker that is not there looks like one that hangs up.
            if let Ok(server) = TcpStream::connect(&broker).await {
                pass(client, server, &losses).await;
            }
        });
    }
}

/// Passes both ways until either ends; then both connections end.
async fn pass(client: TcpStream, server: TcpStream, losses: &Losses) {
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let to_server = Mutex::new(to_server);
    let asking = forward(from_client, &to_server);
    let answering = answers(from_server, to_client, &to_server, losses);
    tokio::select! {
        ended = asking => drop(ended),
        ended = answering => drop(ended),
    }
}

async fn forward(mut from: OwnedReadHalf, to: &Mutex<OwnedWriteHalf>) -> io::Result<()> {
    let mut preface = [0; 24];
    from.read_exact(&mut preface).await?;
    to.lock().await.write_all(&preface).await?;
    loop {
        let frame = frame(&mut from).await?;
        // Whole frames, so that one of the proxy's own never comes in between.
        to.lock().await.write_all(&frame).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    back: &Mutex<OwnedWriteHalf>,
    losses: &Losses,
) -> io::Result<()> {
    let mut begun = HashSet::new();
    loop {
        let frame = frame(&mut from).await?;
        let (kind, stream) = (frame[3], number(&frame[5..HEAD]));
        let message = &frame[HEAD..];
        if kind != DATA || message.is_empty() {
            to.write_all(&frame).await?;
            continue;
        }
        let first = begun.insert(stream);
        match losses.fate(!first && is_whole(message)) {
            Fate::Pass => to.write_all(&frame).await?,
            Fate::Break => return Ok(()),
            Fate::Swallow => {
                // The client will not give this credit back.
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
                let credit = [window_update(0, length), window_update(stream, length)];
                back.lock().await.write_all(&credit.concat()).await?;
            }
        }
    }
}

fn is_whole(message: &[u8]) -> bool {
    let length = message.get(1..MESSAGE_HEAD).map(number);
    length.is_some_and(|length| message.len() - MESSAGE_HEAD == length as usize)
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

fn window_update(stream: u32, credit: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 4, WINDOW_UPDATE, 0];
    frame.extend(stream.to_be_bytes());
    frame.extend(credit.to_be_bytes());
    frame
}

async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEAD];
    from.read_exact(&mut frame).await?;
    let length = number(&frame[..3]) as usize;
    assert!(length <= LARGEST, "a frame of {length} bytes");
    frame.resize(HEAD + length, 0);
    from.read_exact(&mut frame[HEAD..]).await?;
    Ok(frame)
}
