//! A signed-in user's conversations: list, read, rename, delete. Every statement for a user filters by owner, so
//! another user's conversation is never found.

use diesel::Queryable;
use serde_json::Value;

use super::{
    ConversationId, ExpertId, LimitKey, MessageId, MessageSeq, Owner, Store, StoreError, TurnId,
    UserId,
    messages::{Message, Paged},
    on_db,
    sessions::Mode,
    types::{OptionalTime, SqlTime},
};
use crate::clock::Timestamp;

pub use super::enums::Status;

/// A conversation's current state, for clients that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable)]
pub struct Snapshot {
    /// The number of the last message.
    pub last_seq: MessageSeq,
    /// Who answers: agents or an expert.
    pub mode: Mode,
    /// The turn that is running.
    pub running_turn: Option<TurnId>,
    /// The user whose conversation it is.
    pub user_id: UserId,
    /// The expert who has claimed it.
    pub expert_id: Option<ExpertId>,
    /// Whether it waits for an expert.
    pub is_waiting: bool,
    /// Its position in the queue, from 1; 0 if it does not wait.
    pub position: i64,
    /// Whether a session lock is on this conversation.
    pub has_session: bool,
    /// Whether the visitor is typing.
    pub visitor_types: Option<bool>,
    /// Whether the expert is typing.
    pub expert_types: Option<bool>,
}

/// What an agent gets to see of a conversation.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// The agent that answered last.
    pub agent_path: Option<String>,
    /// The agents' stored state.
    pub state: Value,
    /// Data about the visitor that tools receive and the model never sees.
    pub context: Option<Value>,
    /// The newest messages, oldest first.
    pub history: Vec<Message>,
}

/// A conversation as its user sees it.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The user whose conversation it is.
    pub user_id: UserId,
    /// Its title, if one was set.
    pub title: Option<String>,
    /// The visitor's first message.
    pub user_input: String,
    /// The agent that answered last.
    pub agent_path: Option<String>,
    /// Who answers: agents or an expert.
    pub mode: Mode,
    /// Whether it is active, completed or archived.
    pub status: Status,
    /// The expert who has claimed it.
    pub expert_id: Option<ExpertId>,
    /// The expert it is assigned to while it waits; any expert may claim it.
    pub assigned_to: Option<ExpertId>,
    /// Since when it waits for an expert.
    #[diesel(deserialize_as = OptionalTime)]
    pub waiting_since: Option<Timestamp>,
    /// Why an expert is needed.
    pub reason: Option<String>,
    /// The skill that the expert needs.
    pub skill: Option<String>,
    /// How many turns it has had.
    pub step_count: i64,
    /// How many messages it has.
    pub message_count: i64,
    /// When it began.
    #[diesel(deserialize_as = SqlTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[diesel(deserialize_as = SqlTime)]
    pub updated_at: Timestamp,
}

/// Changes to a conversation; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// A new title; an empty one removes the title.
    pub title: Option<String>,
    /// A new status.
    pub status: Option<Status>,
}

/// The outcome of moving a device's conversations to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveOutcome {
    /// The conversations are the user's.
    Done,
    /// A turn runs in one of them, so nothing was moved.
    Busy,
}

impl Store {
    /// A page of a user's conversations, newest first, and the total number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn conversations_of(
        &self,
        user: &Owner,
        status: Option<Status>,
        page: u32,
        per_page: u32,
    ) -> Result<(Vec<Conversation>, i64), StoreError> {
        let handle = user.handle();
        let skipped = i64::from(page.saturating_sub(1)) * i64::from(per_page);
        on_db!(self, read, |conn, db| {
            let all = db::conversations::count(conn, &handle, status)?;
            let some = (i64::from(per_page), skipped);
            Ok((db::conversations::list(conn, &handle, status, some)?, all))
        })
    }

    /// A user's conversation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn conversation(
        &self,
        user: &Owner,
        id: ConversationId,
    ) -> Result<Option<Conversation>, StoreError> {
        let handle = user.handle();
        on_db!(self, read, |conn, db| db::conversations::get(
            conn, &handle, id
        )
        .map_err(Into::into))
    }

    /// The user's conversation with this client-chosen name, or else with this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn conversation_of_session(
        &self,
        user: &Owner,
        name: &str,
    ) -> Result<Option<ConversationId>, StoreError> {
        let (user, name) = (user.clone(), name.to_owned());
        on_db!(self, read, |conn, db| {
            let found = db::conversations::of_session(conn, &user, &name)?;
            Ok(found.map(|(id, _)| id))
        })
    }

    /// Like [`Store::conversation_of_session`], with the user's id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_of_user(
        &self,
        user: UserId,
        name: &str,
    ) -> Result<Option<ConversationId>, StoreError> {
        let name = name.to_owned();
        on_db!(self, read, |conn, db| db::conversations::session_of_user(
            conn, user, &name
        )
        .map_err(Into::into))
    }

    /// Changes a user's conversation and returns it.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn change_conversation(
        &self,
        user: &Owner,
        id: ConversationId,
        changes: Changes,
    ) -> Result<Option<Conversation>, StoreError> {
        let handle = user.handle();
        on_db!(self, write, |conn, db| db::conversations::change(
            conn, &handle, id, &changes
        )
        .map_err(Into::into))
    }

    /// Deletes a user's conversation with all that belongs to it. False if there was none.
    ///
    /// # Errors
    /// When the database fails; then nothing is deleted.
    pub async fn delete_conversation(
        &self,
        user: &Owner,
        key: LimitKey,
        id: ConversationId,
    ) -> Result<bool, StoreError> {
        let user = user.clone();
        on_db!(self, write, |conn, db| db::conversations::delete(
            conn, &user, &key, id
        ))
    }

    /// The newest messages of a user's conversation, or the newest ones before the message `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages_of(
        &self,
        user: &Owner,
        id: ConversationId,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Paged, StoreError> {
        let user = user.clone();
        on_db!(self, read, |conn, db| {
            if db::conversations::by_id(conn, &user, id)?.is_none() {
                return Ok(Paged::NoConversation);
            }
            db::messages::page(conn, id, before, limit.into()).map(Into::into)
        })
    }

    /// The states of these conversations; deleted ones are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn snapshots(
        &self,
        ids: Vec<ConversationId>,
    ) -> Result<Vec<(ConversationId, Snapshot)>, StoreError> {
        on_db!(self, read, |conn, db| db::conversations::snapshots(
            conn, &ids
        )
        .map_err(Into::into))
    }

    /// The number of a turn's first message.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begins_at(&self, turn: TurnId) -> Result<Option<MessageSeq>, StoreError> {
        on_db!(self, read, |conn, db| db::messages::begins_at(conn, turn)
            .map_err(Into::into))
    }

    /// The next messages after a message, oldest first, with or without the messages of turns. At most a page.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages_after(
        &self,
        id: ConversationId,
        seq: MessageSeq,
        with_turns: bool,
    ) -> Result<Vec<Message>, StoreError> {
        on_db!(self, read, |conn, db| db::messages::after(
            conn, id, seq, with_turns
        )
        .map_err(Into::into))
    }

    /// The messages of a turn, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages_of_turn(&self, turn: TurnId) -> Result<Vec<Message>, StoreError> {
        on_db!(self, read, |conn, db| db::messages::of_turn(conn, turn)
            .map_err(Into::into))
    }

    /// Moves all conversations of a device to a user. The device's session and user row are deleted.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn keep_conversations(
        &self,
        device: &Owner,
        key: LimitKey,
        user: &Owner,
    ) -> Result<MoveOutcome, StoreError> {
        let (device, user, new) = (device.clone(), user.clone(), UserId::new());
        on_db!(self, write, |conn, db| db::conversations::keep(
            conn, &device, &key, &user, new
        ))
    }
}
