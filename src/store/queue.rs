//! The conversations that wait for a person: who is asked first, and what the visitor reads meanwhile.

use super::{ConversationId, MessageId, Store, StoreError, messages::SystemMessage, on_db};
use crate::text;

/// A person who is asked for.
#[derive(Debug, Clone)]
pub struct HandoffRequest {
    /// Why.
    pub reason: String,
    /// What the person has to know.
    pub skill: Option<String>,
    /// What the visitor reads.
    pub told: QueueNotice,
    /// By which jobs people outside are told.
    pub notify: Vec<&'static str>,
}

/// What a visitor reads who waits: templates with `{position}`, their place in the queue, and `{name}`.
#[derive(Debug, Clone)]
pub struct QueueNotice {
    /// Where somebody is asked.
    pub asked: String,
    /// Where nobody is there who could be.
    pub nobody: String,
    /// Who passes the conversation on.
    pub name: Option<String>,
}

impl QueueNotice {
    /// What is told of this place.
    pub fn text(&self, position: i64, is_asked: bool) -> String {
        let template = if is_asked { &self.asked } else { &self.nobody };
        text::fill(template, |name| match name {
            "position" => Some(position.to_string()),
            "name" => self.name.clone(),
            _ => None,
        })
    }

    /// The same as a line of the conversation.
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
    /// Gives what waits for nobody in particular to whoever is there, and what waits for somebody who was
    /// there and has left without a word; how many conversations that were.
    ///
    /// # Errors
    /// When the database fails; what was given by then is given.
    pub async fn hand_out(&self) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::queue::hand_out(conn)
            .map_err(Into::into))
    }

    /// The place of a conversation in the queue, from 1, and whether somebody is asked who is there; none
    /// where it does not wait.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn place(&self, id: ConversationId) -> Result<Option<(i64, bool)>, StoreError> {
        on_db!(self, read, |conn, db| db::queue::place(conn, id)
            .map_err(Into::into))
    }
}
