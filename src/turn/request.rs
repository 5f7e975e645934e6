//! The request that a turn begins with.

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

/// A visitor's message, validated.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// The device or user that sends it.
    pub device: Owner,
    /// The conversation that it belongs to.
    pub within: Within,
    /// Its text.
    pub body: String,
    /// URLs of images.
    pub media_urls: Vec<String>,
    /// URLs of recordings.
    pub audio_urls: Vec<String>,
    /// Data that the website adds to the message.
    pub metadata: Option<Value>,
    /// The visitor's context for a new conversation; validated for the agent.
    pub context: Option<Map<String, Value>>,
    /// The agent to move to.
    pub agent: Option<String>,
    /// The widget that it answers, and the answer.
    pub answers: Option<WidgetAnswer>,
    /// Hash of the request: an idempotency key may be used again only with the same hash.
    pub request_hash: Vec<u8>,
    /// The client's idempotency key.
    pub key: Option<String>,
    /// The sender's IP address.
    pub address: Option<IpAddr>,
    /// True if frames repeat their content as `text`.
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

    /// Its idempotency key and hash.
    pub(super) fn idempotency(&self) -> Option<Idempotency> {
        self.key.as_ref().map(|key| Idempotency {
            key: key.clone(),
            request_hash: self.request_hash.clone(),
        })
    }

    /// What the turn needs of the request that is not stored.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            mirror_text: self.mirror_text,
            address: self.address,
        }
    }

    /// The step that begins its turn. After the deadline it is not committed any more.
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
            instance: engine.instance,
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

    /// The message as the agent sees it, if nothing is stored.
    pub(super) fn unstored(&self, engine: &Engine) -> Message {
        let now = engine.clock.now();
        self.said()
            .message(TurnId::new(), ConversationId::new(), MessageSeq(1), now)
    }
}
