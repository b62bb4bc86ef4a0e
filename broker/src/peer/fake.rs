//! Another broker, as a test plays it: it takes lanes, and answers what and when the test says.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use highwater_proto::pb::peer::peer_service_server::{PeerService, PeerServiceServer};
use highwater_proto::pb::peer::{
    self as pb, LaneRequest, LaneResponse, lane_request, lane_response,
};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::control::PREAMBLE;

/// The broker; it ends when it is dropped.
#[derive(Debug)]
pub struct FakePeer {
    /// Where it listens.
    pub address: String,
    lanes: mpsc::UnboundedReceiver<FakeLane>,
    questions: mpsc::UnboundedReceiver<Question>,
    running: JoinHandle<()>,
}

/// What it is asked about its replicas, and where the answer goes.
type Question = (pb::ConferRequest, oneshot::Sender<pb::ConferResponse>);

/// A lane that was opened to it.
#[derive(Debug)]
pub struct FakeLane {
    /// The first message.
    pub hello: LaneRequest,
    requests: Streaming<LaneRequest>,
    answers: mpsc::Sender<Result<LaneResponse, Status>>,
}

impl FakeLane {
    /// The next message as it came.
    pub async fn message(&mut self) -> LaneRequest {
        self.requests.message().await.unwrap().unwrap()
    }

    /// Answers the requests of a message with success, in one message.
    pub async fn answer(&self, message: &LaneRequest) {
        let requests = match &message.message {
            Some(lane_request::Message::Bundle(bundle)) => bundle.requests.clone(),
            _ => vec![message.clone()],
        };
        let mut responses = requests.iter().map(|request| LaneResponse {
            correlation: request.correlation,
            message: Some(success(request)),
        });
        let answer = match requests.len() {
            1 => responses.next().unwrap(),
            _ => LaneResponse {
                correlation: 0,
                message: Some(lane_response::Message::Bundle(pb::LaneResponses {
                    responses: responses.collect(),
                })),
            },
        };
        self.answers.send(Ok(answer)).await.unwrap();
    }
}

impl FakeLane {
    /// Answers everything with success, while it is `running`.
    async fn follow(mut self, mut running: watch::Receiver<bool>) {
        while let Ok(Some(message)) = self.requests.message().await {
            let runs = running.wait_for(|running| *running).await.is_ok();
            if !runs || self.answers.is_closed() {
                return;
            }
            self.answer(&message).await;
        }
    }
}

fn success(request: &LaneRequest) -> lane_response::Message {
    match &request.message {
        Some(lane_request::Message::Vote(vote)) => {
            // Before a vote nothing is promised.
            let promised = vote.vote.filter(|_| !vote.pre_vote);
            let nothing = pb::Vote {
                replica: Some(request.to_replica),
                ..pb::Vote::default()
            };
            lane_response::Message::Vote(pb::VoteResponse {
                vote: Some(promised.unwrap_or(nothing)),
                granted: true,
                last_log_id: None,
            })
        }
        _ => lane_response::Message::Append(pb::AppendEntriesResponse {
            outcome: Some(pb::append_entries_response::Outcome::Success(true)),
            ..pb::AppendEntriesResponse::default()
        }),
    }
}

impl FakePeer {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (taken, lanes) = mpsc::unbounded_channel();
        let (asked, questions) = mpsc::unbounded_channel();
        let (opened, connections) = mpsc::unbounded_channel();
        let accept = async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                skip_preamble(&mut stream).await;
                let _ = opened.send(Ok::<_, std::io::Error>(stream));
            }
        };
        let serve = tonic::transport::Server::builder()
            .add_service(PeerServiceServer::new(Answering { taken, asked }))
            .serve_with_incoming(UnboundedReceiverStream::new(connections));
        let running = tokio::spawn(async move {
            drop(tokio::join!(accept, serve));
        });
        Self {
            address,
            lanes,
            questions,
            running,
        }
    }

    /// The next lane that was opened.
    pub async fn lane(&mut self) -> FakeLane {
        self.lanes.recv().await.unwrap()
    }

    /// Plays a broker with one replica, which votes for whoever asks and takes what it is sent, while
    /// it is `running`. What comes while it is not, it answers when it is again.
    pub async fn follow(mut self, replica: u64, mut running: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                Some(lane) = self.lanes.recv() => {
                    tokio::spawn(lane.follow(running.clone()));
                }
                Some((request, answer)) = self.questions.recv() => {
                    if running.wait_for(|running| *running).await.is_err() {
                        return;
                    }
                    let view = |group| pb::GroupView {
                        group: Some(group),
                        replica,
                        ..pb::GroupView::default()
                    };
                    let views = request.groups.into_iter().map(view).collect();
                    drop(answer.send(pb::ConferResponse { views }));
                }
                else => return,
            }
        }
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn skip_preamble(stream: &mut TcpStream) {
    let mut first = [0];
    stream.peek(&mut first).await.unwrap();
    if first[0] == PREAMBLE[0] {
        stream.read_exact(&mut [0; PREAMBLE.len()]).await.unwrap();
    }
}

struct Answering {
    taken: mpsc::UnboundedSender<FakeLane>,
    asked: mpsc::UnboundedSender<Question>,
}

type Answered<T> = Result<Response<T>, Status>;

fn not_played<T>() -> Answered<T> {
    Err(Status::unimplemented("the test does not play this"))
}

#[tonic::async_trait]
impl PeerService for Answering {
    type LaneStream = BoxStream<'static, Result<LaneResponse, Status>>;

    async fn lane(&self, request: Request<Streaming<LaneRequest>>) -> Answered<Self::LaneStream> {
        let mut requests = request.into_inner();
        let hello = requests.message().await?.unwrap_or_default();
        let (answers, stream) = mpsc::channel(1024);
        let _ = self.taken.send(FakeLane {
            hello,
            requests,
            answers,
        });
        Ok(Response::new(ReceiverStream::new(stream).boxed()))
    }

    async fn join(&self, _: Request<pb::JoinRequest>) -> Answered<pb::JoinResponse> {
        not_played()
    }

    async fn ping(&self, _: Request<pb::PingRequest>) -> Answered<pb::PingResponse> {
        not_played()
    }

    async fn confer(&self, request: Request<pb::ConferRequest>) -> Answered<pb::ConferResponse> {
        let (answer, answered) = oneshot::channel();
        let _ = self.asked.send((request.into_inner(), answer));
        match answered.await {
            Ok(response) => Ok(Response::new(response)),
            Err(_) => not_played(),
        }
    }

    async fn propose_metadata(
        &self,
        _: Request<pb::ProposeMetadataRequest>,
    ) -> Answered<pb::ProposeMetadataResponse> {
        not_played()
    }

    async fn read_metadata(
        &self,
        _: Request<pb::ReadMetadataRequest>,
    ) -> Answered<pb::ReadMetadataResponse> {
        not_played()
    }

    async fn describe_partitions(
        &self,
        _: Request<pb::DescribePartitionsRequest>,
    ) -> Answered<pb::DescribePartitionsResponse> {
        not_played()
    }

    async fn fetch_entries(
        &self,
        _: Request<pb::FetchEntriesRequest>,
    ) -> Answered<pb::FetchEntriesResponse> {
        not_played()
    }

    async fn send_snapshot(
        &self,
        _: Request<Streaming<pb::SendSnapshotRequest>>,
    ) -> Answered<pb::SendSnapshotResponse> {
        not_played()
    }

    async fn compare_chains(
        &self,
        _: Request<pb::CompareChainsRequest>,
    ) -> Answered<pb::CompareChainsResponse> {
        not_played()
    }

    async fn forward(&self, _: Request<pb::ForwardRequest>) -> Answered<pb::ForwardResponse> {
        not_played()
    }
}
