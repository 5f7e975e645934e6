//! Agents written in Rust.
//!
//! [`Agent`] is what a program implements; [`NativeAgent`] makes it one of the desk's. An agent that calls a
//! tool waits for it as for any future. Underneath, its answer ends there, the turn records the call and
//! what came of it, and the agent is asked anew: up to the call it does what it did before, whose text is
//! not sent twice, and then goes on with what is recorded. So a turn whose server died does nothing twice.
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

/// How many pieces an agent may be ahead of the turn.
const AHEAD: usize = 32;

/// What an agent of your own fails with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An agent, in Rust.
pub trait Agent: Send + Sync + 'static {
    /// What it knows of a visitor and no model is told; `()` for nothing. It is kept with the
    /// conversation, and tools can be given parts of it.
    type Context: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What it is for; the manager reads it.
    fn description(&self) -> &str {
        ""
    }

    /// What a person has to know whom it hands a conversation to: those who know it are asked first.
    fn skill(&self) -> Option<&str> {
        None
    }

    /// Makes the context, once a session, unless whoever opened it has given one.
    fn create_context(
        &self,
        session: &AgentSession,
    ) -> impl Future<Output = std::result::Result<Self::Context, BoxError>> + Send;

    /// Answers a message. What is written is shown as it is written; the answer is complete when this
    /// returns. The context may be changed: it is stored with the answer.
    fn respond(
        &self,
        turn: &mut Turn<Self::Context>,
        response: &mut Response,
    ) -> impl Future<Output = std::result::Result<(), BoxError>> + Send;
}

/// Whose conversation it is.
#[derive(Debug, Clone)]
pub struct AgentSession {
    /// The agent that has it.
    pub agent: String,
    /// The conversation; none while the database is away.
    pub conversation_id: Option<ConversationId>,
    /// The turn; none while the database is away.
    pub turn_id: Option<TurnId>,
    /// The visitor's name, where a conversation begins with somebody known.
    pub user_name: Option<String>,
}

/// A message, and what goes with it.
pub struct Turn<C> {
    /// What is known of the visitor. What a tool changes of it in this turn is there with the next message;
    /// what the agent changes is stored when it returns.
    pub context: C,
    session: AgentSession,
    input: TurnInput,
}

impl<C> Turn<C> {
    /// What the visitor says.
    pub fn text(&self) -> String {
        self.input.text().into_owned()
    }

    /// What the visitor answered to a widget, where that is their message: its type and the answer.
    pub fn answer(&self) -> Option<(&str, &Value)> {
        self.input.answer()
    }

    /// What was said so far, oldest first; the last message is the visitor's.
    pub fn history(&self) -> &[Message] {
        &self.input.history
    }

    /// Tools that the visitor was asked about before this message, which is what they answered: each tool's
    /// name, and what it gave or why it was not called.
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

    /// Whose conversation it is.
    pub fn session(&self) -> &AgentSession {
        &self.session
    }
}

/// An agent in Rust as one of the desk's.
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

    /// What its context looks like; none where it has none.
    pub(crate) fn context_schema() -> Option<Value> {
        let schema = SchemaGenerator::default().into_root_schema_for::<A::Context>();
        let schema = schema.to_value();
        (schema.get("type")? == "object").then_some(schema)
    }

    /// What it knows of the visitor. Another agent may have begun the session, which knows other things.
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

/// What an agent failed with, for the log: not what a tool has said to it.
fn of_agent(error: BoxError) -> Error {
    match error.downcast_ref::<ResponseError>() {
        Some(ResponseError::Tool(_)) => failed("a tool failed, which it did not expect"),
        _ => failed(error),
    }
}

/// What is known, as an agent's own type; `()` for one that wants to know nothing.
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

/// Runs an agent to its end, and says how it ended.
async fn speak<A: Agent>(agent: Arc<A>, mut turn: Turn<A::Context>, mut response: Response) {
    let sender = response.sender.clone();
    let answered = agent.respond(&mut turn, &mut response).await;
    let context = answered
        .map_err(of_agent)
        .and_then(|()| written(&turn.context));
    let ended = match context {
        Ok(context) => {
            // What the agent left alone stays as it is: other agents know it, or a tool has changed it.
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
        // Nobody listens any more where the turn was stopped.
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
