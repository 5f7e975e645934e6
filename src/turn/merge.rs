//! Messages whose conversation is busy. They wait here in order of arrival; then the newest stores all of them,
//! and one turn answers them together.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::oneshot::{self, Receiver, Sender},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    Engine, Reply, TurnRequest,
    begin::{unknown, unknown_without_key},
    frame::Frame,
    log::Log,
};
use crate::{
    config::WhenBusy,
    error::{Code, Error, Result},
    store::{
        Attempt, ConversationId, Owner, TurnId,
        begin::{Begin, BusyTurn, Started},
        messages::FinishReason,
        sessions::Within,
    },
};

/// Pause before a waiting message tries again, if its conversation is busy on another instance.
const BEGIN_RETRY_DELAY: Duration = Duration::from_millis(200);
/// How many messages of one owner may wait here at once for one conversation.
const MAX_WAITING: usize = 8;

/// Whose messages wait, and for which conversation.
type QueueKey = (Owner, Within);

/// The waiting messages, oldest first under each key.
#[derive(Debug, Default)]
pub(super) struct Queues {
    waiting: Mutex<HashMap<QueueKey, Vec<WaitingMessage>>>,
    last_id: AtomicU64,
}

#[derive(Debug)]
struct WaitingMessage {
    id: u64,
    request: TurnRequest,
    answer: Sender<Result<Reply>>,
    /// True while its turn is being started: a newer message must not merge it.
    is_begun: bool,
}

impl WaitingMessage {
    fn tell(self, answer: Result<Reply>) {
        drop(self.answer.send(answer));
    }
}

/// A message's place in its queue. Dropping this removes the message.
struct PlaceInQueue {
    engine: Arc<Engine>,
    line: QueueKey,
    id: u64,
    until: Instant,
    /// Receives the reply if a newer message starts this one's turn.
    answer: Receiver<Result<Reply>>,
}

/// What happens to a message that finds its conversation busy.
enum QueueDecision {
    Waits(PlaceInQueue),
    /// The same request, with the same idempotency key, waits already.
    Twin,
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, HashMap<QueueKey, Vec<WaitingMessage>>> {
        self.waiting.lock()
    }

    /// How many messages wait.
    pub(super) fn count(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// True if messages with the request's key wait. A newer one must not overtake them.
    pub(super) fn has(&self, request: &TurnRequest) -> bool {
        self.lock().contains_key(&line(request))
    }
}

impl PlaceInQueue {
    /// Takes the earlier messages out of the queue, to be answered with this one, until
    /// [`PlaceInQueue::put_back`]. `None` unless this is the newest message and none of the others is being
    /// started.
    fn take_earlier(&self) -> Option<Vec<WaitingMessage>> {
        let mut queues = self.engine.queues.lock();
        let queue = queues.get_mut(&self.line)?;
        let (newest, earlier) = queue.split_last_mut()?;
        if newest.id != self.id || earlier.iter().any(|waiting| waiting.is_begun) {
            return None;
        }
        newest.is_begun = true;
        let earlier = earlier.len();
        Some(queue.drain(..earlier).collect())
    }

    /// Puts messages back into the queue that could not be started with this one.
    fn put_back(&self, earlier: Vec<WaitingMessage>) {
        let mut queues = self.engine.queues.lock();
        let queue = queues.entry(self.line.clone()).or_default();
        queue.splice(..0, earlier);
        for waiting in queue.iter_mut().filter(|waiting| waiting.id == self.id) {
            waiting.is_begun = false;
        }
    }

    /// Leaves the queue. False if a newer message has already taken this one out.
    fn leave(&self) -> bool {
        let mut queues = self.engine.queues.lock();
        let Some(queue) = queues.get_mut(&self.line) else {
            return false;
        };
        let before = queue.len();
        queue.retain(|waiting| waiting.id != self.id);
        let left = queue.len() < before;
        if queue.is_empty() {
            queues.remove(&self.line);
        }
        left
    }
}

impl Drop for PlaceInQueue {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Engine {
    /// Lets a message wait until its conversation is free. All that wait are stored together and answered by
    /// one turn; the newest request gets the answer.
    ///
    /// # Errors
    /// If the message waits longer than `turn.wait_seconds`, or too many wait, or the server shuts down. Then
    /// it is not stored.
    pub(super) async fn wait(
        self: &Arc<Self>,
        request: TurnRequest,
        mut busy: Option<BusyTurn>,
    ) -> Result<Reply> {
        let until = Instant::now() + Duration::from_secs(self.settings.turn.wait_seconds);
        let mut place = match self.enter(&request, until)? {
            QueueDecision::Waits(place) => place,
            QueueDecision::Twin => return self.wait_for_twin(request, until).await,
        };
        loop {
            tokio::select! {
                biased;
                answer = &mut place.answer => return answer.unwrap_or_else(|_| Err(lost())),
                () = self.draining.cancelled() => {}
                () = self.wait_for(&request, busy.take(), until) => {}
            }
            if self.draining.is_cancelled() || Instant::now() >= until {
                return self.give_up_waiting(place).await;
            }
            let Some(earlier) = place.take_earlier() else {
                tokio::select! {
                    biased;
                    answer = &mut place.answer => return answer.unwrap_or_else(|_| Err(lost())),
                    () = self.draining.cancelled() => {}
                    () = sleep_until(until.min(Instant::now() + BEGIN_RETRY_DELAY)) => {}
                }
                continue;
            };
            if !may_merge(&request, &earlier) {
                busy = self.begin_oldest(&place, earlier).await;
                continue;
            }
            let tried = Instant::now();
            let requests: Vec<_> = earlier.iter().map(|waiting| &waiting.request).collect();
            match self.try_to_begin(&request, &requests).await {
                Ok(Begin::Busy(with)) => {
                    place.put_back(earlier);
                    busy = with;
                }
                Ok(Begin::Started(started)) => {
                    self.tell_merged(earlier, &started);
                    return Ok(self.launch(*started, tried, request.origin()));
                }
                other if earlier.is_empty() => return self.begun(request, tried, other).await,
                // They may be stored already: do not try them again.
                Err(error) => {
                    for waiting in earlier {
                        let failed = Err(error.clone());
                        let answer = self.begun(waiting.request.clone(), tried, failed).await;
                        waiting.tell(answer);
                    }
                    return self.begun(request, tried, Err(error)).await;
                }
                Ok(Begin::Unknown(turn)) => {
                    tell_unknown(earlier, turn);
                    return Err(unknown(turn));
                }
                // One of them cannot be merged: start them one at a time.
                Ok(_) => busy = self.begin_oldest(&place, earlier).await,
            }
        }
    }

    fn enter(self: &Arc<Self>, request: &TurnRequest, until: Instant) -> Result<QueueDecision> {
        let (sender, answer) = oneshot::channel();
        let mut queues = self.queues.lock();
        let queue = queues.entry(line(request)).or_default();
        if let Some(key) = request.idempotency() {
            let mut twins = queue
                .iter()
                .filter_map(|waiting| waiting.request.idempotency());
            match twins.find(|twin| twin.key == key.key) {
                Some(twin) if twin == key => return Ok(QueueDecision::Twin),
                Some(_) => return Err(Error::new(Code::IdempotencyKeyReused)),
                None => {}
            }
        }
        if queue.len() >= MAX_WAITING {
            return Err(Error::new(Code::TurnInProgress));
        }
        let id = self.queues.last_id.fetch_add(1, Ordering::Relaxed);
        queue.push(WaitingMessage {
            id,
            request: request.clone(),
            answer: sender,
            is_begun: false,
        });
        Ok(QueueDecision::Waits(PlaceInQueue {
            engine: Arc::clone(self),
            line: line(request),
            id,
            until,
            answer,
        }))
    }

    /// Ends a message's wait, unless a newer message is just starting a turn with it.
    async fn give_up_waiting(&self, mut place: PlaceInQueue) -> Result<Reply> {
        while !place.leave() {
            // The newer message puts this one back if it cannot start.
            if let Ok(answer) = timeout(BEGIN_RETRY_DELAY, &mut place.answer).await {
                return answer.unwrap_or_else(|_| Err(lost()));
            }
        }
        Err(match Instant::now() >= place.until {
            true => Error::new(Code::TurnInProgress),
            false => super::begin::shutting_down(),
        })
    }

    /// Waits for the turn of an identical request, which waits already.
    async fn wait_for_twin(
        self: &Arc<Self>,
        request: TurnRequest,
        until: Instant,
    ) -> Result<Reply> {
        while Instant::now() < until && !self.draining.is_cancelled() {
            sleep(BEGIN_RETRY_DELAY).await;
            if let Some(known) = self.known(&request).await? {
                return self.begun(request, Instant::now(), Ok(known)).await;
            }
        }
        Err(Error::new(Code::TurnInProgress))
    }

    /// Starts the oldest message alone; the others go on waiting. Returns the turn that keeps the conversation
    /// busy, if known.
    async fn begin_oldest(
        self: &Arc<Self>,
        place: &PlaceInQueue,
        mut earlier: Vec<WaitingMessage>,
    ) -> Option<BusyTurn> {
        let tried = Instant::now();
        let oldest = earlier.remove(0);
        let busy = match self.try_to_begin(&oldest.request, &[]).await {
            Ok(Begin::Busy(busy)) => {
                earlier.insert(0, oldest);
                busy
            }
            begun => {
                let answer = self.begun(oldest.request.clone(), tried, begun).await;
                oldest.tell(answer);
                None
            }
        };
        place.put_back(earlier);
        busy
    }

    /// Waits until a conversation may be free: for its turn's end, or [`BEGIN_RETRY_DELAY`] if that runs
    /// elsewhere. A turn whose instance died is adopted, so that it ends.
    async fn wait_for(
        self: &Arc<Self>,
        request: &TurnRequest,
        busy: Option<BusyTurn>,
        until: Instant,
    ) {
        let Some(busy) = busy else {
            return;
        };
        if busy.is_abandoned
            && let Err(error) = self.adopt(busy.turn_id).await
        {
            error.log();
        }
        if self.agents.when_busy(busy.agent.as_deref()) == WhenBusy::Interrupt
            && let Err(error) = self.stop(&request.device, busy.turn_id).await
        {
            error.log();
        }
        let here = self
            .running()
            .get(&busy.turn_id)
            .map(|running| running.log.reader(usize::MAX));
        let end = async {
            match here {
                Some(mut reader) => reader.end().await,
                None => sleep(BEGIN_RETRY_DELAY).await,
            }
        };
        drop(timeout_at(until, end).await);
    }

    /// Replies to messages that were merged into a later one's turn.
    fn tell_merged(&self, waiting: Vec<WaitingMessage>, started: &Started) {
        for waiting in waiting {
            let (turn, conversation) = (started.turn_id, started.conversation_id);
            let merged = self.merged(&waiting.request, turn, conversation);
            waiting.tell(Ok(merged));
        }
    }

    /// The reply to a message that was merged into a later one's turn.
    pub(super) fn merged(
        &self,
        request: &TurnRequest,
        turn: TurnId,
        conversation: ConversationId,
    ) -> Reply {
        let log = Log::new(Some((turn, Attempt::FIRST)), request.mirror_text);
        log.close_empty(Frame::last(FinishReason::Merged, None, self.clock.now()));
        Reply {
            turn_id: Some(turn),
            conversation_id: Some(conversation),
            reader: Arc::new(log).reader(0),
            elsewhere: None,
        }
    }
}

fn line(request: &TurnRequest) -> QueueKey {
    (request.device.clone(), request.within.clone())
}

/// Messages are merged into one turn, except answers to widgets: each of those is a turn of its own.
fn may_merge(request: &TurnRequest, earlier: &[WaitingMessage]) -> bool {
    let is_answer = |request: &TurnRequest| request.answers.is_some();
    let mut earlier_requests = earlier.iter().map(|waiting| &waiting.request);
    earlier.is_empty() || !(is_answer(request) || earlier_requests.any(is_answer))
}

/// They may be stored together: none of them is tried again alone.
fn tell_unknown(waiting: Vec<WaitingMessage>, turn: TurnId) {
    for waiting in waiting {
        let failed = match waiting.request.key {
            Some(_) => unknown(turn),
            None => unknown_without_key(),
        };
        waiting.tell(Err(failed));
    }
}

fn lost() -> Error {
    Error::new(Code::Internal).caused_by("a message that waited was forgotten")
}
