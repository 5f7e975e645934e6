//! Agents answer visitors.
//!
//! An agent implements [`Respond`]: it gets a [`TurnInput`] and returns an [`AgentReply`], a stream of text and of
//! effects that the turn applies. It never calls the turn or the store.
//! A configured agent is a [`webhook`], or a prompt if there is a model ([`llm`]), or else a scripted [`flow`].
//! The [`router`] chooses the agent for a session that has none.

mod agent_tools;
mod build;
mod extractors;
mod flow;
mod input;
mod llm;
mod memory;
mod native;
mod reply;
mod response;
mod router;
mod slots;
mod times;
mod webhook;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

pub use crate::tools::ToolInvocation;
use crate::{
    config::WhenBusy,
    context::{Caller, Shape},
    error::{Code, Error, Result},
    llm::{ToolCall, Usage},
    tools::{ToolOutcome, Tools, handoff},
    widgets::{RawWidget, Widget, Widgets, tool_name},
};
pub use input::{Consent, HandedOver, Preamble, Round, ShownWidget, TurnInput};
pub use native::{Agent, AgentSession, BoxError, Turn};
pub(crate) use native::{FunctionAgent, NativeAgent};
pub use reply::{AgentReply, CallPurpose, Effects, ReplyPart};
pub use response::{Response, ResponseError};
use router::Router;

/// What every kind of agent implements: LLM agents, flows, webhooks and Rust agents ([`Agent`]).
pub trait Respond: Send + Sync {
    /// Answers the last message of the turn's history. Returns when the answer begins; the stream has the rest.
    fn respond<'a>(&'a self, turn: &'a TurnInput) -> BoxFuture<'a, Result<AgentReply>>;

    /// Context that the agent adds when a session starts. The schema's defaults fill in the rest.
    fn create_context<'a>(
        &'a self,
        _turn: &'a TurnInput,
    ) -> BoxFuture<'a, Result<Map<String, Value>>> {
        Box::pin(std::future::ready(Ok(Map::new())))
    }
}

/// An agent that the embedding program adds in code.
pub(crate) struct NewAgent {
    pub path: String,
    pub description: String,
    pub agent: Arc<dyn Respond>,
    /// JSON Schema of its context.
    pub context: Option<Value>,
    /// Skill an expert needs to take over from it; experts who have it are asked first.
    pub skill: Option<String>,
}

/// All agents of this server.
pub struct Agents {
    agents: BTreeMap<String, RegisteredAgent>,
    tools: Arc<Tools>,
    widgets: Widgets,
    router: Router,
}

/// An agent and its settings.
struct RegisteredAgent {
    agent: Arc<dyn Respond>,
    /// Names of the tools it may call; an MCP server's name stands for all its tools.
    tools: Vec<String>,
    /// Names of the widgets it may show.
    widgets: Vec<String>,
    /// Schema of its context; `None` if it takes no context.
    context: Option<Shape>,
    /// Paths of the agents it may hand over to; `human` means the experts.
    handoff_to: Vec<String>,
    session_ttl: Option<Duration>,
    when_busy: WhenBusy,
    /// Maximum tool rounds in a turn, instead of `turn.tool_rounds`.
    tool_rounds: Option<u32>,
    /// True if it has no side effects while it may not call tools, so that it can draft for an expert.
    only_speaks: bool,
    /// The judge that checks each of its sentences before the visitor sees it.
    guard: Option<String>,
    /// Skill an expert needs to take over from it; experts who have it are asked first.
    skill: Option<String>,
    /// True if its text after a tool call continues the paragraph instead of starting a new one.
    goes_on: bool,
}

impl Agents {
    /// True if there is an agent with this path.
    pub fn contains(&self, path: &str) -> bool {
        self.agents.contains_key(path)
    }

    /// The agent's session lifetime, if it overrides `session.ttl_seconds`.
    pub fn session_ttl(&self, path: &str) -> Option<Duration> {
        self.agents.get(path)?.session_ttl
    }

    /// What happens to a message that arrives while this agent is answering. Without a path, the default
    /// agent's setting counts.
    pub fn when_busy(&self, path: Option<&str>) -> WhenBusy {
        let path = path.unwrap_or_else(|| self.router.default_agent());
        let member = self.agents.get(path);
        member.map_or(WhenBusy::Queue, |member| member.when_busy)
    }

    /// The agent for a turn, and the tokens that choosing it used. A session keeps its agent if that still exists;
    /// without a model, keywords may move it to another agent. Other sessions get the router's choice. `may_move` is
    /// false if the caller asked for this agent.
    pub async fn choose(
        &self,
        present: Option<&str>,
        may_move: bool,
        turn: &TurnInput,
    ) -> (String, Usage) {
        let Some(present) = present.filter(|path| self.contains(path)) else {
            return self.router.route(turn).await;
        };
        let moved = may_move.then(|| self.router.reconsider(present, turn));
        let agent = moved.flatten().unwrap_or_else(|| present.to_owned());
        (agent, Usage::default())
    }

    /// The judge that checks each of an agent's sentences before the visitor sees it.
    pub fn guard(&self, path: &str) -> Option<&str> {
        self.agents.get(path)?.guard.as_deref()
    }

    /// The skill an expert needs to take over from an agent.
    pub fn skill(&self, path: &str) -> Option<&str> {
        self.agents.get(path)?.skill.as_deref()
    }

    /// True if an agent can draft an answer for an expert without side effects.
    pub fn can_draft(&self, path: &str) -> bool {
        self.agents
            .get(path)
            .is_some_and(|member| member.only_speaks)
    }

    /// The agent's maximum tool rounds in a turn, if it overrides `turn.tool_rounds`.
    pub fn tool_rounds(&self, path: &str) -> Option<u32> {
        self.agents.get(path)?.tool_rounds
    }

    /// True if the agent's next text starts a new paragraph.
    pub fn begins_a_paragraph(&self, path: &str, turn: &TurnInput) -> bool {
        let goes_on = self.agents.get(path).is_some_and(|member| member.goes_on);
        !goes_on || turn.own_rounds().next().is_none()
    }

    /// Connects to all MCP servers, so that no turn has to wait for it.
    pub async fn connect(&self) {
        self.tools.connect().await;
    }

    /// True if an agent may call a tool.
    pub fn has_tool(&self, path: &str, tool: &str) -> bool {
        let member = self.agents.get(path);
        member.is_some_and(|member| self.tools.is_given(&member.tools, tool))
    }

    /// Calls a tool for an agent.
    pub async fn call(&self, path: &str, calling: ToolInvocation<'_>) -> ToolOutcome {
        let given = self.agents.get(path).map(|member| member.tools.as_slice());
        self.tools.call(given.unwrap_or_default(), calling).await
    }

    /// Connects to the MCP servers that these calls need, if not connected.
    pub async fn reach(&self, calls: &[ToolCall]) {
        self.tools.reach(calls).await;
    }

    /// The context of a new session: the values that the caller (`by`) supplies, the token's claims, and the
    /// agent's defaults.
    ///
    /// # Errors
    /// `invalid_context` if the agent does not accept the values.
    pub fn new_context(
        &self,
        path: &str,
        given: Map<String, Value>,
        by: Caller,
        claims: &Map<String, Value>,
    ) -> Result<Map<String, Value>> {
        let shape = self
            .agents
            .get(path)
            .and_then(|member| member.context.as_ref());
        match shape {
            Some(shape) => shape.make(given, by, claims),
            None if given.is_empty() => Ok(given),
            None => Err(Error::new(Code::InvalidContext).detail("This agent takes no context.")),
        }
    }

    /// The token's claims that are part of any agent's context.
    pub fn claimed(&self, claims: &Map<String, Value>) -> Map<String, Value> {
        let shapes = self
            .agents
            .values()
            .filter_map(|member| member.context.as_ref());
        shapes.flat_map(|shape| shape.claimed(claims)).collect()
    }

    /// The context when an agent first gets a conversation: the existing values, then (if `is_new`, for a new
    /// session) the agent's `create_context`, then its defaults. Earlier values win.
    ///
    /// # Errors
    /// If `create_context` fails.
    pub async fn meet(
        &self,
        path: &str,
        turn: &TurnInput,
        is_new: bool,
    ) -> Result<Map<String, Value>> {
        let member = self.agents.get(path);
        let mut known = turn.context.clone();
        let Some((member, shape)) = member.and_then(|own| Some((own, own.context.as_ref()?)))
        else {
            return Ok(known);
        };
        let made = match is_new {
            true => member.agent.create_context(turn).await?,
            false => Map::new(),
        };
        for (name, value) in made.iter().chain(shape.defaults()) {
            known.entry(name).or_insert_with(|| value.clone());
        }
        Ok(known)
    }

    /// True if this context fits the agent's schema, or the agent has none.
    pub fn may_know(&self, path: &str, context: &Map<String, Value>) -> bool {
        let shape = self
            .agents
            .get(path)
            .and_then(|member| member.context.as_ref());
        shape.is_none_or(|shape| shape.fits(context))
    }

    /// True if a call of this tool may be repeated when it is unknown whether the first one was made.
    pub fn is_safe(&self, tool: &str) -> bool {
        self.tools.is_safe(tool)
    }

    /// Tells what an agent's call is for: a handoff, a widget, a confirmation or a tool.
    pub fn asked(&self, path: &str, call: &ToolCall) -> CallPurpose {
        let Some(member) = self.agents.get(path) else {
            return CallPurpose::Tool;
        };
        if call.name == handoff::NAME && !member.handoff_to.is_empty() {
            return CallPurpose::Handoff(handoff::read(call, &member.handoff_to));
        }
        let mut widgets = member.widgets.iter();
        if let Some(name) = widgets.find(|name| tool_name(name) == call.name) {
            return CallPurpose::Widget(self.widgets.read(name, &call.arguments));
        }
        let question = self.tools.question(&member.tools, call);
        question.map_or(CallPurpose::Tool, CallPurpose::Confirm)
    }

    /// True if the called tool is known now. False too while its MCP server is disconnected.
    pub fn knows(&self, call: &ToolCall) -> bool {
        self.tools.knows(&call.name)
    }

    /// Checks a widget that an agent or a tool made.
    ///
    /// # Errors
    /// What is wrong, in words for its author.
    pub fn widget(&self, raw: RawWidget) -> std::result::Result<Widget, String> {
        self.widgets.check(raw)
    }

    /// Lets an agent answer.
    ///
    /// # Errors
    /// If the agent does not exist or fails before its first word.
    pub async fn respond(&self, path: &str, turn: &TurnInput) -> Result<AgentReply> {
        match self.agents.get(path) {
            Some(member) => member.agent.respond(turn).await,
            None => Err(Error::new(Code::UnknownAgent)),
        }
    }
}
