//! What a tool's section holds; `default.toml` explains it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AgentSettings, JudgeSettings, Secret, Settings, SettingsProblem, rules::check_headers,
};
use crate::{
    context::Shape,
    text,
    widgets::{self, RawWidget, WidgetType, Widgets},
};

/// The tool by which agents hand over: a name that is taken.
pub const HANDOFF: &str = "handoff";
/// Whom agents hand a conversation to that a person has to answer.
pub const HUMAN: &str = "human";
/// What stands between an MCP server's name and its tool's.
pub const BETWEEN: &str = "__";
/// The longest that a call may take, in seconds.
const MAX_TIMEOUT_SECONDS: u64 = 300;

/// A tool that agents can call: an HTTP endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSettings {
    /// What it is good for; the model reads it.
    pub description: String,
    /// Its address. `{argument}` stands for one of the arguments.
    pub url: String,
    /// How it is asked.
    #[serde(default)]
    pub method: ToolMethod,
    /// Sent along; they may hold secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// What its arguments look like: a JSON Schema of an object.
    #[serde(default = "no_parameters")]
    pub parameters: Value,
    /// Where in a JSON answer the result is (RFC 6901); without it the model gets all of it.
    pub result: Option<String>,
    /// Where in a JSON answer there is a widget to show (RFC 6901).
    pub widget: Option<String>,
    /// What the visitor is asked before it is called: `Cancel order {order}?`
    pub confirm: Option<String>,
    /// Arguments that come from the context and not from the model, which does not hear of them: where
    /// in the context each is.
    #[serde(default)]
    pub inject: BTreeMap<String, String>,
    /// What of a JSON answer goes into the context: the name there, and where in the answer it is (RFC 6901).
    #[serde(default)]
    pub remember: BTreeMap<String, String>,
    /// How long a call may take.
    #[serde(default = "tool_timeout")]
    pub timeout_seconds: u64,
    /// Whether it may be an address of this machine or network.
    #[serde(default)]
    pub allow_private: bool,
}

fn no_parameters() -> Value {
    json!({"type": "object", "properties": {}})
}

fn tool_timeout() -> u64 {
    10
}

/// An MCP server, whose tools agents can call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpSettings {
    /// What starts it, for one that talks over stdio.
    #[serde(default)]
    pub command: Vec<String>,
    /// The environment of its process.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// Its address, for one that talks over HTTP.
    pub url: Option<String>,
    /// Sent along.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Which of its tools there are; all without it.
    pub tools: Option<Vec<String>>,
    /// What the visitor is asked before a tool is called, by its name.
    #[serde(default)]
    pub confirm: BTreeMap<String, String>,
    /// How long a call may take.
    #[serde(default = "mcp_timeout")]
    pub timeout_seconds: u64,
}

fn mcp_timeout() -> u64 {
    30
}

/// A widget that agents show, made beforehand.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WidgetSettings {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: WidgetType,
    /// What it is good for; the model reads it.
    #[serde(default)]
    pub description: String,
    /// What it shows.
    #[serde(default)]
    pub data: Value,
}

/// How a tool's endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ToolMethod {
    /// With the arguments as query.
    Get,
    /// With the arguments as JSON body, as the next two.
    #[default]
    Post,
    /// As `POST`.
    Put,
    /// As `POST`.
    Patch,
    /// As `GET`.
    Delete,
}

/// Puts the environment's values into secrets: `Bearer ${ORDERS_TOKEN}`.
pub(super) fn fill_secrets(
    tools: &mut BTreeMap<String, ToolSettings>,
    env: &BTreeMap<String, String>,
    problems: &mut Vec<SettingsProblem>,
) {
    for (tool, settings) in tools {
        for (header, value) in &mut settings.headers {
            fill(
                value,
                || format!("tools.{tool}.headers.{header}"),
                env,
                problems,
            );
        }
    }
}

/// The same for services that answer, and that judge.
pub(super) fn fill_webhooks(
    agents: &mut BTreeMap<String, AgentSettings>,
    judges: &mut BTreeMap<String, JudgeSettings>,
    env: &BTreeMap<String, String>,
    problems: &mut Vec<SettingsProblem>,
) {
    let agents = agents
        .iter_mut()
        .map(|(path, agent)| (format!("agents.{path}"), &mut agent.webhook));
    let judges = judges
        .iter_mut()
        .map(|(name, judge)| (format!("judges.{name}"), &mut judge.webhook));
    for (owner, webhook) in agents.chain(judges) {
        if let Some(webhook) = webhook {
            let at = || format!("{owner}.webhook.secret");
            fill(&mut webhook.secret, at, env, problems);
        }
    }
}

/// The same for MCP servers. Their processes also get the two variables that few can do without.
pub(super) fn fill_mcp(
    servers: &mut BTreeMap<String, McpSettings>,
    env: &BTreeMap<String, String>,
    problems: &mut Vec<SettingsProblem>,
) {
    for (server, settings) in servers {
        for (name, value) in &mut settings.headers {
            fill(
                value,
                || format!("mcp.{server}.headers.{name}"),
                env,
                problems,
            );
        }
        for (name, value) in &mut settings.env {
            fill(value, || format!("mcp.{server}.env.{name}"), env, problems);
        }
        for name in ["HOME", "PATH"] {
            if let Some(value) = env.get(name) {
                let own = settings.env.entry(name.to_owned());
                own.or_insert_with(|| Secret::new(value.clone()));
            }
        }
    }
}

fn fill(
    value: &mut Secret,
    at: impl Fn() -> String,
    env: &BTreeMap<String, String>,
    problems: &mut Vec<SettingsProblem>,
) {
    let mut filled = String::new();
    let mut rest = value.reveal();
    while let Some((before, (name, after))) = rest
        .split_once("${")
        .and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        filled.push_str(before);
        match env.get(name) {
            Some(secret) => filled.push_str(secret.trim()),
            None => {
                let text = format!("{name} is not set in the environment");
                problems.push(SettingsProblem::new(at(), text));
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    *value = Secret::new(filled);
}

impl Settings {
    /// The configured widgets, ready to be shown.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn made_widgets(&self) -> Result<Widgets, Vec<(String, String)>> {
        let mut widgets = Widgets::new(&self.server.widget_callback_origins);
        let mut problems = Vec::new();
        for (name, settings) in &self.widgets {
            let raw = RawWidget::new(settings.kind.as_str(), settings.data.clone());
            if let Err(problem) = widgets.add(name, &settings.description, raw) {
                problems.push((name.clone(), problem));
            }
        }
        match problems.is_empty() {
            true => Ok(widgets),
            false => Err(problems),
        }
    }
}

/// Adds every problem that the tools have, and the agents with theirs.
pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingsProblem>) {
    for (name, tool) in &settings.tools {
        let mut problem = |key: &str, text: String| {
            problems.push(SettingsProblem::new(format!("tools.{name}{key}"), text));
        };
        let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name == HANDOFF {
            problem("", "is the tool by which agents hand over".to_owned());
        }
        if name.is_empty() || name.len() > 64 || !name.chars().all(well_formed) {
            problem(
                "",
                "a tool's name has 1 to 64 of A-Z a-z 0-9 _ -".to_owned(),
            );
        }
        if let Some(text) = tool.url_problem() {
            problem(".url", text.to_owned());
        }
        if tool.parameters.get("type") != Some(&json!("object")) {
            problem(
                ".parameters",
                "must be a JSON Schema with type = \"object\"".to_owned(),
            );
        } else if let Err(error) = jsonschema::validator_for(&tool.parameters) {
            problem(".parameters", error.to_string());
        }
        let pointers = [(".result", &tool.result), (".widget", &tool.widget)];
        let pointers = pointers
            .into_iter()
            .filter_map(|(key, at)| Some((key, at.as_ref()?)));
        let remembered = tool.remember.values().map(|at| (".remember", at));
        for (key, pointer) in pointers.chain(remembered) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                problem(key, "must be a JSON Pointer: /order/status".to_owned());
            }
        }
        let known = text::member(&tool.parameters, "properties");
        for argument in tool.inject.keys().filter(|name| known.get(*name).is_none()) {
            problem(".inject", format!("{argument} is none of the parameters"));
        }
        check_headers(&format!("tools.{name}.headers"), &tool.headers, problems);
        let mut problem = |key: &str, text: String| {
            problems.push(SettingsProblem::new(format!("tools.{name}{key}"), text));
        };
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&tool.timeout_seconds) {
            problem(
                ".timeout_seconds",
                format!("must be from 1 to {MAX_TIMEOUT_SECONDS}"),
            );
        }
    }
    for (name, server) in &settings.mcp {
        let at = format!("mcp.{name}");
        let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || name.len() > 20 || !name.chars().all(well_formed) {
            problems.push(SettingsProblem::new(
                &at,
                "a server's name has 1 to 20 of A-Z a-z 0-9 -",
            ));
        }
        if server.command.is_empty() == server.url.is_none() {
            problems.push(SettingsProblem::new(&at, "needs either a command or a url"));
        }
        check_headers(&format!("{at}.headers"), &server.headers, problems);
        if !(1..=MAX_TIMEOUT_SECONDS).contains(&server.timeout_seconds) {
            let text = format!("must be from 1 to {MAX_TIMEOUT_SECONDS}");
            problems.push(SettingsProblem::new(format!("{at}.timeout_seconds"), text));
        }
    }
    for (name, problem) in settings.made_widgets().err().into_iter().flatten() {
        problems.push(SettingsProblem::new(format!("widgets.{name}"), problem));
    }
    for (path, agent) in &settings.agents {
        for name in &agent.tools {
            let server = name
                .split_once("__")
                .map_or(name.as_str(), |(server, _)| server);
            if !settings.tools.contains_key(name) && !settings.mcp.contains_key(server) {
                let text = format!("{name} is none of the tools");
                problems.push(SettingsProblem::new(format!("agents.{path}.tools"), text));
            }
        }
        if let Some(context) = &agent.context {
            let shape = Shape::new(context, &agent.context_from_visitor);
            for problem in shape.err().into_iter() {
                problems.push(SettingsProblem::new(
                    format!("agents.{path}.context"),
                    problem,
                ));
            }
        }
        // One conversation has one context, whoever answers in it.
        for name in &agent.context_from_visitor {
            let trusts = |other: &&AgentSettings| {
                let context = other.context.as_ref();
                let properties = context.map(|context| text::member(context, "properties"));
                properties.is_some_and(|own| own.get(name).is_some())
                    && !other.context_from_visitor.contains(name)
            };
            if settings.agents.values().any(|other| trusts(&other)) {
                let at = format!("agents.{path}.context_from_visitor");
                let text = format!("another agent has {name} in its context, not from the visitor");
                problems.push(SettingsProblem::new(at, text));
            }
        }
        let flow = &agent.flow;
        for (key, name, known) in [
            ("tool", &flow.tool, &agent.tools),
            ("handoff", &flow.handoff, &agent.handoff_to),
        ] {
            if let Some(name) = name.as_ref().filter(|name| !known.contains(name)) {
                let at = format!("agents.{path}.flow.{key}");
                problems.push(SettingsProblem::new(
                    at,
                    format!("the agent was not given {name}"),
                ));
            }
        }
        for name in &agent.widgets {
            let at = format!("agents.{path}.widgets");
            if !settings.widgets.contains_key(name) && WidgetType::parse(name).is_none() {
                problems.push(SettingsProblem::new(
                    &at,
                    format!("{name} is none of the widgets"),
                ));
            }
            let tool = widgets::tool_name(name);
            if agent.tools.contains(&tool) {
                problems.push(SettingsProblem::new(
                    &at,
                    format!("{tool} is the name of a tool too"),
                ));
            }
        }
        for to in &agent.handoff_to {
            if to == path || (to != HUMAN && !settings.agents.contains_key(to)) {
                let text = format!("{to} is none of the other agents");
                problems.push(SettingsProblem::new(
                    format!("agents.{path}.handoff_to"),
                    text,
                ));
            }
        }
    }
}

impl ToolSettings {
    /// What is wrong with the address, whatever its arguments will be: they must not choose the host.
    fn url_problem(&self) -> Option<&'static str> {
        let scheme_and_host = self.url.splitn(4, '/').take(3);
        if scheme_and_host
            .into_iter()
            .any(|part| part.contains(['{', '}']))
        {
            return Some("an argument cannot be part of the host");
        }
        let is_web = url::Url::parse(&self.url).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
        });
        (!is_web).then_some("must be an http or https URL without a name and password in it")
    }
}
