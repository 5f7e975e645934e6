//! Builds all agents from the configuration and from those that the program adds in code.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Agents, NewAgent, RegisteredAgent, Respond, agent_tools::AgentTools, flow::FlowAgent,
    llm::LlmAgent, router::Router, slots::Slots, webhook::WebhookAgent,
};
use crate::{
    config::{AgentSettings, HUMAN, Settings, WhenBusy},
    context::Shape,
    http::Clients,
    llm::{Models, ToolSpec},
    tools::{Tools, handoff},
    widgets::{Widgets, tool_name},
};

/// Everything that is needed to build agents.
struct Parts<'a> {
    settings: &'a Settings,
    models: &'a Arc<Models>,
    tools: &'a Arc<Tools>,
    widgets: &'a Widgets,
    clients: &'a Arc<Clients>,
}

impl Agents {
    /// Builds the configured agents and those added in code (`coded`).
    ///
    /// # Errors
    /// If a slot's pattern is invalid; the configuration check reports it earlier.
    pub(crate) fn new(
        settings: &Settings,
        models: &Arc<Models>,
        tools: Arc<Tools>,
        coded: Vec<NewAgent>,
        clients: &Arc<Clients>,
    ) -> Result<Self, regex::Error> {
        // The configuration check has already reported invalid widgets.
        let widgets = settings.made_widgets().unwrap_or_default();
        let parts = Parts {
            settings,
            models,
            tools: &tools,
            widgets: &widgets,
            clients,
        };
        let mut agents = BTreeMap::new();
        for (path, agent) in &settings.agents {
            agents.insert(path.clone(), parts.configured(path, agent)?);
        }
        let router = Router::new(settings, &coded, models);
        let brought = coded.iter().map(|new| new.path.clone());
        let paths: Vec<String> = agents.keys().cloned().chain(brought).collect();
        for new in coded {
            agents.insert(new.path.clone(), brought_along(new, &paths, &tools));
        }
        Ok(Self {
            agents,
            tools,
            widgets,
            router,
        })
    }
}

impl Parts<'_> {
    fn configured(
        &self,
        path: &str,
        agent: &AgentSettings,
    ) -> Result<RegisteredAgent, regex::Error> {
        let exists = |to: &&String| to.as_str() == HUMAN || self.settings.agents.contains_key(*to);
        let handoff_to: Vec<String> = agent.handoff_to.iter().filter(exists).cloned().collect();
        let shape = agent
            .context
            .as_ref()
            .and_then(|schema| Shape::new(schema, &agent.context_from_visitor).ok());
        Ok(RegisteredAgent {
            agent: self.answering(path, agent, &handoff_to, shape.clone())?,
            tools: agent.tools.clone(),
            widgets: agent.widgets.clone(),
            context: shape,
            handoff_to,
            session_ttl: agent.session_ttl_seconds.map(Duration::from_secs),
            when_busy: agent.when_busy,
            tool_rounds: agent.tool_rounds,
            goes_on: false,
            guard: agent.guard.clone(),
            skill: agent.skill.clone(),
            only_speaks: agent.webhook.is_none(),
        })
    }

    /// The agent's implementation: a webhook, a model or a flow.
    fn answering(
        &self,
        path: &str,
        agent: &AgentSettings,
        handoff_to: &[String],
        shape: Option<Shape>,
    ) -> Result<Arc<dyn Respond>, regex::Error> {
        if let Some(webhook) = &agent.webhook {
            let clients = Arc::clone(self.clients);
            return Ok(Arc::new(WebhookAgent::new(path, webhook, shape, clients)));
        }
        let slots = Slots::new(agent)?;
        let others = self.shown(agent).chain(self.handoff(handoff_to));
        let given = AgentTools::new(self.tools, &agent.tools, others);
        // Without a default model the server is offline: an agent's own model is not used either.
        let Some(default) = self.models.default_model() else {
            let delay = self.settings.offline.word_delay();
            return Ok(Arc::new(FlowAgent::new(path, agent, slots, given, delay)));
        };
        let own = agent.model.as_deref().map(|spec| self.models.model(spec));
        let mut model = own.unwrap_or(default);
        if let Some(fallbacks) = &agent.fallbacks {
            model.settings.fallbacks.clone_from(fallbacks);
        }
        let models = Arc::clone(self.models);
        Ok(Arc::new(LlmAgent::new(
            path, agent, slots, given, model, models,
        )))
    }

    /// One tool for each widget that the agent may show.
    fn shown(&self, agent: &AgentSettings) -> impl Iterator<Item = ToolSpec> {
        agent.widgets.iter().filter_map(|name| {
            let (description, parameters) = self.widgets.described(name)?;
            Some(ToolSpec {
                name: tool_name(name),
                description,
                parameters,
            })
        })
    }

    /// The handoff tool; `None` if the agent may not hand over.
    fn handoff(&self, to: &[String]) -> Option<ToolSpec> {
        let others = to.iter().map(|to| {
            let what = match self.settings.agents.get(to) {
                Some(other) => other.description.as_str(),
                None => "A person at the desk, where you cannot help or the visitor wants one.",
            };
            (to.as_str(), what)
        });
        (!to.is_empty()).then(|| handoff::spec(others))
    }
}

/// Registers an agent added in code. It is trusted: it may call every tool and hand over to every agent.
fn brought_along(new: NewAgent, paths: &[String], tools: &Tools) -> RegisteredAgent {
    let others = paths.iter().filter(|path| **path != new.path);
    RegisteredAgent {
        agent: new.agent,
        tools: tools.names(),
        widgets: Vec::new(),
        context: new.context.and_then(|schema| Shape::new(&schema, &[]).ok()),
        handoff_to: others.cloned().chain([HUMAN.to_owned()]).collect(),
        session_ttl: None,
        when_busy: WhenBusy::Queue,
        tool_rounds: None,
        only_speaks: false,
        guard: None,
        skill: new.skill,
        goes_on: true,
    }
}
