//! The conversations of a user who is signed in: listed, read, renamed, deleted. Whose they are is part of
//! each statement; of another's nothing is found.

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

/// How far a conversation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable)]
pub struct Snapshot {
    /// The number of its last message.
    pub last_seq: MessageSeq,
    /// Who answers.
    pub mode: Mode,
    /// What is being answered.
    pub running_turn: Option<TurnId>,
    /// Whose it is.
    pub user_id: UserId,
    /// The person who has it.
    pub expert_id: Option<ExpertId>,
    /// Whether it waits for one.
    pub is_waiting: bool,
    /// Its place in the queue then, from 1; 0 where it does not wait.
    pub position: i64,
    /// Whether it is the one that a device's session is on.
    pub has_session: bool,
    /// Whether the visitor is writing.
    pub visitor_types: Option<bool>,
    /// Whether the person is.
    pub expert_types: Option<bool>,
}

/// What an agent would be told of a conversation.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// The agent that it is on.
    pub agent_path: Option<String>,
    /// What the agents remember.
    pub state: Value,
    /// What is known of the visitor and not for the model.
    pub context: Option<Value>,
    /// The newest messages, oldest first.
    pub history: Vec<Message>,
}

/// A conversation as its user sees it.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Whose it is.
    pub user_id: UserId,
    /// Its title, if it was given one.
    pub title: Option<String>,
    /// What was said first.
    pub user_input: String,
    /// The agent that answered last.
    pub agent_path: Option<String>,
    /// Who answers.
    pub mode: Mode,
    /// Whether it goes on.
    pub status: Status,
    /// The person who has it.
    pub expert_id: Option<ExpertId>,
    /// The person who was asked first.
    pub assigned_to: Option<ExpertId>,
    /// Since when it waits for one.
    #[diesel(deserialize_as = OptionalTime)]
    pub waiting_since: Option<Timestamp>,
    /// Why one is needed.
    pub reason: Option<String>,
    /// What they have to know.
    pub skill: Option<String>,
    /// How many turns it has had.
    pub step_count: i64,
    /// How many messages it has.
    pub message_count: i64,
    /// When it began.
    #[diesel(deserialize_as = SqlTime)]
    pub created_at: Timestamp,
    /// When it changed last.
    #[diesel(deserialize_as = SqlTime)]
    pub updated_at: Timestamp,
}

/// What to change in a conversation; none leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Another title; an empty one takes it away.
    pub title: Option<String>,
    /// Another status.
    pub status: Option<Status>,
}

/// What became of taking a device's conversations over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveOutcome {
    /// They are the user's.
    Done,
    /// One of them is being answered.
    Busy,
}

impl Store {
    /// A page of a user's conversations, the newest first, and how many there are in all.
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

    /// The conversation that a user's client calls so, or that has this id.
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

    /// The same of a user of this id.
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

    /// Changes a user's conversation, and gives it back.
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

    /// Deletes a user's conversation with all that belongs to it; whether there was one.
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

    /// The newest messages of a user's conversation, or the newest before one of them.
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

    /// How far conversations have come that are still there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stands(
        &self,
        ids: Vec<ConversationId>,
    ) -> Result<Vec<(ConversationId, Snapshot)>, StoreError> {
        on_db!(self, read, |conn, db| db::conversations::stands(conn, &ids)
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

    /// What was said after a message, the oldest first; with what turns say, or without.
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

    /// What was said in a turn, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages_of_turn(&self, turn: TurnId) -> Result<Vec<Message>, StoreError> {
        on_db!(self, read, |conn, db| db::messages::of_turn(conn, turn)
            .map_err(Into::into))
    }

    /// Makes all conversations of a device those of a user. The device begins anew.
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
