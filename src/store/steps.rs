//! The tool calls of a running turn. Each is recorded before and after the call, so that an instance
//! that adopts the turn does not repeat it.

use std::sync::Arc;

use serde_json::Value;

use super::{
    ConversationId, Fence, MessageId, Store, StoreError, TurnId, messages::MessageType, on_db,
};

/// Steps to record. Their ids are new, and stay the same on every retry.
#[derive(Debug, Clone)]
pub struct NewSteps {
    /// The turn.
    pub turn_id: TurnId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The turn's fence.
    pub fence: Fence,
    /// The new context, if it has changed.
    pub context: Option<Value>,
    /// The steps in order, at least one.
    pub steps: Vec<NewStep>,
}

/// A tool call, or its result.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// Its message's id.
    pub id: MessageId,
    /// Whether this is the call or the result.
    pub message_type: MessageType,
    /// The tool's name.
    pub tool: String,
    /// Whether it succeeded, for a result.
    pub success: Option<bool>,
    /// The arguments, or the result.
    pub body: String,
    /// The widget that the result shows: its type and data.
    pub widget: Option<(&'static str, Value)>,
    /// The call's id and round, and details of its widget.
    pub metadata: Value,
}

impl Store {
    /// Records steps. Returns false if the turn is no longer the caller's. A retry records nothing twice.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_steps(&self, steps: Arc<NewSteps>) -> Result<bool, StoreError> {
        on_db!(self, write, |conn, db| db::steps::record(conn, &steps)
            .map_err(Into::into))
    }
}
