//! Agents: who answers a visitor.
//!
//! An [`Agent`] gets what a turn knows and gives a [`Reply`]: text as it comes, and effects
//! that the turn applies when it finishes. It never reaches up to the turn or the store.
//! Configured agents are prompts where there is a model ([`llm`]) and flows where there is
//! none ([`flow`]); the [`router`] chooses one for a session that has none yet.

mod flow;
mod llm;
mod memory;
mod router;
mod slots;
mod times;
mod words;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::BoxStream};
use serde_json::Value;

use crate::{
    config::{Settings, WhenBusy},
    error::{Error, Result},
    llm::{Chunk, Models, ToolCall, ToolResult},
    store::{TurnId, messages::Message},
    tools::{
        Tools,
        handoff::{self, Handoff},
    },
};
use router::Router;

/// Somebody who answers. Strangers plug in here.
pub trait Agent: Send + Sync {
    /// Answers the last message of the turn's history. Returning is having begun to answer.
    fn respond<'a>(&'a self, turn: &'a TurnInput) -> BoxFuture<'a, Result<Reply>>;
}

/// What an agent knows of a turn.
#[derive(Debug, Clone)]
pub struct TurnInput {
    /// The conversation as far as it fits, oldest first. The last message is the visitor's.
    pub history: Vec<Message>,
    /// What the agents remember of this conversation.
    pub state: Value,
    /// The visitor's name, where a conversation begins with somebody known.
    pub user_name: Option<String>,
    /// The tools that were called in this turn, and what came of it.
    pub rounds: Vec<Round>,
    /// Whether it may call more.
    pub may_call: bool,
    /// What tools did in earlier turns that were not answered to the end.
    pub unfinished: Vec<String>,
    /// Who handed the conversation to it in this turn.
    pub handed_over: Option<HandedOver>,
}

/// A conversation that another agent had before, in the same turn.
#[derive(Debug, Clone)]
pub struct HandedOver {
    /// The other agent.
    pub from: String,
    /// What it said of it.
    pub handoff: Handoff,
    /// How many of the turn's rounds were its own, or of those before it.
    pub rounds: usize,
}

/// Tools that an agent called at once.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// What it said before.
    pub text: String,
    /// The calls.
    pub calls: Vec<ToolCall>,
    /// What came of each, in the same order.
    pub results: Vec<ToolResult>,
}

impl TurnInput {
    /// The rounds of the agent that is asked. It reads what is said of those before it, not them.
    pub fn own_rounds(&self) -> impl Iterator<Item = &Round> {
        let before = self.handed_over.as_ref().map_or(0, |handed| handed.rounds);
        self.rounds.iter().skip(before)
    }

    /// The text that is to be answered: what the visitor said last, and with it what came just before
    /// and is answered by the same turn.
    pub fn text(&self) -> Cow<'_, str> {
        let Some(last) = self.history.last() else {
            return Cow::Borrowed("");
        };
        let asked = self.history.iter().rev();
        let asked = asked
            .take_while(|message| message.turn_id == last.turn_id && message.role == last.role);
        let mut asked: Vec<&str> = asked.map(|message| message.body.as_str()).collect();
        asked.reverse();
        match asked.as_slice() {
            [alone] => Cow::Borrowed(alone),
            several => Cow::Owned(several.join("\n")),
        }
    }
}

impl Round {
    /// Where it handed the conversation to.
    pub fn handoff(&self) -> Option<Handoff> {
        let mut calls = self.calls.iter().zip(&self.results);
        let (call, _) =
            calls.find(|(call, result)| call.name == handoff::NAME && !result.is_error)?;
        serde_json::from_str(&call.arguments).ok()
    }

    /// How much of it a model has to read.
    pub fn bytes(&self) -> usize {
        let calls = self.calls.iter().map(|call| call.arguments.len());
        let results = self.results.iter().map(|result| result.content.len());
        calls.chain(results).sum()
    }
}

/// An answer, as it is made.
pub struct Reply {
    /// The text and the calls of tools, up to the chunk that has a finish reason. After calls the agent
    /// is asked again, with what came of them.
    pub chunks: BoxStream<'static, Result<Chunk>>,
    /// What changes by it.
    pub effects: Effects,
}

/// What an answer changes. The turn applies it when it finishes, in the same transaction.
#[derive(Debug, Default)]
pub struct Effects {
    /// What the agents remember from now on.
    pub state: Option<Value>,
    /// The visitor's name, if it was learnt.
    pub user_name: Option<String>,
}

/// The agents of a desk.
pub struct Agents {
    agents: BTreeMap<String, Member>,
    tools: Arc<Tools>,
    router: Router,
}

/// An agent and what the desk knows of it.
struct Member {
    agent: Arc<dyn Agent>,
    /// The tools that it was given.
    tools: Vec<String>,
    /// The agents that it may hand the conversation to.
    handoff_to: Vec<String>,
    session_ttl: Option<Duration>,
    when_busy: WhenBusy,
}

impl Agents {
    /// The configured agents, with a model or without one.
    ///
    /// # Errors
    /// When a slot's pattern is not valid; the configuration's check finds it first.
    pub fn new(
        settings: &Settings,
        models: &Arc<Models>,
        tools: Arc<Tools>,
    ) -> std::result::Result<Self, regex::Error> {
        let default_model = models.default_model();
        let mut agents = BTreeMap::new();
        for (path, agent) in &settings.agents {
            let slots = slots::Slots::new(agent)?;
            let own_model = agent.model.as_deref().map(|spec| models.model(spec));
            // Offline is offline: then an agent's own model does not count either.
            let model = default_model
                .clone()
                .map(|default| own_model.unwrap_or(default));
            let others = agent.handoff_to.iter().filter_map(|to| {
                let other = settings.agents.get(to)?;
                Some((to.as_str(), other.description.as_str()))
            });
            let handoff = (!agent.handoff_to.is_empty()).then(|| handoff::spec(others));
            let specs = tools.specs(&agent.tools).into_iter().chain(handoff);
            let specs = specs.collect();
            let respond: Arc<dyn Agent> = match model {
                Some(model) => Arc::new(llm::LlmAgent::new(
                    path,
                    agent,
                    slots,
                    specs,
                    model,
                    Arc::clone(models),
                )),
                None => Arc::new(flow::FlowAgent::new(
                    path,
                    agent,
                    slots,
                    settings.offline.word_delay(),
                )),
            };
            let session_ttl = agent.session_ttl_seconds.map(Duration::from_secs);
            agents.insert(
                path.clone(),
                Member {
                    agent: respond,
                    tools: agent.tools.clone(),
                    handoff_to: agent.handoff_to.clone(),
                    session_ttl,
                    when_busy: agent.when_busy,
                },
            );
        }
        Ok(Self {
            agents,
            tools,
            router: Router::new(settings, default_model, Arc::clone(models)),
        })
    }

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
    /// the caller has just asked for this agent.
    pub async fn choose(&self, present: Option<&str>, may_move: bool, turn: &TurnInput) -> String {
        match present.filter(|path| self.contains(path)) {
            Some(present) if may_move => self
                .router
                .reconsider(present, turn)
                .unwrap_or_else(|| present.to_owned()),
            Some(present) => present.to_owned(),
            None => self.router.route(turn).await,
        }
    }

    /// Whether an agent was given a tool.
    pub fn has_tool(&self, path: &str, tool: &str) -> bool {
        let member = self.agents.get(path);
        member.is_some_and(|member| member.tools.iter().any(|given| given == tool))
    }

    /// Calls a tool as an agent asks for it.
    pub async fn call(&self, path: &str, call: &ToolCall, turn: TurnId) -> ToolResult {
        let given = self.agents.get(path).map(|member| member.tools.as_slice());
        self.tools.call(given.unwrap_or_default(), call, turn).await
    }

    /// Whether a tool may be called again where it is not known whether it was.
    pub fn is_safe(&self, tool: &str) -> bool {
        self.tools.is_safe(tool)
    }

    /// Where an agent's call hands the conversation to; none if it is a call of another tool.
    ///
    /// # Errors
    /// In words for the model, when it cannot be handed there.
    pub fn handoff(
        &self,
        path: &str,
        call: &ToolCall,
    ) -> Option<std::result::Result<Handoff, String>> {
        let others = &self.agents.get(path)?.handoff_to;
        let is_handoff = call.name == handoff::NAME && !others.is_empty();
        is_handoff.then(|| handoff::read(call, others))
    }

    /// Lets an agent answer.
    ///
    /// # Errors
    /// When the agent fails before its first word.
    pub async fn respond(&self, path: &str, turn: &TurnInput) -> Result<Reply> {
        match self.agents.get(path) {
            Some(member) => member.agent.respond(turn).await,
            None => Err(Error::new(crate::error::Code::UnknownAgent)),
        }
    }
}
