//! The beginning of a turn: what a visitor said is stored, and the turn is the caller's to run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{
    Attempt, ConversationId, Fence, InstanceId, MessageId, MessageSeq, Owner, Store, StoreError,
    TurnId, UserId,
    batches::BatchStep,
    messages::{Message, MessageType, NewMessage},
    on_db, on_db_blocking,
    sessions::{LockRequest, Mode},
    types::JsonColumn,
};
use crate::clock::Timestamp;

/// The longest URL of an image or recording, in bytes.
pub const MAX_URL_BYTES: usize = 2 * 1024;
/// The largest metadata of a message, in bytes of JSON.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;
/// The largest message with all that belongs to it, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Everything that begins a turn. The ids are new, and kept when the step is repeated.
#[derive(Debug, Clone)]
pub struct BeginTurn {
    /// The turn's id.
    pub turn_id: TurnId,
    /// The user's id, if the device is new.
    pub new_user: UserId,
    /// The session lock; its device is the visitor.
    pub lock: LockRequest,
    /// Which server runs the turn.
    pub owner: InstanceId,
    /// For how long it is taken for alive.
    pub lease: Duration,
    /// What the visitor said.
    pub said: UserMessage,
    /// What the visitor said before that and still waits to be answered, oldest first: this turn
    /// answers it as well.
    pub earlier: Vec<UserMessage>,
    /// What is known of the visitor, where that opens the conversation.
    pub context: Option<Value>,
    /// How many messages to read for the prompt, this one included.
    pub history: u32,
    /// Until when the caller waits; later than that nothing is committed.
    pub deadline: std::time::Instant,
    /// Whether it was sent.
    pub sent: Arc<SendState>,
}

/// Whether a step was sent to the database. Until then its caller may give it up; from then on its outcome is
/// unknown until the database answers.
#[derive(Debug, Default)]
pub struct SendState(AtomicU8);

impl SendState {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// The step is sent now, for the first time or once more; false where it was given up.
    pub(super) fn send(&self) -> bool {
        let (from, to) = (Self::WAITING, Self::SENT);
        let changed = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        changed.unwrap_or_else(|now| now) != Self::GIVEN_UP
    }

    /// Gives the step up: it is not sent any more. False where it was sent.
    pub fn give_up(&self) -> bool {
        let (from, to) = (Self::WAITING, Self::GIVEN_UP);
        let changed = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        changed.unwrap_or_else(|now| now) != Self::SENT
    }
}

/// A message of a visitor's, to be stored.
#[derive(Debug, Clone)]
pub struct UserMessage {
    /// Its id.
    pub id: MessageId,
    /// The text.
    pub body: String,
    /// Images, an array of URLs.
    pub media_urls: Value,
    /// Recordings, an array of URLs.
    pub audio_urls: Value,
    /// What the website adds.
    pub metadata: Option<Value>,
    /// The widget that it answers.
    pub answers: Option<WidgetAnswer>,
    /// A digest of everything that makes the request what it is.
    pub request_hash: Vec<u8>,
    /// The key that makes a repeated request the same turn.
    pub key: Option<String>,
}

impl UserMessage {
    /// The key, and what the request was.
    pub(super) fn idempotency(&self) -> Option<Idempotency> {
        self.key.as_ref().map(|key| Idempotency {
            key: key.clone(),
            request_hash: self.request_hash.clone(),
        })
    }
}

/// What a visitor answers to a widget.
#[derive(Debug, Clone, PartialEq)]
pub struct WidgetAnswer {
    /// The widget's message.
    pub widget: MessageId,
    /// The widget's type.
    pub kind: String,
    /// The answer, checked.
    pub answer: Value,
}

/// A client's key for a request, and what the request was. A turn's id is the key of a request that came without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// A digest of the body.
    pub request_hash: Vec<u8>,
}

impl Idempotency {
    /// The turn whose id the key is, if it is one.
    pub(super) fn turn(&self) -> Option<TurnId> {
        let turn: TurnId = self.key.parse().ok()?;
        // Clients' own keys are mostly random UUIDs, which no turn has.
        (turn.0.get_version_num() == 7).then_some(turn)
    }
}

/// What became of a [`BeginTurn`].
#[derive(Debug)]
pub enum Begin {
    /// The message is committed and the turn is the caller's to run.
    Started(Box<Started>),
    /// The same request was here before: this is its turn.
    Repeated(TurnId),
    /// The same request was here before, and was answered together with a later one: this is that
    /// one's turn.
    Merged(TurnId),
    /// The key was used with another body.
    KeyReused,
    /// The conversation is answering another message; which turn that is, unless it has just
    /// ended.
    Busy(Option<BusyTurn>),
    /// The widget that the message answers was answered before.
    Answered,
    /// The widget that the message answers is not in this conversation.
    NoWidget,
    /// There is no such conversation, or it is another's.
    NoConversation,
    /// The device wrote too much; it may go on after this long.
    Limited(Duration),
    /// It was sent, and the database has not answered: it may be committed, now or later.
    Unknown(TurnId),
}

/// The turn that a conversation is busy with.
#[derive(Debug, Clone)]
pub struct BusyTurn {
    /// The turn.
    pub turn_id: TurnId,
    /// Whether its owner is dead.
    pub is_abandoned: bool,
    /// The agent that the session is on, if that is known.
    pub agent: Option<String>,
}

/// A turn that has begun.
#[derive(Debug, Clone)]
pub struct Started {
    /// The turn.
    pub turn_id: TurnId,
    /// Which attempt at it this is, from 1.
    pub attempt: Attempt,
    /// Whose lock the turn was begun with.
    pub device: Owner,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The user.
    pub user_id: UserId,
    /// The user's name, read when a conversation begins.
    pub user_name: Option<String>,
    /// The turn's fence: what it writes counts while this is the conversation's.
    pub fence: Fence,
    /// The agent that holds the session; none yet in a new one.
    pub agent: Option<String>,
    /// The agent that held the session before this message.
    pub agent_before: Option<String>,
    /// Who answers here.
    pub mode: Mode,
    /// What the agents remember of this conversation.
    pub state: Value,
    /// What is known of the visitor and not for the model, once it was made.
    pub context: Option<Value>,
    /// The newest messages, oldest first; the last one began the turn.
    pub history: Vec<Message>,
}

impl UserMessage {
    /// The message as it is once stored.
    pub fn message(
        &self,
        turn_id: TurnId,
        conversation_id: ConversationId,
        seq: MessageSeq,
        created_at: Timestamp,
    ) -> Message {
        self.row(turn_id, conversation_id, seq).stored(created_at)
    }

    /// The message to be stored.
    pub(super) fn row(
        &self,
        turn_id: TurnId,
        conversation_id: ConversationId,
        seq: MessageSeq,
    ) -> NewMessage<'_> {
        let answers = self.answers.as_ref();
        NewMessage {
            turn_id: Some(turn_id),
            media_urls: JsonColumn(self.media_urls.clone()),
            audio_urls: JsonColumn(self.audio_urls.clone()),
            component_type: answers.map(|answers| answers.kind.as_str()),
            component_data: answers.map(|answers| JsonColumn(answers.answer.clone())),
            metadata: self.metadata.clone().map(JsonColumn),
            answers: answers.map(|answers| answers.widget),
            ..NewMessage::new(
                self.id,
                (conversation_id, seq),
                self.message_type(),
                &self.body,
            )
        }
    }

    /// What kind of message it is.
    fn message_type(&self) -> MessageType {
        match self.answers {
            Some(_) => MessageType::WidgetAnswer,
            None => MessageType::UserInput,
        }
    }
}

impl BatchStep for BeginTurn {
    type Done = Begin;

    fn same_row(&self, other: &Self) -> bool {
        self.lock.device == other.lock.device
    }

    fn together(store: &Store, turns: &[Arc<Self>]) -> Result<Vec<Option<Begin>>, StoreError> {
        on_db_blocking!(store, write, |conn, db| db::batches::begin_turns(
            conn,
            turns,
            store.is_read_committed()
        ))
    }

    fn alone(store: Store, turn: Arc<Self>) -> BoxFuture<'static, Result<Begin, StoreError>> {
        Box::pin(async move { on_db!(store, write, |conn, db| db::begin::begin(conn, &turn)) })
    }

    fn deadline(&self) -> std::time::Instant {
        self.deadline
    }

    /// URLs and metadata are charged at their maximum.
    fn bytes(&self) -> usize {
        let said = &self.said;
        let urls = [&said.media_urls, &said.audio_urls].into_iter();
        let urls: usize = urls.filter_map(Value::as_array).map(Vec::len).sum();
        let metadata = usize::from(said.metadata.is_some());
        said.body.len() + urls * MAX_URL_BYTES + metadata * MAX_METADATA_BYTES
    }
}

impl Store {
    /// Begins a turn: its user, session lock, conversation, lease, message and idempotency key,
    /// and the history for its prompt. Goes on when the caller does not stay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_turn(&self, turn: Arc<BeginTurn>) -> Result<Begin, StoreError> {
        self.begins.run(self, turn).await
    }

    /// A turn whose beginning was committed, though its caller did not hear of it, and that nobody else
    /// has taken since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begun(&self, turn: Arc<BeginTurn>) -> Result<Option<Started>, StoreError> {
        on_db!(self, read, |conn, db| db::adopt::begun(conn, &turn)
            .map_err(Into::into))
    }

    /// What became of a request with this key, if there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_turn(
        &self,
        device: &Owner,
        key: Idempotency,
    ) -> Result<Option<Begin>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::begin::known(conn, &device, &key)
            .map_err(Into::into))
    }
}
