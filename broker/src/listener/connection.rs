//! A connection that holds its slot while it is open, is counted, and is closed when it does not
//! say in time what it is there for, and when the broker is gone.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::slots::Slot;
use crate::clock;
use crate::metrics::{Connections, Metrics};

/// How long a connection may take to send its HTTP/2 preface, or to come to its first answer.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// Bytes that every HTTP/2 connection begins with. What is silent after them is found by pings.
const PREFACE: usize = 24;
/// How long an HTTP/1 connection is kept behind an answer for a next request.
const NEXT_REQUEST: Duration = Duration::from_secs(120);

/// Which connections of the metrics these are.
pub(super) type Which = fn(&Metrics) -> &Connections;

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    patience: Patience,
    counted: Option<(Arc<Metrics>, Which)>,
    slot: Slot,
}

/// How long a connection may go on without what is expected of it.
#[derive(Debug)]
struct Patience {
    /// None once nothing more is expected.
    until: Option<Pin<Box<Sleep>>>,
    expects: Expects,
    next_request: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Expects {
    /// So many more bytes of a preface.
    Preface(usize),
    /// Requests: each answer begins a new wait.
    Requests,
}

impl Connection {
    /// A connection that speaks HTTP/2, counted from here on.
    pub(super) fn http2(
        (stream, slot): (TcpStream, Slot),
        metrics: Arc<Metrics>,
        which: Which,
    ) -> Self {
        which(&metrics).accept();
        Self {
            stream,
            patience: Patience::new(Expects::Preface(PREFACE), FIRST_BYTES, NEXT_REQUEST),
            counted: Some((metrics, which)),
            slot,
        }
    }

    /// A connection that speaks HTTP/1.
    pub(super) fn http1((stream, slot): (TcpStream, Slot)) -> Self {
        Self {
            stream,
            patience: Patience::new(Expects::Requests, FIRST_BYTES, NEXT_REQUEST),
            counted: None,
            slot,
        }
    }
}

impl Patience {
    fn new(expects: Expects, first: Duration, next_request: Duration) -> Self {
        let until = tokio::time::sleep_until(clock::monotonic() + first);
        Self {
            until: Some(Box::pin(until)),
            expects,
            next_request,
        }
    }

    /// Ready with an error when it has ended.
    fn poll<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(until) = &mut self.until else {
            return Poll::Pending;
        };
        until.as_mut().poll(context).map(|()| {
            let why = "nothing that makes sense came in time";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }

    fn read(&mut self, bytes: usize) {
        if let Expects::Preface(left) = &mut self.expects {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.until = None;
            }
        }
    }

    fn wrote(&mut self) {
        if let (Expects::Requests, Some(until)) = (self.expects, &mut self.until) {
            until.as_mut().reset(clock::monotonic() + self.next_request);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some((metrics, which)) = &self.counted {
            which(metrics).close();
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, into) {
            Poll::Pending if self.slot.poll_cut(context).is_ready() => Poll::Ready(Err(cut())),
            Poll::Pending => self.patience.poll(context),
            ready => {
                self.patience
                    .read(into.filled().len().saturating_sub(before));
                ready
            }
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the broker has ended")
}

impl Connection {
    /// What became of a write.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.patience.poll(context),
            ready => {
                self.patience.wrote();
                ready
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
