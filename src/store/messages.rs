//! Stored messages. They are ordered by their number in the conversation, never by time.

use diesel::{Queryable, Selectable, pg::Pg, prelude::Insertable, sqlite::Sqlite};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    ConversationId, ExpertId, MessageId, MessageSeq, Owner, Store, StoreError, TurnId, on_db,
    schema, sessions::Mode, types::SqlTime,
};
use crate::clock::Timestamp;

pub use super::{
    enums::{Direction, FinishReason, MessageType, Role},
    types::JsonColumn,
};

/// A stored message.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::messages, check_for_backend(Pg, Sqlite))]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its turn; `None` for an expert's message and for a system message.
    pub turn_id: Option<TurnId>,
    /// Its number in the conversation, from 1. Messages are ordered by it, never by time.
    pub seq: MessageSeq,
    /// Who wrote it.
    pub role: Role,
    /// Its direction, seen from the server.
    pub direction: Direction,
    /// Its type.
    pub message_type: MessageType,
    /// The text.
    pub body: String,
    /// Attached images, an array of URLs.
    #[diesel(deserialize_as = JsonColumn)]
    pub media_urls: Value,
    /// Attached recordings, an array of URLs.
    #[diesel(deserialize_as = JsonColumn)]
    pub audio_urls: Value,
    /// The type of the widget that it shows or answers.
    pub component_type: Option<String>,
    /// The widget's data, or the visitor's answer to it.
    pub component_data: Option<JsonColumn>,
    /// The tool that was called.
    pub tool_name: Option<String>,
    /// Whether the call succeeded.
    pub tool_success: Option<bool>,
    /// Why the turn ended, for an answer and the widgets stored with it.
    pub finish_reason: Option<FinishReason>,
    /// The website's for a visitor's message, otherwise the server's or the agent's.
    pub metadata: Option<JsonColumn>,
    /// The widget that it answers.
    pub answers: Option<MessageId>,
    /// The expert who wrote it.
    pub expert_id: Option<ExpertId>,
    /// When it was stored.
    #[diesel(deserialize_as = SqlTime)]
    pub created_at: Timestamp,
    /// Its text before it was retracted; `body` is empty since then.
    pub retracted: Option<String>,
}

/// A message that the server itself writes into a conversation.
#[derive(Debug, Clone)]
pub struct SystemMessage {
    /// Its id.
    pub id: MessageId,
    /// Its text.
    pub text: String,
    /// The expert's note to the agent that goes on; the visitor does not see it.
    pub note: Option<String>,
    /// The messages retracted with it.
    pub retracts: Vec<MessageId>,
}

/// A message to be stored.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = schema::messages, treat_none_as_default_value = false)]
pub(super) struct NewMessage<'a> {
    pub id: MessageId,
    pub conversation_id: ConversationId,
    pub turn_id: Option<TurnId>,
    pub seq: MessageSeq,
    pub role: Role,
    pub direction: Direction,
    pub message_type: MessageType,
    pub body: &'a str,
    pub media_urls: JsonColumn,
    pub audio_urls: JsonColumn,
    pub component_type: Option<&'a str>,
    pub component_data: Option<JsonColumn>,
    pub tool_name: Option<&'a str>,
    pub tool_success: Option<bool>,
    pub finish_reason: Option<FinishReason>,
    pub metadata: Option<JsonColumn>,
    pub answers: Option<MessageId>,
    pub expert_id: Option<ExpertId>,
}

impl<'a> NewMessage<'a> {
    /// A message with text only, outside any turn. Its type determines who wrote it.
    pub fn new(
        id: MessageId,
        (conversation_id, seq): (ConversationId, MessageSeq),
        message_type: MessageType,
        body: &'a str,
    ) -> Self {
        let role = message_type.role();
        Self {
            id,
            conversation_id,
            turn_id: None,
            seq,
            role,
            direction: match role {
                Role::User => Direction::Incoming,
                Role::Assistant | Role::Expert | Role::System | Role::Tool => Direction::Outgoing,
            },
            message_type,
            body,
            media_urls: JsonColumn(json!([])),
            audio_urls: JsonColumn(json!([])),
            component_type: None,
            component_data: None,
            tool_name: None,
            tool_success: None,
            finish_reason: None,
            metadata: None,
            answers: None,
            expert_id: None,
        }
    }

    /// The message as it reads back once stored.
    pub fn stored(self, created_at: Timestamp) -> Message {
        Message {
            id: self.id,
            conversation_id: self.conversation_id,
            turn_id: self.turn_id,
            seq: self.seq,
            role: self.role,
            direction: self.direction,
            message_type: self.message_type,
            body: self.body.to_owned(),
            media_urls: self.media_urls.0,
            audio_urls: self.audio_urls.0,
            component_type: self.component_type.map(str::to_owned),
            component_data: self.component_data,
            tool_name: self.tool_name.map(str::to_owned),
            tool_success: self.tool_success,
            finish_reason: self.finish_reason,
            metadata: self.metadata,
            answers: self.answers,
            expert_id: self.expert_id,
            created_at,
            retracted: None,
        }
    }
}

impl MessageType {
    /// Who writes messages of this type.
    fn role(self) -> Role {
        match self {
            Self::UserInput | Self::WidgetAnswer => Role::User,
            Self::AssistantResponse | Self::Widget => Role::Assistant,
            Self::ToolCall | Self::ToolResult => Role::Tool,
            Self::ExpertMessage => Role::Expert,
            Self::SystemMessage => Role::System,
        }
    }
}

/// The metadata of a system message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfLine {
    /// Who answers from this message on.
    pub mode: Mode,
    /// The expert's note to the agent that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The messages retracted with it: an answer, and the widgets shown with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retracts: Vec<MessageId>,
}

impl Message {
    /// The metadata of a system message. `None` for other types: a visitor's metadata may have members of the
    /// same names.
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
pub struct MessagePage {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Whether there are older messages.
    pub has_more: bool,
}

/// The result of reading a page with a check of the reader's access.
#[derive(Debug)]
pub enum Paged {
    /// The page.
    Page(MessagePage),
    /// `before` is not a message of this conversation.
    NoMessage,
    /// There is no such conversation, or the reader may not see it.
    NoConversation,
}

impl From<Option<MessagePage>> for Paged {
    fn from(page: Option<MessagePage>) -> Self {
        page.map_or(Self::NoMessage, Self::Page)
    }
}

impl Store {
    /// A widget in a device's current conversation, or in any of a user's, and whether it was answered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn widget(
        &self,
        device: &Owner,
        id: MessageId,
    ) -> Result<Option<(Message, bool)>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::messages::widget(
            conn, &device, id
        )
        .map_err(Into::into))
    }

    /// The newest messages of a conversation, or the newest before `before`. `None` if `before` is not a
    /// message of this conversation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages(
        &self,
        conversation: ConversationId,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Option<MessagePage>, StoreError> {
        on_db!(self, read, |conn, db| db::messages::page(
            conn,
            conversation,
            before,
            limit.into()
        ))
    }
}
