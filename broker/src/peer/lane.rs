//! A lane: one bidirectional stream that carries requests of all groups to one broker. Requests go
//! out in the order of the calls; answers find their caller by correlation number. When the stream
//! breaks, every waiting caller is told so and the next call opens a new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::Either;
use highwater_proto::pb::peer::peer_service_client::PeerServiceClient;
use highwater_proto::pb::peer::{LaneRequest, LaneResponse, lane_response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::Identity;
use super::bundle::bundles;
use super::link::MAX_MESSAGE_BYTES;
use crate::clock;
use crate::tasks::Tasks;

/// How many bytes of entries may be on their way and unanswered on one lane.
const WINDOW_BYTES: usize = 16 << 20;
/// Requests queued before the stream; the window bounds their bytes.
const QUEUE: usize = 256;
/// How long a lane may take to open. One that was begun while the other broker stood still may never be,
/// and all that is to be sent waits for it; a control connection is served by a thread of its own.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
const CONTROL_OPEN_TIMEOUT: Duration = Duration::from_millis(500);
/// After a failure, calls fail at once for this long.
const REST: Duration = Duration::from_millis(50);
/// An answer that takes longer counts as lost: the entry may still arrive, the sender sends again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request on a lane was not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LaneError {
    /// The broker cannot be reached.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    /// The stream broke while the answer was awaited; the request may have arrived.
    #[error("the connection broke before the answer came")]
    Broken,
    /// The broker answered that it cannot serve the group.
    #[error("the broker refused: {0}")]
    Refused(String),
}

/// A lane to one broker.
#[derive(Debug)]
pub struct Lane {
    channel: Channel,
    address: String,
    /// Whether requests that are sent at about the same time travel as one message.
    bundles: bool,
    me: Identity,
    tasks: Tasks,
    window: Arc<Semaphore>,
    // guards: the session, and when the next one may be opened; held while one opens, so that one try serves all.
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    rest_until: Option<Instant>,
    last_error: String,
}

#[derive(Debug)]
struct Session {
    requests: mpsc::Sender<LaneRequest>,
    // guards: who waits for which answer; held for one map operation only.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    callers: HashMap<u64, oneshot::Sender<LaneResponse>>,
    broken: bool,
}

/// A request that is on its way.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<LaneResponse>,
    correlation: u64,
    session: Arc<Session>,
    _window: OwnedSemaphorePermit,
}

impl Pending {
    /// Waits for the answer.
    pub async fn answer(mut self) -> Result<LaneResponse, LaneError> {
        match tokio::time::timeout(ANSWER_TIMEOUT, &mut self.answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) | Err(_) => Err(LaneError::Broken),
        }
    }
}

/// Nobody waits any more: the place in the map is given back.
impl Drop for Pending {
    fn drop(&mut self) {
        self.session.waiting().callers.remove(&self.correlation);
    }
}

impl Lane {
    /// A lane over `channel`, which leads to the broker at `address`.
    pub fn new(channel: Channel, address: String, me: Identity, tasks: Tasks) -> Self {
        let window = Arc::new(Semaphore::new(WINDOW_BYTES));
        Self {
            bundles: false,
            channel,
            address,
            me,
            tasks,
            window,
            state: tokio::sync::Mutex::default(),
        }
    }

    /// The same for small messages: those that are sent at about the same time travel as one.
    #[must_use]
    pub fn with_bundles(self) -> Self {
        Self {
            bundles: true,
            ..self
        }
    }

    /// Puts `request` on its way, in the order of the calls, once `bytes` fit into the window.
    pub async fn send(&self, request: LaneRequest, bytes: usize) -> Result<Pending, LaneError> {
        let permits = u32::try_from(bytes.clamp(1, WINDOW_BYTES)).unwrap_or(u32::MAX);
        let window = Arc::clone(&self.window);
        let permit = window
            .acquire_many_owned(permits)
            .await
            .map_err(|_| LaneError::Broken)?;
        let session = self.session().await?;
        let (tx, rx) = oneshot::channel();
        let correlation = session.register(tx)?;
        let request = LaneRequest {
            correlation,
            ..request
        };
        session
            .requests
            .send(request)
            .await
            .map_err(|_| LaneError::Broken)?;
        Ok(Pending {
            answer: rx,
            correlation,
            session,
            _window: permit,
        })
    }

    /// Sends `request` and waits for the answer.
    pub async fn call(
        &self,
        request: LaneRequest,
        bytes: usize,
    ) -> Result<LaneResponse, LaneError> {
        self.send(request, bytes).await?.answer().await
    }

    async fn session(&self) -> Result<Arc<Session>, LaneError> {
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session
            && !session.is_broken()
        {
            return Ok(Arc::clone(session));
        }
        state.session = None;
        if state
            .rest_until
            .is_some_and(|until| clock::monotonic() < until)
        {
            return Err(LaneError::Unreachable(state.last_error.clone()));
        }
        match self.open().await {
            Ok(session) => {
                state.session = Some(Arc::clone(&session));
                Ok(session)
            }
            Err(error) => {
                state.rest_until = Some(clock::monotonic() + REST);
                state.last_error.clone_from(&error);
                Err(LaneError::Unreachable(error))
            }
        }
    }

    async fn open(&self) -> Result<Arc<Session>, String> {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let hello = LaneRequest {
            hello: Some(self.me.hello()),
            bundle_answers: self.bundles,
            ..LaneRequest::default()
        };
        requests.send(hello).await.map_err(|e| e.to_string())?;
        let mut client = PeerServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let outgoing = match self.bundles {
            true => Either::Left(Box::pin(bundles(outgoing))),
            false => Either::Right(ReceiverStream::new(outgoing)),
        };
        let limit = match self.bundles {
            true => CONTROL_OPEN_TIMEOUT,
            false => OPEN_TIMEOUT,
        };
        let response = tokio::time::timeout(limit, client.lane(outgoing))
            .await
            .map_err(|_| format!("no answer from {} within {limit:?}", self.address))?
            .map_err(|status| format!("{}: {}", self.address, status.message()))?;
        let session = Arc::new(Session {
            requests,
            waiting: Mutex::default(),
        });
        let reader = Arc::clone(&session);
        let mut answers = response.into_inner();
        self.tasks.spawn(async move {
            let _break_at_end = BreakAtEnd(&reader);
            while let Ok(Some(response)) = answers.message().await {
                reader.deliver(response);
            }
        });
        Ok(session)
    }
}

/// Tells every caller when the reader ends, however it ends.
struct BreakAtEnd<'a>(&'a Session);

impl Drop for BreakAtEnd<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.broken = true;
        waiting.callers.clear();
    }
}

impl Session {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, caller: oneshot::Sender<LaneResponse>) -> Result<u64, LaneError> {
        let mut waiting = self.waiting();
        if waiting.broken {
            return Err(LaneError::Broken);
        }
        waiting.next += 1;
        let correlation = waiting.next;
        waiting.callers.insert(correlation, caller);
        Ok(correlation)
    }

    fn deliver(&self, response: LaneResponse) {
        if let Some(lane_response::Message::Bundle(bundle)) = response.message {
            return bundle
                .responses
                .into_iter()
                .for_each(|one| self.deliver_one(one));
        }
        self.deliver_one(response);
    }

    fn deliver_one(&self, response: LaneResponse) {
        let caller = self.waiting().callers.remove(&response.correlation);
        if let Some(caller) = caller {
            drop(caller.send(response));
        }
    }

    fn is_broken(&self) -> bool {
        self.waiting().broken || self.requests.is_closed()
    }
}
