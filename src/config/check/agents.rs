//! Checks of the agents' settings that their types cannot express.

use std::collections::BTreeSet;

use crate::{
    config::{
        AgentSettings, FlowSettings, HUMAN, Settings, SettingsProblem, SlotKind, SlotSettings,
        mcp::TOOL_SEPARATOR, rules::check_webhook,
    },
    context::Shape,
    text,
    widgets::{self, WidgetType},
};

/// Adds all problems of the agents to `problems`.
pub(in crate::config) fn check(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    if settings.agents.contains_key(HUMAN) {
        let mend = "is reserved: it stands for the human experts; rename the agent";
        problems.push(SettingsProblem::new(format!("agents.{HUMAN}"), mend));
    }
    for (path, agent) in &settings.agents {
        let mut checked = Checked {
            settings,
            path,
            agent,
            problems,
        };
        checked.itself();
        checked.slots();
        checked.flow();
        checked.tools();
        checked.widgets();
        checked.context();
        checked.handoffs();
    }
}

/// An agent that is being checked.
struct Checked<'a> {
    settings: &'a Settings,
    path: &'a str,
    agent: &'a AgentSettings,
    problems: &'a mut Vec<SettingsProblem>,
}

impl Checked<'_> {
    /// Adds a problem of one of the agent's keys.
    fn problem(&mut self, key: &str, mend: impl Into<String>) {
        let at = format!("agents.{}{key}", self.path);
        self.problems.push(SettingsProblem::new(at, mend));
    }

    fn itself(&mut self) {
        let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/');
        if self.path.is_empty() || self.path.len() > 100 || !self.path.chars().all(well_formed) {
            self.problem(
                "",
                "an agent's path has 1 to 100 characters of A-Z a-z 0-9 _ - /",
            );
        }
        if let Some(webhook) = &self.agent.webhook {
            let at = format!("agents.{}.webhook", self.path);
            check_webhook(webhook, &at, self.problems);
        } else if self.agent.prompt.is_empty() || self.agent.flow.greeting.is_empty() {
            self.problem("", "needs a prompt and a flow, or a webhook that answers");
        }
    }

    fn slots(&mut self) {
        let names = self.slot_names();
        if names.len() != self.agent.slots.len() {
            self.problem(".slots", "two slots have the same name");
        }
        for slot in &self.agent.slots {
            self.patterns(slot);
            let clears = slot.refused_clears.iter();
            for name in clears.filter(|name| !names.contains(name.as_str())) {
                let mend = format!("refused_clears names {name}, which is not a slot");
                self.problem(".slots", mend);
            }
            let can_be_refused =
                slot.implied || slot.refused.is_some() || !slot.refused_clears.is_empty();
            if slot.kind != SlotKind::YesNo && can_be_refused {
                let mend = format!("{}: only a yes_no slot has refused or implied", slot.name);
                self.problem(".slots", mend);
            }
            let texts = [&slot.ask, &slot.retry].into_iter().chain(&slot.refused);
            self.unknown_slots(".slots", texts, &names);
        }
    }

    fn patterns(&mut self, slot: &SlotSettings) {
        for pattern in &slot.volunteered {
            match regex::Regex::new(pattern) {
                Ok(regex) if regex.captures_len() > 1 => {}
                Ok(_) => {
                    let mend = format!("{pattern} has no group to take the value from");
                    self.problem(".slots", mend);
                }
                Err(error) => self.problem(".slots", error.to_string()),
            }
        }
    }

    fn flow(&mut self) {
        let FlowSettings {
            greeting,
            done,
            again,
            bye,
            ..
        } = &self.agent.flow;
        let texts = [greeting, done, again, bye].into_iter();
        self.unknown_slots(".flow", texts, &self.slot_names());
        let AgentSettings {
            flow,
            tools,
            handoff_to,
            ..
        } = self.agent;
        for (key, name, known) in [
            (".flow.tool", &flow.tool, tools),
            (".flow.handoff", &flow.handoff, handoff_to),
        ] {
            if let Some(name) = name.as_ref().filter(|name| !known.contains(name)) {
                self.problem(
                    key,
                    format!("{name} is not in the agent's tools or handoff_to"),
                );
            }
        }
    }

    fn slot_names(&self) -> BTreeSet<String> {
        let names = self.agent.slots.iter().map(|slot| slot.name.clone());
        names.collect()
    }

    /// Checks that texts name only the agent's slots, `first_name` and `result`.
    fn unknown_slots<'t>(
        &mut self,
        key: &str,
        texts: impl Iterator<Item = &'t String>,
        names: &BTreeSet<String>,
    ) {
        for text in texts {
            let beginnings = text.match_indices('{');
            let rests = beginnings.filter_map(|(at, _)| text.split_at_checked(at + 1));
            for (_, rest) in rests {
                let name = rest.split('}').next().unwrap_or_default();
                if !matches!(name, "first_name" | "result") && !names.contains(name) {
                    self.problem(key, format!("{{{name}}} is not a slot of this agent"));
                }
            }
        }
    }

    fn tools(&mut self) {
        for name in &self.agent.tools {
            let server = name.split_once(TOOL_SEPARATOR);
            let server = server.map_or(name.as_str(), |(server, _)| server);
            let is_known =
                self.settings.tools.contains_key(name) || self.settings.mcp.contains_key(server);
            if !is_known {
                self.problem(".tools", format!("there is no tool {name}"));
            }
        }
    }

    fn widgets(&mut self) {
        for name in &self.agent.widgets {
            if !self.settings.widgets.contains_key(name) && WidgetType::parse(name).is_none() {
                self.problem(".widgets", format!("there is no widget {name}"));
            }
            let tool = widgets::tool_name(name);
            if self.agent.tools.contains(&tool) {
                self.problem(".widgets", format!("{tool} is also the name of a tool"));
            }
        }
    }

    fn context(&mut self) {
        if let Some(context) = &self.agent.context
            && let Err(problem) = Shape::new(context, &self.agent.context_from_visitor)
        {
            self.problem(".context", problem);
        }
        // All agents of a conversation share its context, so all must agree on what the visitor may set.
        for name in &self.agent.context_from_visitor {
            let trusts = |other: &AgentSettings| {
                let context = other.context.as_ref();
                let properties = context.map(|context| text::member(context, "properties"));
                properties.is_some_and(|own| own.get(name).is_some())
                    && !other.context_from_visitor.contains(name)
            };
            if self.settings.agents.values().any(trusts) {
                let mend =
                    format!("another agent does not let the visitor set {name} in its context");
                self.problem(".context_from_visitor", mend);
            }
        }
    }

    fn handoffs(&mut self) {
        for to in &self.agent.handoff_to {
            if to == self.path || (to != HUMAN && !self.settings.agents.contains_key(to)) {
                self.problem(".handoff_to", format!("there is no other agent {to}"));
            }
        }
    }
}
