//! Messages: what was said, in the order of their numbers.

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};
use serde_json::Value;

use super::{
    ConversationId, DeviceId, ExpertId, MessageId, Store, StoreError, TurnId, on_db, schema,
    types::SqlTime,
};
use crate::clock::Timestamp;

pub use super::{
    types::Json,
    words::{Direction, FinishReason, MessageType, Role},
};

/// A stored message.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::messages, check_for_backend(Pg, Sqlite))]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Where it was said.
    pub conversation_id: ConversationId,
    /// The turn that it began or ended.
    pub turn_id: Option<TurnId>,
    /// Its number in the conversation, from 1. Order is this, never the time.
    pub seq: i64,
    /// Who said it.
    pub role: Role,
    /// Which way it went.
    pub direction: Direction,
    /// What kind of message it is.
    pub message_type: MessageType,
    /// The text.
    pub body: String,
    /// Images that came with it, an array of URLs.
    #[diesel(deserialize_as = Json)]
    pub media_urls: Value,
    /// Recordings that came with it, an array of URLs.
    #[diesel(deserialize_as = Json)]
    pub audio_urls: Value,
    /// The kind of widget that it shows.
    pub component_type: Option<String>,
    /// What the widget shows.
    pub component_data: Option<Json>,
    /// The tool that was called.
    pub tool_name: Option<String>,
    /// Whether the call succeeded.
    pub tool_success: Option<bool>,
    /// Why the answer ended, for an answer.
    pub finish_reason: Option<FinishReason>,
    /// What the website added.
    pub metadata: Option<Json>,
    /// The widget that it answers.
    pub answers: Option<MessageId>,
    /// The person at the desk who wrote it.
    pub expert_id: Option<ExpertId>,
    /// When it was stored.
    #[diesel(deserialize_as = SqlTime)]
    pub created_at: Timestamp,
    /// What it said before it was withdrawn; since then it says nothing.
    pub retracted: Option<String>,
}

/// The member of a line's metadata that names what is withdrawn with it.
pub const RETRACTS: &str = "retracts";

impl Message {
    /// Who answers from this line of the desk's on.
    pub fn mode(&self) -> Option<&str> {
        self.of_line("mode")?.as_str()
    }

    /// What the person who says this line leaves to whoever goes on.
    pub fn note(&self) -> Option<&str> {
        self.of_line("note")?.as_str()
    }

    /// A member of what a line of the desk's says beside its words. A visitor's metadata may have members of
    /// any name.
    fn of_line(&self, name: &str) -> Option<&Value> {
        let is_line = self.message_type == MessageType::SystemMessage;
        let metadata = self.metadata.as_ref().filter(|_| is_line)?;
        metadata.0.get(name)
    }

    /// What is withdrawn with this line: an answer, and the widgets that it showed.
    pub fn retracts(&self) -> Vec<MessageId> {
        let ids = self.of_line(RETRACTS).and_then(Value::as_array);
        let ids = ids.into_iter().flatten();
        ids.filter_map(|id| id.as_str()?.parse().ok()).collect()
    }

    /// The URLs of `media_urls`.
    pub fn media(&self) -> impl Iterator<Item = &str> {
        urls(&self.media_urls)
    }

    /// The URLs of `audio_urls`.
    pub fn audio(&self) -> impl Iterator<Item = &str> {
        urls(&self.audio_urls)
    }
}

fn urls(array: &Value) -> impl Iterator<Item = &str> {
    array
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// A page of a conversation.
#[derive(Debug, Default)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Whether there are older ones.
    pub has_more: bool,
}

impl Store {
    /// A widget that a device was shown in its conversation, and whether it was answered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn widget(
        &self,
        device: &DeviceId,
        id: MessageId,
    ) -> Result<Option<(Message, bool)>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::messages::widget(
            conn, &device, id
        )
        .map_err(Into::into))
    }

    /// The newest messages of a conversation, or the newest before one of them. `None` where
    /// `before` is no message of this conversation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages(
        &self,
        conversation: ConversationId,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Option<Page>, StoreError> {
        on_db!(self, read, |conn, db| db::messages::page(
            conn,
            conversation,
            before,
            limit.into()
        ))
    }
}
