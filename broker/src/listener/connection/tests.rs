use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::listener::slots::AllSlots;

/// Instead of the limits of a broker, of which the second would last longer than a test may.
const SHORT: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_secs(3600);

/// The two ends of a connection, the broker's first.
async fn connection(expects: Expects, first: Duration, next: Duration) -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let client = client.await.unwrap();
    let accepted = AllSlots::of_process().clients.accept(&listener).await;
    let mut connection = Connection::http1(accepted);
    connection.patience = Patience::new(expects, first, next);
    (connection, client)
}

/// Reads until the connection is given up.
async fn given_up(connection: &mut Connection) {
    let mut bytes = Vec::new();
    let read = connection.read_to_end(&mut bytes);
    let read = tokio::time::timeout(Duration::from_secs(30), read).await;
    let error = read.expect("it is waited for without a limit").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn half_a_preface_is_not_waited_for() {
    for bytes in [&b""[..], b"PRI *", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let (mut connection, mut client) =
            connection(Expects::Preface(PREFACE), SHORT, NEVER).await;
        client.write_all(bytes).await.unwrap();
        given_up(&mut connection).await;
    }
}

#[tokio::test]
async fn behind_its_preface_a_connection_may_be_silent() {
    let (mut connection, mut client) = connection(Expects::Preface(PREFACE), NEVER, NEVER).await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\n").await.unwrap();
    client.write_all(b"SM\r\n\r\n").await.unwrap();
    assert!(connection.patience.until.is_some());
    connection.read_exact(&mut [0; PREFACE]).await.unwrap();
    assert!(connection.patience.until.is_none());
}

#[tokio::test]
async fn half_a_request_is_not_waited_for() {
    let (mut connection, mut client) = connection(Expects::Requests, SHORT, NEVER).await;
    client.write_all(b"GET /he").await.unwrap();
    given_up(&mut connection).await;
}

#[tokio::test]
async fn an_answer_begins_a_wait_of_its_own_for_the_next_request() {
    let (mut connection, _client) = connection(Expects::Requests, NEVER, SHORT).await;
    connection.write_all(b"HTTP/1.1 200 OK").await.unwrap();
    given_up(&mut connection).await;
}

#[tokio::test]
async fn every_kind_of_connection_begins_with_a_limit() {
    let (listener, slots) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        AllSlots::of_process(),
    );
    let address = listener.local_addr().unwrap();
    let _clients = [
        TcpStream::connect(address).await,
        TcpStream::connect(address).await,
    ];
    let metrics = Arc::new(Metrics::new(Vec::new()));
    let accepted = slots.clients.accept(&listener).await;
    let http2 = Connection::http2(accepted, metrics, |all| &all.clients);
    let http1 = Connection::http1(slots.http.accept(&listener).await);
    for connection in [http2, http1] {
        let until = connection.patience.until.as_ref().unwrap();
        assert!(until.deadline() <= clock::monotonic() + FIRST_BYTES);
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_ends_whatever_it_waits_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await;
    let slots = AllSlots::of_process();
    let accepted = slots.clients.accept(&listener).await;
    let mut connection = Connection::http1(accepted);
    let reading = tokio::spawn(async move { connection.read_u8().await });
    slots.cut();
    let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
    let error = read.expect("it ends").unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
}
