//! What a turn begins with.

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Engine, Origin};
use crate::store::{
    ConversationId, LimitKey, MessageId, MessageSeq, Owner, TurnId, UserId,
    begin::{BeginTurn, Idempotency, UserMessage, WidgetAnswer},
    messages::Message,
    sessions::Within,
};

/// A visitor's message, checked.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// Whose it is.
    pub device: Owner,
    /// Where it goes.
    pub within: Within,
    /// The text.
    pub body: String,
    /// Images.
    pub media_urls: Vec<String>,
    /// Recordings.
    pub audio_urls: Vec<String>,
    /// What the website adds.
    pub metadata: Option<Value>,
    /// What is known of the visitor, where this begins their conversation; it fits the agent.
    pub context: Option<Map<String, Value>>,
    /// The agent to move to.
    pub agent: Option<String>,
    /// The widget that it answers.
    pub answers: Option<WidgetAnswer>,
    /// A digest of everything that makes the request what it is.
    pub request_hash: Vec<u8>,
    /// The client's key for this request.
    pub key: Option<String>,
    /// Who sends it.
    pub address: Option<IpAddr>,
    /// Whether frames also say their content as `text`.
    pub mirror_text: bool,
}

impl TurnRequest {
    /// A message that is only text.
    pub fn new(device: Owner, body: String) -> Self {
        Self {
            device,
            within: Within::Session,
            body,
            media_urls: Vec::new(),
            audio_urls: Vec::new(),
            metadata: None,
            context: None,
            agent: None,
            answers: None,
            request_hash: Vec::new(),
            key: None,
            address: None,
            mirror_text: false,
        }
    }

    /// Its key, and what it is.
    pub(super) fn idempotency(&self) -> Option<Idempotency> {
        self.key.as_ref().map(|key| Idempotency {
            key: key.clone(),
            request_hash: self.request_hash.clone(),
        })
    }

    /// What is known of it beside what is stored.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            mirror_text: self.mirror_text,
            address: self.address,
        }
    }

    /// What begins its turn, if that is committed by the deadline.
    pub(super) fn begin(
        &self,
        engine: &Engine,
        limit_key: LimitKey,
        earlier: &[&Self],
        deadline: Instant,
    ) -> BeginTurn {
        let asked = earlier.iter().copied().chain([self]);
        let agent = asked
            .filter_map(|request| request.agent.clone())
            .next_back();
        let mut lock =
            engine
                .sessions
                .set(self.device.clone(), limit_key, self.within.clone(), agent);
        lock.messages += u32::try_from(earlier.len()).unwrap_or(u32::MAX);
        let first = earlier.first().copied().unwrap_or(self);
        BeginTurn {
            turn_id: TurnId::new(),
            new_user: UserId::new(),
            lock,
            owner: engine.owner,
            lease: Duration::from_secs(engine.settings.turn.lease_seconds),
            said: self.said(),
            context: first.context.clone().map(Value::Object),
            earlier: earlier.iter().map(|request| request.said()).collect(),
            history: engine.settings.turn.history_messages,
            deadline: deadline.into_std(),
            sent: Arc::default(),
        }
    }

    fn said(&self) -> UserMessage {
        UserMessage {
            id: MessageId::new(),
            body: self.body.clone(),
            media_urls: json!(self.media_urls),
            audio_urls: json!(self.audio_urls),
            metadata: self.metadata.clone(),
            answers: self.answers.clone(),
            request_hash: self.request_hash.clone(),
            key: self.key.clone(),
        }
    }

    /// The message as the agent sees it, where nothing is stored.
    pub(super) fn unstored(&self, engine: &Engine) -> Message {
        let now = engine.clock.now();
        self.said()
            .message(TurnId::new(), ConversationId::new(), MessageSeq(1), now)
    }
}
