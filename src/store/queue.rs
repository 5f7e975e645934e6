//! The queue of conversations that wait for an expert: assignment, and what the visitor reads meanwhile.

use super::{ConversationId, MessageId, Store, StoreError, messages::SystemMessage, on_db};
use crate::text;

/// A handoff of a conversation to an expert.
#[derive(Debug, Clone)]
pub struct HandoffRequest {
    /// Why an expert is needed.
    pub reason: String,
    /// The skill that the expert should have.
    pub skill: Option<String>,
    /// What the visitor reads while waiting.
    pub told: QueueNotice,
    /// Kinds of the jobs that notify people outside: webhook, email.
    pub notify: Vec<&'static str>,
}

/// What a waiting visitor reads: templates with `{position}`, the place in the queue, and `{name}`.
#[derive(Debug, Clone)]
pub struct QueueNotice {
    /// Used if the assigned expert is online.
    pub asked: String,
    /// Used otherwise.
    pub nobody: String,
    /// `{name}`: the expert who transfers the conversation.
    pub name: Option<String>,
}

impl QueueNotice {
    /// The text for this place in the queue.
    pub fn text(&self, position: i64, is_asked: bool) -> String {
        let template = if is_asked { &self.asked } else { &self.nobody };
        text::fill(template, |name| match name {
            "position" => Some(position.to_string()),
            "name" => self.name.clone(),
            _ => None,
        })
    }

    /// The text as a system message.
    pub(super) fn line(&self, position: i64, is_asked: bool) -> SystemMessage {
        SystemMessage {
            id: MessageId::new(),
            text: self.text(position, is_asked),
            note: None,
            retracts: Vec::new(),
        }
    }
}

impl Store {
    /// Assigns waiting conversations to online experts if they have no assignee, or one who has gone offline
    /// since. Returns how many were reassigned.
    ///
    /// # Errors
    /// When the database fails; assignments made before that stay.
    pub async fn hand_out(&self) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::queue::hand_out(conn)
            .map_err(Into::into))
    }

    /// A conversation's place in the queue, from 1, and whether the assigned expert is online. `None` if the
    /// conversation does not wait.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn place(&self, id: ConversationId) -> Result<Option<(i64, bool)>, StoreError> {
        on_db!(self, read, |conn, db| db::queue::place(conn, id)
            .map_err(Into::into))
    }
}
