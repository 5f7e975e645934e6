//! Conversations from Rust, without HTTP: the same turns, the same tables, the same promises.

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

/// A visitor on an agent.
#[derive(Debug, Clone)]
pub struct Session {
    device: Owner,
    /// Where what they say is kept.
    pub conversation_id: ConversationId,
}

/// A conversation to open.
pub(crate) struct Opening<'a> {
    /// Whose it is.
    pub device: Owner,
    /// The agent; none: whoever takes the first message.
    pub agent: Option<&'a str>,
    /// What is said of the visitor.
    pub context: Map<String, Value>,
    /// Who says so.
    pub by: Caller,
    /// What the visitor's token says of them.
    pub claims: &'a Map<String, Value>,
    /// Whether the program opens it: then it counts for no limit.
    pub by_program: bool,
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
        self.open_on(agent, anonymous(anonymous_id)?, context).await
    }

    /// Opens a new conversation of a user who is signed in, as their tokens call them (`sub`), on an agent.
    /// They find it in their list.
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

    /// Opens a conversation in which nothing is said yet.
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
        // Without one the agent makes it, with the first message.
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

    /// Says something, and gives the answer as it comes.
    ///
    /// # Errors
    /// `not_found` when the session is over: the conversation is deleted, or, of an anonymous visitor, it has
    /// expired, or another was opened for them; and as `POST /chat`, when the message is refused.
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

    /// Says something, and waits for the answer.
    ///
    /// # Errors
    /// As `POST /chat`: when the message is refused, or its answer failed.
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

    /// What was said in a conversation, the newest `limit` messages, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages(&self, session: &Session, limit: u32) -> Result<Vec<Message>> {
        let store = &self.app.store;
        let mut newest: Vec<Message> = Vec::new();
        loop {
            // A page ends early where messages are long.
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

    /// The conversations of an anonymous visitor, the oldest first.
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

    /// The conversations of a user who is signed in, the oldest first.
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
