//! Agents: who answers a visitor.
//!
//! Who answers, a [`Respond`], gets what a turn knows and gives a [`AgentReply`]: text as it comes, and effects
//! that the turn applies. It never reaches up to the turn or the store.
//! Configured agents are prompts where there is a model ([`llm`]) and flows where there is
//! none ([`flow`]); the [`router`] chooses one for a session that has none yet.

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

/// Somebody who answers, of whatever kind: with a model, by a flow, in Rust ([`Agent`]), elsewhere.
pub trait Respond: Send + Sync {
    /// Answers the last message of the turn's history. Returning is having begun to answer.
    fn respond<'a>(&'a self, turn: &'a TurnInput) -> BoxFuture<'a, Result<AgentReply>>;

    /// What it knows of a visitor when their session starts, beside its defaults.
    fn create_context<'a>(
        &'a self,
        _turn: &'a TurnInput,
    ) -> BoxFuture<'a, Result<Map<String, Value>>> {
        Box::pin(std::future::ready(Ok(Map::new())))
    }
}

/// An agent that a program brings.
pub(crate) struct NewAgent {
    pub path: String,
    pub description: String,
    pub agent: Arc<dyn Respond>,
    /// What its context looks like.
    pub context: Option<Value>,
    /// What a person has to know who goes on where it leaves.
    pub skill: Option<String>,
}

/// The agents of a desk.
pub struct Agents {
    agents: BTreeMap<String, RegisteredAgent>,
    tools: Arc<Tools>,
    widgets: Widgets,
    router: Router,
}

/// An agent and what the desk knows of it.
struct RegisteredAgent {
    agent: Arc<dyn Respond>,
    /// The tools that it was given.
    tools: Vec<String>,
    /// The widgets that it may show.
    widgets: Vec<String>,
    /// What may be known of its visitors.
    context: Option<Shape>,
    /// The agents that it may hand the conversation to.
    handoff_to: Vec<String>,
    session_ttl: Option<Duration>,
    when_busy: WhenBusy,
    /// How often it may call tools in a turn, where it has a limit of its own.
    tool_rounds: Option<u32>,
    /// Whether it does nothing but speak, as long as it may call no tool.
    only_speaks: bool,
    /// The judge that passes each of its sentences.
    guard: Option<String>,
    /// What a person has to know who goes on where it leaves.
    skill: Option<String>,
    /// Whether what it says after its tools goes on where it was, and is no paragraph of its own.
    goes_on: bool,
}

impl Agents {
    /// Whether there is an agent of this path.
    pub fn contains(&self, path: &str) -> bool {
        self.agents.contains_key(path)
    }

    /// How long a session on this agent lives, where it has a life of its own.
    pub fn session_ttl(&self, path: &str) -> Option<Duration> {
        self.agents.get(path)?.session_ttl
    }

    /// What becomes of a message that comes while this agent answers another one; of a session that
    /// has none yet, the default agent.
    pub fn when_busy(&self, path: Option<&str>) -> WhenBusy {
        let path = path.unwrap_or_else(|| self.router.default_agent());
        let member = self.agents.get(path);
        member.map_or(WhenBusy::Queue, |member| member.when_busy)
    }

    /// The agent for a turn: the one that holds the session, unless it is gone or another is
    /// plainly meant; the router's choice for a session that has none. `may_move` is false where
    /// the caller has just asked for this agent. And what the choice has cost.
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

    /// The judge that passes each of an agent's sentences before it is shown.
    pub fn guard(&self, path: &str) -> Option<&str> {
        self.agents.get(path)?.guard.as_deref()
    }

    /// What a person has to know who goes on from an agent.
    pub fn skill(&self, path: &str) -> Option<&str> {
        self.agents.get(path)?.skill.as_deref()
    }

    /// Whether an agent can be asked what it would say.
    pub fn can_draft(&self, path: &str) -> bool {
        self.agents
            .get(path)
            .is_some_and(|member| member.only_speaks)
    }

    /// How often an agent may call tools in a turn, where it has a limit of its own.
    pub fn tool_rounds(&self, path: &str) -> Option<u32> {
        self.agents.get(path)?.tool_rounds
    }

    /// Whether what an agent says now is another paragraph than what was said before.
    pub fn begins_a_paragraph(&self, path: &str, turn: &TurnInput) -> bool {
        let goes_on = self.agents.get(path).is_some_and(|member| member.goes_on);
        !goes_on || turn.own_rounds().next().is_none()
    }

    /// Connects to the MCP servers that agents have, so that nobody waits for it later.
    pub async fn connect(&self) {
        self.tools.connect().await;
    }

    /// Whether an agent was given a tool.
    pub fn has_tool(&self, path: &str, tool: &str) -> bool {
        let member = self.agents.get(path);
        member.is_some_and(|member| self.tools.is_given(&member.tools, tool))
    }

    /// Calls a tool as an agent asks for it.
    pub async fn call(&self, path: &str, calling: ToolInvocation<'_>) -> ToolOutcome {
        let given = self.agents.get(path).map(|member| member.tools.as_slice());
        self.tools.call(given.unwrap_or_default(), calling).await
    }

    /// Connects to the MCP servers whose tools are called, where they are not connected.
    pub async fn reach(&self, calls: &[ToolCall]) {
        self.tools.reach(calls).await;
    }

    /// What is known of a visitor when their session starts on an agent: what the caller says of them, and
    /// the agent's defaults. `by` is who says it.
    ///
    /// # Errors
    /// `invalid_context`, when it does not fit.
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

    /// What a token's claims say that any of the agents wants to know.
    pub fn claimed(&self, claims: &Map<String, Value>) -> Map<String, Value> {
        let shapes = self
            .agents
            .values()
            .filter_map(|member| member.context.as_ref());
        shapes.flat_map(|shape| shape.claimed(claims)).collect()
    }

    /// What an agent knows of a visitor whom it meets first: what was known before, and what it adds, its
    /// defaults and, where the session starts with it, what it makes of it.
    ///
    /// # Errors
    /// When the agent fails.
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

    /// Whether an agent may know this of a visitor.
    pub fn may_know(&self, path: &str, context: &Map<String, Value>) -> bool {
        let shape = self
            .agents
            .get(path)
            .and_then(|member| member.context.as_ref());
        shape.is_none_or(|shape| shape.fits(context))
    }

    /// Whether a tool may be called again where it is not known whether it was.
    pub fn is_safe(&self, tool: &str) -> bool {
        self.tools.is_safe(tool)
    }

    /// What an agent's call is for.
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

    /// Whether the tool that is called is known at this moment: a server may be away that has it.
    pub fn knows(&self, call: &ToolCall) -> bool {
        self.tools.knows(&call.name)
    }

    /// A widget that an agent or a tool made, if it is one.
    ///
    /// # Errors
    /// In words for the one who made it.
    pub fn widget(&self, raw: RawWidget) -> std::result::Result<Widget, String> {
        self.widgets.check(raw)
    }

    /// Lets an agent answer.
    ///
    /// # Errors
    /// When the agent fails before its first word.
    pub async fn respond(&self, path: &str, turn: &TurnInput) -> Result<AgentReply> {
        match self.agents.get(path) {
            Some(member) => member.agent.respond(turn).await,
            None => Err(Error::new(Code::UnknownAgent)),
        }
    }
}
