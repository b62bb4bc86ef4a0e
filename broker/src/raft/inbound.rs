//! What peers send: requests of a lane, handed to the replica they are meant for. Appends of one
//! stream are taken in order and pipelined; everything else stands alone.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use highwater_proto::ReplicaId;
use highwater_proto::pb::peer::{
    AppendEntriesRequest, LaneRequest, LaneResponse, TransferLeaderRequest, VoteRequest,
    lane_request, lane_response,
};
use tokio::sync::mpsc;

use super::{GroupId, Replica, Replicas, room, wire};
use crate::log::{Held, NoRoom};
use crate::tasks::Tasks;

/// Requests of one stream that wait for the replica.
const STREAM_QUEUE: usize = 64;

/// Where the answers of a lane go, in the form that the listener streams.
pub type LaneAnswers = mpsc::Sender<LaneResponse>;

type Request = openraft::raft::AppendEntriesRequest<super::types::Types>;

/// The receiving end of one lane.
#[derive(Debug)]
pub struct Inbound {
    replicas: Arc<Replicas>,
    answers: LaneAnswers,
    tasks: Tasks,
    /// The stream of each group that has a replica here: a lane comes from one broker, which has one
    /// replica of a group at a time.
    streams: HashMap<GroupId, AppendStream>,
}

#[derive(Debug)]
struct AppendStream {
    from: u64,
    number: u64,
    requests: mpsc::Sender<(u64, Request)>,
}

impl Inbound {
    /// A lane whose answers go to `answers`; `tasks` end with it.
    pub fn new(replicas: Arc<Replicas>, answers: LaneAnswers, tasks: Tasks) -> Self {
        Self {
            replicas,
            answers,
            tasks,
            streams: HashMap::new(),
        }
    }

    /// Takes one request, or several that came as one. It waits only when a stream's queue is full.
    pub async fn take(&mut self, request: LaneRequest) {
        match request.message {
            Some(lane_request::Message::Bundle(bundle)) => {
                for request in bundle.requests {
                    self.take_one(request).await;
                }
            }
            _ => self.take_one(request).await,
        }
    }

    async fn take_one(&mut self, request: LaneRequest) {
        let correlation = request.correlation;
        match self.find(&request) {
            Ok(replica) => self.dispatch(replica, request).await,
            Err(why) => self.answer(unavailable(correlation, why)).await,
        }
    }

    fn find(&self, request: &LaneRequest) -> Result<Replica, String> {
        let group = request.group.as_ref().and_then(GroupId::from_pb);
        let group = group.ok_or("the request names no group")?;
        let replica = self.replicas.get(group);
        let replica = replica.ok_or_else(|| format!("no replica of {group} is here"))?;
        if replica.id() != ReplicaId(request.to_replica) {
            let (here, to) = (replica.id(), request.to_replica);
            return Err(format!("replica {here} of {group} is here, not {to}"));
        }
        Ok(replica)
    }

    async fn dispatch(&mut self, replica: Replica, request: LaneRequest) {
        let LaneRequest {
            correlation,
            from_replica,
            stream,
            message,
            ..
        } = request;
        let answers = self.answers.clone();
        match message {
            Some(lane_request::Message::Append(append)) if stream == 0 => {
                self.tasks.spawn(async move {
                    drop(
                        answers
                            .send(append_alone(&replica, correlation, append).await)
                            .await,
                    );
                });
            }
            Some(lane_request::Message::Append(append)) => match wire::decode_append(append) {
                Ok(append) => {
                    self.push(replica, from_replica, stream, correlation, append)
                        .await;
                }
                Err(error) => {
                    self.answer(unavailable(correlation, error.to_string()))
                        .await
                }
            },
            Some(lane_request::Message::Vote(vote)) => self.tasks.spawn(async move {
                drop(
                    answers
                        .send(answer_vote(&replica, correlation, &vote).await)
                        .await,
                );
            }),
            Some(lane_request::Message::Transfer(transfer)) => self.tasks.spawn(async move {
                drop(
                    answers
                        .send(answer_transfer(&replica, correlation, transfer).await)
                        .await,
                );
            }),
            Some(lane_request::Message::Bundle(_)) => {
                self.answer(unavailable(correlation, "bundles are not nested".into()))
                    .await
            }
            None => {
                self.answer(unavailable(correlation, "the request is empty".into()))
                    .await
            }
        }
    }

    async fn push(
        &mut self,
        replica: Replica,
        from: u64,
        number: u64,
        correlation: u64,
        append: Request,
    ) {
        let key = replica.group();
        let known = self
            .streams
            .get(&key)
            .is_some_and(|stream| (stream.from, stream.number) == (from, number));
        if !known {
            let (requests, queue) = mpsc::channel(STREAM_QUEUE);
            self.tasks
                .spawn(run_stream(replica, queue, self.answers.clone()));
            let stream = AppendStream {
                from,
                number,
                requests,
            };
            self.streams.insert(key, stream);
        }
        let Some(stream) = self.streams.get(&key) else {
            return;
        };
        if stream.requests.send((correlation, append)).await.is_err() {
            self.answer(unavailable(correlation, "the stream has ended".to_owned()))
                .await;
        }
    }

    async fn answer(&self, response: LaneResponse) {
        drop(self.answers.send(response).await);
    }
}

/// Feeds one stream to the replica until an append fails, there is no room for one, or a newer
/// stream takes its place. A replica without room is to the leader one that cannot be reached.
async fn run_stream(replica: Replica, queue: mpsc::Receiver<(u64, Request)>, answers: LaneAnswers) {
    let (admitted, mut awaited) = mpsc::unbounded_channel();
    let requests = Box::pin(admit_all(replica.clone(), queue, admitted));
    let results = replica.raft().stream_append(requests);
    let mut results = std::pin::pin!(results);
    while let Some(result) = results.next().await {
        let Some((correlation, held)) = awaited.recv().await else {
            return;
        };
        let held = held.map(drop);
        let response = match (&result, held) {
            (_, Err(no_room)) => without_room(correlation, &no_room),
            (Ok(result), Ok(())) => appended(correlation, result, replica.room().left()),
            (Err(fatal), Ok(())) => unavailable(correlation, fatal.to_string()),
        };
        if answers.send(response).await.is_err() {
            return;
        }
    }
    while let Ok((correlation, held)) = awaited.try_recv() {
        let response = match held {
            Ok(_) => unavailable(correlation, "the stream has ended".to_owned()),
            Err(no_room) => without_room(correlation, &no_room),
        };
        drop(answers.send(response).await);
    }
}

type Admitted = mpsc::UnboundedSender<(u64, Result<Held, NoRoom>)>;

/// The requests for which there is room, in order. The first for which there is none ends them; of
/// one for which there is room in part, that part is taken.
fn admit_all(
    replica: Replica,
    queue: mpsc::Receiver<(u64, Request)>,
    admitted: Admitted,
) -> impl Stream<Item = Request> + Send {
    let begin = Some((replica, queue, admitted));
    stream::unfold(begin, |state| async move {
        let (replica, mut queue, admitted) = state?;
        let (correlation, mut request) = queue.recv().await?;
        let all = request.entries.len();
        let held = room::admit(replica.room(), replica.reader(), &mut request.entries).await;
        let full = held.is_err();
        admitted.send((correlation, held)).ok()?;
        let whole = request.entries.len() == all;
        let more = whole.then_some((replica, queue, admitted));
        (!full).then_some((request, more))
    })
}

async fn append_alone(
    replica: &Replica,
    correlation: u64,
    append: AppendEntriesRequest,
) -> LaneResponse {
    let mut request = match wire::decode_append(append) {
        Ok(request) => request,
        Err(error) => return unavailable(correlation, error.to_string()),
    };
    let held = room::admit(replica.room(), replica.reader(), &mut request.entries).await;
    let held = match held {
        Ok(held) => held,
        Err(no_room) => return without_room(correlation, &no_room),
    };
    let (prev, last) = (
        request.prev_log_id,
        request.entries.last().map(|entry| entry.log_id),
    );
    let answered = replica.raft().append_entries(request).await;
    drop(held);
    match answered {
        Ok(response) => {
            let result = response.into_stream_result(prev, last.or(prev));
            appended(correlation, &result, replica.room().left())
        }
        Err(error) => unavailable(correlation, error.to_string()),
    }
}

async fn answer_vote(replica: &Replica, correlation: u64, vote: &VoteRequest) -> LaneResponse {
    let request = match wire::decode_vote_request(vote) {
        Ok(request) => request,
        Err(error) => return unavailable(correlation, error.to_string()),
    };
    let raft = replica.raft();
    let answered = if vote.pre_vote {
        raft.pre_vote(request).await
    } else {
        raft.vote(request).await
    };
    match answered {
        Ok(response) => {
            let vote = wire::encode_vote_response(&response);
            LaneResponse {
                correlation,
                message: Some(lane_response::Message::Vote(vote)),
            }
        }
        Err(error) => unavailable(correlation, error.to_string()),
    }
}

async fn answer_transfer(
    replica: &Replica,
    correlation: u64,
    transfer: TransferLeaderRequest,
) -> LaneResponse {
    let request = match wire::decode_transfer(transfer) {
        Ok(request) => request,
        Err(error) => return unavailable(correlation, error.to_string()),
    };
    match replica.raft().handle_transfer_leader(request).await {
        Ok(response) => {
            let transfer = wire::encode_transfer_response(&response);
            LaneResponse {
                correlation,
                message: Some(lane_response::Message::Transfer(transfer)),
            }
        }
        Err(fatal) => unavailable(correlation, fatal.to_string()),
    }
}

fn appended(correlation: u64, result: &wire::AppendResult, left: u64) -> LaneResponse {
    let append = wire::encode_append_result(result, left);
    LaneResponse {
        correlation,
        message: Some(lane_response::Message::Append(append)),
    }
}

fn unavailable(correlation: u64, why: String) -> LaneResponse {
    LaneResponse {
        correlation,
        message: Some(lane_response::Message::Unavailable(why)),
    }
}

fn without_room(correlation: u64, no_room: &NoRoom) -> LaneResponse {
    LaneResponse {
        correlation,
        message: Some(lane_response::Message::NoRoom(no_room.to_string())),
    }
}
