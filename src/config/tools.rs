//! A tool that calls an HTTP endpoint; `default.toml` explains its settings.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Secret, SettingsProblem,
    rules::{check_headers, check_range},
};
use crate::text;

/// The tool by which agents hand over: a name that is taken.
pub const HANDOFF: &str = "handoff";
/// The longest that a call of a tool may take, in seconds.
pub(super) const MAX_TIMEOUT_SECONDS: u64 = 300;

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

/// Adds every problem that a tool's settings have.
pub(super) fn check(name: &str, tool: &ToolSettings, problems: &mut Vec<SettingsProblem>) {
    let at = |key: &str| format!("tools.{name}{key}");
    let mut problem = |key: &str, text: &str| problems.push(SettingsProblem::new(at(key), text));
    let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name == HANDOFF {
        problem("", "is the tool by which agents hand over");
    }
    if name.is_empty() || name.len() > 64 || !name.chars().all(well_formed) {
        problem("", "a tool's name has 1 to 64 of A-Z a-z 0-9 _ -");
    }
    if let Some(text) = tool.url_problem() {
        problem(".url", text);
    }
    if tool.parameters.get("type") != Some(&json!("object")) {
        problem(
            ".parameters",
            "must be a JSON Schema with type = \"object\"",
        );
    } else if let Err(error) = jsonschema::validator_for(&tool.parameters) {
        problem(".parameters", &error.to_string());
    }
    let pointers = [(".result", &tool.result), (".widget", &tool.widget)];
    let pointers = pointers
        .into_iter()
        .filter_map(|(key, at)| Some((key, at.as_ref()?)));
    let remembered = tool.remember.values().map(|at| (".remember", at));
    for (key, pointer) in pointers.chain(remembered) {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            problem(key, "must be a JSON Pointer: /order/status");
        }
    }
    let known = text::member(&tool.parameters, "properties");
    for argument in tool.inject.keys().filter(|name| known.get(*name).is_none()) {
        problem(".inject", &format!("{argument} is none of the parameters"));
    }
    check_headers(&at(".headers"), &tool.headers, problems);
    let timeout = (tool.timeout_seconds, 1..=MAX_TIMEOUT_SECONDS);
    check_range(&at(".timeout_seconds"), timeout, problems);
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
