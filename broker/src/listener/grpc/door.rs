//! Where connections of other brokers come in. Control connections stay on the runtime of the door;
//! all others are handed to whoever serves bulk data. Nothing here waits for a peer that is silent.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::listener::{Slot, Slots};
use crate::peer::control::PREAMBLE;
use crate::tasks::Tasks;

/// How long a connection may be silent before it is closed.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// Connections that wait to be served.
const WAITING: usize = 64;

/// Connections that were told apart: those of the control kind, and the others, which may be served
/// by another runtime.
#[derive(Debug)]
pub struct Sorted {
    /// Behind their first bytes.
    pub control: mpsc::Receiver<(TcpStream, Slot)>,
    /// Not read from yet, and of no runtime.
    pub bulk: mpsc::Receiver<(std::net::TcpStream, Slot)>,
}

/// Takes connections from a listener and tells them apart.
#[derive(Debug)]
pub struct Door {
    control: mpsc::Sender<(TcpStream, Slot)>,
    bulk: mpsc::Sender<(std::net::TcpStream, Slot)>,
}

impl Door {
    /// A door, and where what comes through it goes.
    pub fn new() -> (Self, Sorted) {
        let (control, control_out) = mpsc::channel(WAITING);
        let (bulk, bulk_out) = mpsc::channel(WAITING);
        let sorted = Sorted {
            control: control_out,
            bulk: bulk_out,
        };
        (Self { control, bulk }, sorted)
    }

    /// Takes connections for ever. `tasks` wait for the first bytes of each.
    pub async fn open(
        self,
        listener: std::net::TcpListener,
        slots: Slots,
        tasks: Tasks,
    ) -> io::Result<()> {
        // A listener belongs to the runtime that it was made on, which may be busy elsewhere.
        let listener = TcpListener::from_std(listener)?;
        loop {
            let accepted = slots.accept(&listener).await;
            let (control, bulk) = (self.control.clone(), self.bulk.clone());
            tasks.spawn(async move {
                let told = sort(accepted, &control, &bulk);
                if let Err(error) = told.await {
                    tracing::debug!(%error, "a connection to the peer listener is closed");
                }
            });
        }
    }
}

async fn sort(
    (mut stream, slot): (TcpStream, Slot),
    control: &mpsc::Sender<(TcpStream, Slot)>,
    bulk: &mpsc::Sender<(std::net::TcpStream, Slot)>,
) -> io::Result<()> {
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "it stayed silent");
    let is_control = is_control(&mut stream);
    let is_control = tokio::time::timeout(FIRST_BYTES, is_control).await;
    if is_control.map_err(silent)?? {
        stream.set_nodelay(true)?;
        return control.send((stream, slot)).await.map_err(io::Error::other);
    }
    let stream = stream.into_std()?;
    bulk.send((stream, slot)).await.map_err(io::Error::other)
}

/// Whether the connection is a control connection; reads the preamble only if it is one.
async fn is_control(stream: &mut TcpStream) -> io::Result<bool> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] != PREAMBLE[0] {
        return Ok(false);
    }
    let mut preamble = [0; PREAMBLE.len()];
    stream.read_exact(&mut preamble).await?;
    match preamble == *PREAMBLE {
        true => Ok(true),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it speaks neither HTTP/2 nor as a broker",
        )),
    }
}
