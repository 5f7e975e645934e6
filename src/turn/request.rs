//! What a turn begins with.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Engine, begin::COMMIT_PATIENCE};
use crate::store::{
    ConversationId, DeviceId, MessageId, TurnId, UserId,
    messages::Message,
    turns::{BeginTurn, Idempotency},
};

/// A visitor's message, checked.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// Whose it is.
    pub device: DeviceId,
    /// The text.
    pub body: String,
    /// Images.
    pub media_urls: Vec<String>,
    /// Recordings.
    pub audio_urls: Vec<String>,
    /// What the website adds.
    pub metadata: Option<Value>,
    /// The agent to move to.
    pub agent: Option<String>,
    /// The client's key for this request.
    pub idempotency: Option<Idempotency>,
    /// Whether frames also say their content as `text`.
    pub mirror_text: bool,
}

impl TurnRequest {
    /// What begins its turn.
    pub(super) fn begin(&self, engine: &Engine, since: Instant) -> BeginTurn {
        BeginTurn {
            turn_id: TurnId::new(),
            message_id: MessageId::new(),
            new_user: UserId::new(),
            lock: engine.sessions.set(self.device.clone(), self.agent.clone()),
            owner: engine.owner,
            lease: Duration::from_secs(engine.settings.turn.lease_seconds),
            idempotency: self.idempotency.clone(),
            body: self.body.clone(),
            media_urls: json!(self.media_urls),
            audio_urls: json!(self.audio_urls),
            metadata: self.metadata.clone(),
            history: engine.settings.turn.history_messages,
            deadline: (since + COMMIT_PATIENCE).into_std(),
        }
    }

    /// The message as the agent sees it, where nothing is stored.
    pub(super) fn unstored(&self, engine: &Engine) -> Message {
        let turn = self.begin(engine, Instant::now());
        turn.message(ConversationId::new(), 1, engine.clock.now())
    }
}
