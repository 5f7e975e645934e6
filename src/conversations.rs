//! Conversations from Rust, without HTTP: the same turns, the same tables, the same promises.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    app::App,
    context::Caller,
    error::{Code, Error, Result},
    store::{ConversationId, DeviceId, data::Conversation, messages::Message},
    turn::{Reply, TurnRequest, fold},
};
pub use fold::Answer;

/// The conversations of a server. Cheap to clone.
#[derive(Clone)]
pub struct Conversations {
    app: Arc<App>,
}

/// A visitor on an agent.
#[derive(Debug, Clone)]
pub struct Session {
    device: DeviceId,
    /// Where what they say is kept.
    pub conversation_id: ConversationId,
}

impl Conversations {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Opens a new conversation of an anonymous visitor on an agent. The id is theirs, and as secret as a
    /// device id, which it is; the context has to fit the agent.
    ///
    /// # Errors
    /// `unknown_agent`, `invalid_device_id`, `invalid_context`, or when the database fails.
    pub async fn open(
        &self,
        agent: &str,
        anonymous_id: &str,
        context: Map<String, Value>,
    ) -> Result<Session> {
        let engine = &self.app.engine;
        if !engine.agents().contains(agent) {
            return Err(Error::new(Code::UnknownAgent));
        }
        let device =
            DeviceId::parse(anonymous_id).ok_or_else(|| Error::new(Code::InvalidDeviceId))?;
        // Without one the agent makes it, with the first message.
        let context = match context.is_empty() {
            true => None,
            false => Some(
                engine
                    .agents()
                    .new_context(agent, context, Caller::Service)?,
            ),
        };
        let mut lock = engine
            .sessions()
            .set(device.clone(), Some(agent.to_owned()));
        lock.messages = 0;
        let context = context.map(Value::Object);
        let conversation_id = self.app.store.open_conversation(lock, context).await?;
        Ok(Session {
            device,
            conversation_id,
        })
    }

    /// Says something, and gives the answer as it comes.
    ///
    /// # Errors
    /// `not_found` when the session is over: it has expired, or another was opened for the same visitor;
    /// and as `POST /chat`, when the message is refused.
    pub async fn stream(&self, session: &Session, text: &str) -> Result<Reply> {
        let held = self.app.engine.sessions().get(&session.device).await?;
        let is_open = held.is_some_and(|(lock, _)| lock.conversation_id == session.conversation_id);
        if !is_open {
            return Err(Error::new(Code::NotFound).detail("The session is over."));
        }
        let text = crate::text::cleaned(text.to_owned());
        let request = TurnRequest::new(session.device.clone(), text);
        self.app.engine.start(request).await
    }

    /// Says something, and waits for the answer.
    ///
    /// # Errors
    /// As `POST /chat`: when the message is refused, or its answer failed.
    pub async fn send(&self, session: &Session, text: &str) -> Result<Answer> {
        let reply = self.stream(session, text).await?;
        let answer = fold::fold(reply.reader).await;
        let answer = answer.ok_or_else(|| Error::new(Code::Unavailable))?;
        match &answer.last.error {
            None => Ok(answer),
            Some(failed) => Err(Error::new(
                Code::parse(&failed.code).unwrap_or(Code::Internal),
            )),
        }
    }

    /// What was said in a conversation, the newest `limit` messages, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages(&self, session: &Session, limit: u32) -> Result<Vec<Message>> {
        let page = self
            .app
            .store
            .messages(session.conversation_id, None, limit);
        Ok(page.await?.unwrap_or_default().messages)
    }

    /// The conversations of an anonymous visitor, the oldest first.
    ///
    /// # Errors
    /// `invalid_device_id`, or when the database fails.
    pub async fn list(&self, anonymous_id: &str) -> Result<Vec<Conversation>> {
        let device =
            DeviceId::parse(anonymous_id).ok_or_else(|| Error::new(Code::InvalidDeviceId))?;
        Ok(self.app.store.conversations(&device).await?)
    }
}
