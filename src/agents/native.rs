//! Agents written in Rust: a program implements [`Agent`], and [`NativeAgent`] adapts it to [`Respond`].
//!
//! To the agent, a tool call is a future like any other. In fact the call ends the run: the turn records the
//! call and its result, then runs the agent again from the beginning. This replay sends no text twice and
//! answers earlier calls from the record, so no call is made twice even if the server died in between.
//! What an agent does beside its [`Response`] may be repeated.

use std::{future::Future, sync::Arc};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, ready},
    stream,
};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::{AgentReply, Effects, ReplyPart, Respond, Response, ResponseError, TurnInput};
use crate::{
    error::{Code, Error, Result},
    llm::Chunk,
    store::{ConversationId, TurnId, messages::Message},
};

/// Reply parts that are buffered between an agent and the turn; beyond that the agent waits.
const AHEAD: usize = 32;

/// The error type of Rust agents.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An agent written in Rust.
pub trait Agent: Send + Sync + 'static {
    /// Data about the visitor that no model sees; `()` for none. It is stored with the conversation, and
    /// tools can receive parts of it.
    type Context: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What the agent is for. The router's model reads it to choose an agent.
    fn description(&self) -> &str {
        ""
    }

    /// Skill an expert needs to take over from this agent; experts who have it are asked first.
    fn skill(&self) -> Option<&str> {
        None
    }

    /// Makes the context, once per session, unless the session was opened with one.
    fn create_context(
        &self,
        session: &AgentSession,
    ) -> impl Future<Output = std::result::Result<Self::Context, BoxError>> + Send;

    /// Answers a message. Text is shown as it is written; the answer is complete when this returns. Changes
    /// to the context are stored with the answer.
    fn respond(
        &self,
        turn: &mut Turn<Self::Context>,
        response: &mut Response,
    ) -> impl Future<Output = std::result::Result<(), BoxError>> + Send;
}

/// The session in which an agent answers.
#[derive(Debug, Clone)]
pub struct AgentSession {
    /// Path of the agent.
    pub agent: String,
    /// The conversation; `None` while the database is unreachable.
    pub conversation_id: Option<ConversationId>,
    /// The turn; `None` while the database is unreachable.
    pub turn_id: Option<TurnId>,
    /// The visitor's name, if known. Only set in the turn that begins a conversation.
    pub user_name: Option<String>,
}

/// A visitor's message, with its context, session and history.
pub struct Turn<C> {
    /// Data about the visitor. A tool's changes in this turn appear here with the next message; the agent's own
    /// changes are stored when it returns.
    pub context: C,
    session: AgentSession,
    input: TurnInput,
}

impl<C> Turn<C> {
    /// The text of the visitor's message.
    pub fn text(&self) -> String {
        self.input.text().into_owned()
    }

    /// The visitor's answer to a widget, if their message is one: the widget's type and the answer.
    pub fn answer(&self) -> Option<(&str, &Value)> {
        self.input.answer()
    }

    /// The messages so far, oldest first; the last one is the visitor's.
    pub fn history(&self) -> &[Message] {
        &self.input.history
    }

    /// Tool calls that the visitor has confirmed or refused with this message: each tool's name, and its result
    /// or why there is none.
    pub fn confirmed(&self) -> impl Iterator<Item = (&str, std::result::Result<&str, &str>)> {
        self.input.confirmed().map(|(call, result)| {
            let content = result.content.as_str();
            let came = if result.is_error {
                Err(content)
            } else {
                Ok(content)
            };
            (call.name.as_str(), came)
        })
    }

    /// The session.
    pub fn session(&self) -> &AgentSession {
        &self.session
    }
}

/// Adapts a Rust [`Agent`] to [`Respond`].
pub(crate) struct NativeAgent<A> {
    path: String,
    agent: Arc<A>,
}

impl<A: Agent> NativeAgent<A> {
    pub(crate) fn new(path: &str, agent: A) -> Self {
        Self {
            path: path.to_owned(),
            agent: Arc::new(agent),
        }
    }

    /// JSON Schema of the context; `None` if the context is not an object.
    pub(crate) fn context_schema() -> Option<Value> {
        let schema = SchemaGenerator::default().into_root_schema_for::<A::Context>();
        let schema = schema.to_value();
        (schema.get("type")? == "object").then_some(schema)
    }

    /// The context as the agent's type. If it does not fit, because another agent began the session, the agent's
    /// own values are added.
    async fn context(&self, turn: &TurnInput) -> Result<A::Context> {
        if let Ok(context) = read(turn.context_before.clone()) {
            return Ok(context);
        }
        let own = self.agent.create_context(&self.session(turn)).await;
        let mut context = turn.context_before.clone();
        context.extend(written(&own.map_err(failed)?)?);
        read(context)
    }

    fn session(&self, turn: &TurnInput) -> AgentSession {
        AgentSession {
            agent: self.path.clone(),
            conversation_id: turn.conversation_id,
            turn_id: turn.turn_id,
            user_name: turn.user_name.clone(),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(Code::Internal).caused_by(format!("an agent failed: {error}"))
}

/// Converts an agent's error for the log. A failed tool's message is left out.
fn of_agent(error: BoxError) -> Error {
    match error.downcast_ref::<ResponseError>() {
        Some(ResponseError::Tool(_)) => failed("a tool failed, which it did not expect"),
        _ => failed(error),
    }
}

/// Parses the context as an agent's type. A type that is not an object, as `()`, is read from null.
fn read<C: DeserializeOwned>(context: Map<String, Value>) -> Result<C> {
    let read = serde_json::from_value(Value::Object(context));
    read.or_else(|error| serde_json::from_value(Value::Null).map_err(|_| failed(error)))
}

fn written(context: &impl Serialize) -> Result<Map<String, Value>> {
    match serde_json::to_value(context).map_err(failed)? {
        Value::Object(context) => Ok(context),
        _ => Ok(Map::new()),
    }
}

/// Runs an agent to its end, then sends its context changes and the last chunk, or its error.
async fn speak<A: Agent>(agent: Arc<A>, mut turn: Turn<A::Context>, mut response: Response) {
    let sender = response.sender.clone();
    let answered = agent.respond(&mut turn, &mut response).await;
    let context = answered
        .map_err(of_agent)
        .and_then(|()| written(&turn.context));
    let ended = match context {
        Ok(context) => {
            // Values that the agent did not change are not stored: a tool may have changed them meanwhile.
            let before = &turn.input.context_before;
            let changes = context
                .into_iter()
                .filter(|(name, value)| before.get(name) != Some(value));
            let changes: Vec<_> = changes.collect();
            let has_changed = !changes.is_empty();
            let mut known = turn.input.context.clone();
            known.extend(changes);
            let effects = Effects {
                context: has_changed.then_some(known),
                ..Effects::default()
            };
            vec![
                Ok(ReplyPart::Effects(effects)),
                Ok(ReplyPart::Chunk(Chunk::end())),
            ]
        }
        Err(error) => vec![Err(error)],
    };
    for piece in ended {
        // This fails if the turn was stopped, as the receiver is gone.
        drop(sender.send(piece).await);
    }
}

impl<A: Agent> Respond for NativeAgent<A> {
    fn create_context<'a>(
        &'a self,
        turn: &'a TurnInput,
    ) -> BoxFuture<'a, Result<Map<String, Value>>> {
        async move {
            let session = self.session(turn);
            let context = self.agent.create_context(&session).await;
            written(&context.map_err(failed)?)
        }
        .boxed()
    }

    fn respond<'a>(&'a self, turn: &'a TurnInput) -> BoxFuture<'a, Result<AgentReply>> {
        async move {
            let (sender, receiver) = mpsc::channel(AHEAD);
            let response = Response::new(sender, turn);
            let turn = Turn {
                context: self.context(turn).await?,
                session: self.session(turn),
                input: turn.clone(),
            };
            let speaking = speak(Arc::clone(&self.agent), turn, response);
            let sent = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| {
                Some((receiver.recv().await?, receiver))
            });
            let running = speaking.into_stream().filter_map(|()| ready(None));
            Ok(stream::select(sent, running).boxed())
        }
        .boxed()
    }
}

/// A function as an agent, without a context.
pub(crate) struct FunctionAgent<F> {
    pub description: String,
    pub function: F,
}

impl<F, Answered> Agent for FunctionAgent<F>
where
    F: Fn(Turn<()>, Response) -> Answered + Send + Sync + 'static,
    Answered: Future<Output = std::result::Result<(), BoxError>> + Send,
{
    type Context = ();

    fn description(&self) -> &str {
        &self.description
    }

    async fn create_context(&self, _session: &AgentSession) -> std::result::Result<(), BoxError> {
        Ok(())
    }

    async fn respond(
        &self,
        turn: &mut Turn<()>,
        response: &mut Response,
    ) -> std::result::Result<(), BoxError> {
        let turn = Turn {
            context: (),
            session: turn.session.clone(),
            input: turn.input.clone(),
        };
        (self.function)(turn, response.take()).await
    }
}
