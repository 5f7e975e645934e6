//! Conversations from Rust, without HTTP: with the same turns, tables and guarantees.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    app::App,
    context::Caller,
    error::{Code, Error, Result},
    store::{
        ConversationId, Owner,
        data::{ExportedConversation, OpenOutcome},
        messages::Message,
        sessions::Within,
    },
    turn::{Reply, TurnRequest, collect},
};
pub use collect::WholeAnswer;

/// The conversations of a server. Cheap to clone.
#[derive(Clone)]
pub struct Conversations {
    app: Arc<App>,
}

/// A visitor's session with an agent.
#[derive(Debug, Clone)]
pub struct Session {
    device: Owner,
    /// The session's conversation.
    pub conversation_id: ConversationId,
}

/// A conversation to open.
pub(crate) struct Opening<'a> {
    /// The conversation's owner.
    pub device: Owner,
    /// The agent; `None`: the manager chooses one for the first message.
    pub agent: Option<&'a str>,
    /// The context: data about the visitor.
    pub context: Map<String, Value>,
    /// Who provides the context.
    pub by: Caller,
    /// The claims of the user's token.
    pub claims: &'a Map<String, Value>,
    /// Whether the program opens it. Then it does not count towards the message limit.
    pub by_program: bool,
}

impl Conversations {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Opens a new conversation of an anonymous visitor with an agent. The id is the visitor's device id, so it is
    /// secret. The context must fit the agent's.
    ///
    /// # Errors
    /// `unknown_agent`, `invalid_device_id`, `invalid_context`, or when the database fails.
    pub async fn open(
        &self,
        agent: &str,
        anonymous_id: &str,
        context: Map<String, Value>,
    ) -> Result<Session> {
        self.open_on(agent, anonymous(anonymous_id)?, context).await
    }

    /// Opens a new conversation of a signed-in user (the `sub` of their tokens) with an agent. It appears in their list
    /// of conversations.
    ///
    /// # Errors
    /// `unknown_agent`, `invalid_context`, or when the database fails.
    pub async fn open_for_user(
        &self,
        agent: &str,
        sub: &str,
        context: Map<String, Value>,
    ) -> Result<Session> {
        self.open_on(agent, Owner::of_user(sub), context).await
    }

    async fn open_on(
        &self,
        agent: &str,
        device: Owner,
        context: Map<String, Value>,
    ) -> Result<Session> {
        let opening = Opening {
            device,
            agent: Some(agent),
            context,
            by: Caller::Service,
            claims: &Map::new(),
            by_program: true,
        };
        self.begin(opening).await
    }

    /// Opens a conversation without messages.
    pub(crate) async fn begin(&self, opening: Opening<'_>) -> Result<Session> {
        let engine = &self.app.engine;
        let agents = engine.agents();
        let Opening {
            device,
            agent,
            context,
            by,
            claims,
            by_program,
        } = opening;
        if agent.is_some_and(|agent| !agents.contains(agent)) {
            return Err(Error::new(Code::UnknownAgent));
        }
        // Without a context, the agent makes one for the first message.
        let context = match (agent, context.is_empty()) {
            (Some(agent), false) => agents.new_context(agent, context, by, claims)?,
            (None, false) => {
                let why = "A context needs the agent that it is for.";
                return Err(Error::new(Code::InvalidContext).detail(why));
            }
            (_, true) => agents.claimed(claims),
        };
        let agent = agent.map(str::to_owned);
        let key = engine.sessions().limit_key(&device).await?;
        let mut lock = engine
            .sessions()
            .set(device.clone(), key, Within::New, agent);
        if by_program {
            lock.messages = 0;
        }
        let context = Some(context).filter(|context| !context.is_empty());
        let opened = self
            .app
            .store
            .open_conversation(lock, context.map(Value::Object));
        match opened.await? {
            OpenOutcome::Done(conversation_id) => Ok(Session {
                conversation_id,
                device,
            }),
            OpenOutcome::Limited(wait) => Err(Error::new(Code::RateLimited).retry_after(wait)),
        }
    }

    /// Sends a message, and returns the answer as a stream.
    ///
    /// # Errors
    /// `not_found` if the session is over: the conversation was deleted or, for an anonymous visitor, the session has
    /// expired or another conversation was opened. As for `POST /chat` if the message is refused.
    pub async fn stream(&self, session: &Session, text: &str) -> Result<Reply> {
        let text = crate::text::cleaned(text.to_owned());
        let mut request = TurnRequest::new(session.device.clone(), text);
        match session.device.is_user() {
            true => request.within = Within::Conversation(session.conversation_id),
            false => {
                let held = self.app.engine.sessions().get(&session.device).await?;
                held.filter(|(lock, _)| lock.conversation_id == session.conversation_id)
                    .ok_or_else(|| Error::new(Code::NotFound).detail("The session is over."))?;
            }
        }
        self.app.engine.start(request).await
    }

    /// Sends a message, and waits for the whole answer.
    ///
    /// # Errors
    /// As for `POST /chat`: if the message is refused or its answer failed.
    pub async fn send(&self, session: &Session, text: &str) -> Result<WholeAnswer> {
        let reply = self.stream(session, text).await?;
        let answer = self.app.engine.whole(reply).await;
        let answer = answer.ok_or_else(|| Error::new(Code::Unavailable))?;
        match &answer.last.error {
            None => Ok(answer),
            Some(failed) => Err(Error::new(
                Code::parse(&failed.code).unwrap_or(Code::Internal),
            )),
        }
    }

    /// The newest `limit` messages of a conversation, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages(&self, session: &Session, limit: u32) -> Result<Vec<Message>> {
        let store = &self.app.store;
        let mut newest: Vec<Message> = Vec::new();
        loop {
            // A page with long messages has fewer than `left`.
            let left = limit.saturating_sub(u32::try_from(newest.len()).unwrap_or(u32::MAX));
            let before = newest.first().map(|oldest| oldest.id);
            let page = store
                .messages(session.conversation_id, before, left)
                .await?;
            let page = page.unwrap_or_default();
            let is_last = !page.has_more || page.messages.is_empty();
            newest.splice(..0, page.messages);
            if is_last || newest.len() >= limit as usize {
                return Ok(newest);
            }
        }
    }

    /// The conversations of an anonymous visitor, oldest first.
    ///
    /// # Errors
    /// `invalid_device_id`, or when the database fails.
    pub async fn list(&self, anonymous_id: &str) -> Result<Vec<ExportedConversation>> {
        Ok(self
            .app
            .store
            .conversations(&anonymous(anonymous_id)?)
            .await?)
    }

    /// The conversations of a signed-in user, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_for_user(&self, sub: &str) -> Result<Vec<ExportedConversation>> {
        Ok(self.app.store.conversations(&Owner::of_user(sub)).await?)
    }
}

fn anonymous(id: &str) -> Result<Owner> {
    Owner::parse(id).ok_or_else(|| Error::new(Code::InvalidDeviceId))
}
