//! The beginning of a turn: the visitor's message is stored, and the caller gets the turn to run.

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

/// Maximum length of an image's or recording's URL, in bytes.
pub const MAX_URL_BYTES: usize = 2 * 1024;
/// Maximum size of a message's metadata, in bytes of JSON.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;
/// Maximum size of a message with its URLs and metadata, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Everything needed to begin a turn. Repeating the step reuses the ids, so it stays the same turn.
#[derive(Debug, Clone)]
pub struct BeginTurn {
    /// The turn's id.
    pub turn_id: TurnId,
    /// The user's id, if the owner has no user row yet.
    pub new_user: UserId,
    /// The session lock; its `device` is the session's owner.
    pub lock: LockRequest,
    /// The instance that runs the turn.
    pub instance: InstanceId,
    /// How long the lease lasts until its first renewal.
    pub lease: Duration,
    /// The visitor's message.
    pub said: UserMessage,
    /// Earlier messages of the visitor that wait for an answer, oldest first: this turn answers them
    /// as well.
    pub earlier: Vec<UserMessage>,
    /// Data about the visitor that tools receive and the model never sees, for a new conversation.
    pub context: Option<Value>,
    /// How many messages to read for the prompt, including this one.
    pub history: u32,
    /// When the caller stops waiting. Nothing may be committed after that.
    pub deadline: std::time::Instant,
    /// Whether the step was sent to the database.
    pub sent: Arc<SendState>,
}

/// Whether a step was sent to the database. Before that, its caller may give the step up. After that, the outcome
/// is unknown until the database answers.
#[derive(Debug, Default)]
pub struct SendState(AtomicU8);

impl SendState {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// Marks the step as sent. May be called again for a repeat; false if the step was given up.
    pub(super) fn send(&self) -> bool {
        let (from, to) = (Self::WAITING, Self::SENT);
        let changed = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        changed.unwrap_or_else(|now| now) != Self::GIVEN_UP
    }

    /// Gives the step up, so that it is never sent. False if it was already sent.
    pub fn give_up(&self) -> bool {
        let (from, to) = (Self::WAITING, Self::GIVEN_UP);
        let changed = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        changed.unwrap_or_else(|now| now) != Self::SENT
    }
}

/// A visitor's message to store.
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
    /// Metadata that the website adds.
    pub metadata: Option<Value>,
    /// The answer to a widget, if the message is one.
    pub answers: Option<WidgetAnswer>,
    /// A digest of the request's content, to tell a repeat from another request with the same key.
    pub request_hash: Vec<u8>,
    /// The client's idempotency key: a repeated request with this key is the same turn.
    pub key: Option<String>,
}

impl UserMessage {
    /// The idempotency key and the request's digest.
    pub(super) fn idempotency(&self) -> Option<Idempotency> {
        self.key.as_ref().map(|key| Idempotency {
            key: key.clone(),
            request_hash: self.request_hash.clone(),
        })
    }
}

/// A visitor's answer to a widget.
#[derive(Debug, Clone, PartialEq)]
pub struct WidgetAnswer {
    /// The id of the widget's message.
    pub widget: MessageId,
    /// The widget's type.
    pub kind: String,
    /// The answer, already validated.
    pub answer: Value,
}

/// An idempotency key with the digest of its request. The key of a request without one is its turn's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// A digest of the request's content.
    pub request_hash: Vec<u8>,
}

impl Idempotency {
    /// The turn that this key names, if the key is a turn's id.
    pub(super) fn turn(&self) -> Option<TurnId> {
        let turn: TurnId = self.key.parse().ok()?;
        // Clients mostly use random UUIDs (version 4) as keys; turn ids are version 7.
        (turn.0.get_version_num() == 7).then_some(turn)
    }
}

/// The outcome of a [`BeginTurn`].
#[derive(Debug)]
pub enum Begin {
    /// The message is committed; the caller runs the turn.
    Started(Box<Started>),
    /// A repeat of an earlier request: that request's turn.
    Repeated(TurnId),
    /// A repeat of an earlier request that was answered together with a later one: the later
    /// one's turn.
    Merged(TurnId),
    /// The key was used for another request.
    KeyReused,
    /// Another turn runs in the conversation; none if that turn has just ended.
    Busy(Option<BusyTurn>),
    /// The widget was already answered.
    Answered,
    /// The widget is not in this conversation, or was withdrawn.
    NoWidget,
    /// The conversation does not exist, or is another user's.
    NoConversation,
    /// The owner wrote too many messages; the next one is allowed after this time.
    Limited(Duration),
    /// The step was sent and the database has not answered: it may be committed, now or later.
    Unknown(TurnId),
}

/// The turn that keeps a conversation busy.
#[derive(Debug, Clone)]
pub struct BusyTurn {
    /// The turn.
    pub turn_id: TurnId,
    /// Whether its lease has expired.
    pub is_abandoned: bool,
    /// The agent that last answered in the conversation.
    pub agent: Option<String>,
}

/// A turn that has begun or was adopted, with all that its run needs.
#[derive(Debug, Clone)]
pub struct Started {
    /// The turn.
    pub turn_id: TurnId,
    /// The attempt, from 1.
    pub attempt: Attempt,
    /// The owner of the session in which the turn began.
    pub device: Owner,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The user.
    pub user_id: UserId,
    /// The user's name; only read when a conversation begins.
    pub user_name: Option<String>,
    /// The turn's fence: its writes take effect only while the conversation's fence is equal.
    pub fence: Fence,
    /// The agent that the session is on; none in a new session.
    pub agent: Option<String>,
    /// The agent that answered last, before this turn.
    pub agent_before: Option<String>,
    /// Who answers in this conversation: agents or an expert.
    pub mode: Mode,
    /// The agents' stored state for this conversation.
    pub state: Value,
    /// Data about the visitor that tools receive and the model never sees; none until it was set.
    pub context: Option<Value>,
    /// The newest messages, oldest first, up to the turn's own: all of them after an adoption.
    pub history: Vec<Message>,
}

impl UserMessage {
    /// The stored form of the message.
    pub fn message(
        &self,
        turn_id: TurnId,
        conversation_id: ConversationId,
        seq: MessageSeq,
        created_at: Timestamp,
    ) -> Message {
        self.row(turn_id, conversation_id, seq).stored(created_at)
    }

    /// The row to insert.
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

    /// The message's type.
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
    /// Begins a turn: writes its user, session lock, conversation, lease, message and idempotency key,
    /// and reads the history for its prompt. Continues if the caller stops waiting.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_turn(&self, turn: Arc<BeginTurn>) -> Result<Begin, StoreError> {
        self.begins.run(self, turn).await
    }

    /// The turn, if its beginning was committed and no other instance or expert has taken it over since.
    /// For callers that got no answer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begun(&self, turn: Arc<BeginTurn>) -> Result<Option<Started>, StoreError> {
        on_db!(self, read, |conn, db| db::adopt::begun(conn, &turn)
            .map_err(Into::into))
    }

    /// The outcome of an earlier request with this key, if there was one and its key has not expired.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_turn(
        &self,
        device: &Owner,
        key: Idempotency,
    ) -> Result<Option<Begin>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::idempotency::known(
            conn, &device, &key
        )
        .map_err(Into::into))
    }
}
