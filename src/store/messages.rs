//! Messages: what was said, in the order of their numbers.

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ConversationId, DeviceId, ExpertId, MessageId, Store, StoreError, TurnId, on_db, schema,
    sessions::Mode, types::SqlTime,
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

/// What a line of the desk's says beside its words: its metadata.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfLine {
    /// Who answers from then on.
    pub mode: Mode,
    /// What the person who says it leaves to whoever goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What is withdrawn with it: an answer, and the widgets that it showed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retracts: Vec<MessageId>,
}

impl Message {
    /// What it says beside its words, where it is a line of the desk's. A visitor's metadata may have members
    /// of any name.
    pub fn line(&self) -> Option<OfLine> {
        let is_line = self.message_type == MessageType::SystemMessage;
        let metadata = self.metadata.as_ref().filter(|_| is_line)?;
        OfLine::deserialize(&metadata.0).ok()
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
