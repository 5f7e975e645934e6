//! The steps of a running turn: tools that it calls, each recorded before it is called and after, so
//! that whoever adopts the turn does nothing twice.

use std::sync::Arc;

use serde_json::Value;

use super::{
    ConversationId, Fence, MessageId, Store, StoreError, TurnId, messages::MessageType, on_db,
};

/// Steps to record. The ids are new, and kept when it is tried again.
#[derive(Debug, Clone)]
pub struct NewSteps {
    /// The turn.
    pub turn_id: TurnId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The fence that it was given.
    pub fence: Fence,
    /// What is known of the visitor now, if that has changed.
    pub context: Option<Value>,
    /// What is done, in order. At least one.
    pub steps: Vec<NewStep>,
}

/// A call of a tool, or what came of it.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// Its message's id.
    pub id: MessageId,
    /// Which of the two.
    pub message_type: MessageType,
    /// The tool.
    pub tool: String,
    /// Whether it succeeded, for a result.
    pub success: Option<bool>,
    /// The arguments, or the result.
    pub body: String,
    /// The widget that it shows.
    pub widget: Option<(&'static str, Value)>,
    /// Which call it is.
    pub metadata: Value,
}

impl Store {
    /// Records steps; whether the turn is still the caller's. Once, however often it is tried.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_steps(&self, steps: Arc<NewSteps>) -> Result<bool, StoreError> {
        on_db!(self, write, |conn, db| db::steps::record(conn, &steps)
            .map_err(Into::into))
    }
}
