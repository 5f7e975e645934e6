//! The settings of a tool, which calls an HTTP endpoint; `default.toml` explains them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Secret, SettingsProblem,
    rules::{check_headers, check_range},
};
use crate::text;

/// The tool with which agents hand a conversation over. Its name is reserved.
pub const HANDOFF: &str = "handoff";
/// Maximum timeout of a tool call, in seconds.
pub(super) const MAX_TIMEOUT_SECONDS: u64 = 300;

/// A tool that agents can call: an HTTP endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSettings {
    /// What the tool is good for; the model reads this.
    pub description: String,
    /// Its address. `{argument}` is replaced by that argument.
    pub url: String,
    /// The HTTP method.
    #[serde(default)]
    pub method: ToolMethod,
    /// Additional headers, which may contain secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// JSON Schema (an object) of its arguments.
    #[serde(default = "no_parameters")]
    pub parameters: Value,
    /// JSON Pointer (RFC 6901) to the part of the response that the model gets; `None`: all of it.
    pub result: Option<String>,
    /// JSON Pointer (RFC 6901) to a widget in the response that is shown.
    pub widget: Option<String>,
    /// The question that the visitor is asked before each call: `Cancel order {order}?`
    pub confirm: Option<String>,
    /// Arguments that come from the context and that the model never sees: the argument, and the context's property.
    #[serde(default)]
    pub inject: BTreeMap<String, String>,
    /// Values stored in the context: the context's property, and a JSON Pointer (RFC 6901) into the response.
    #[serde(default)]
    pub remember: BTreeMap<String, String>,
    /// Timeout of a call, in seconds.
    #[serde(default = "tool_timeout")]
    pub timeout_seconds: u64,
    /// Whether the address may be on this machine or in a private network.
    #[serde(default)]
    pub allow_private: bool,
}

fn no_parameters() -> Value {
    json!({"type": "object", "properties": {}})
}

fn tool_timeout() -> u64 {
    10
}

/// The HTTP method of a tool, which decides where the arguments go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ToolMethod {
    /// Arguments in the query.
    Get,
    /// Arguments in a JSON body.
    #[default]
    Post,
    /// Arguments in a JSON body.
    Put,
    /// Arguments in a JSON body.
    Patch,
    /// Arguments in the query.
    Delete,
}

/// Adds all problems of a tool's settings to `problems`.
pub(super) fn check(name: &str, tool: &ToolSettings, problems: &mut Vec<SettingsProblem>) {
    let at = |key: &str| format!("tools.{name}{key}");
    let mut problem = |key: &str, text: &str| problems.push(SettingsProblem::new(at(key), text));
    let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name == HANDOFF {
        problem("", "is reserved for handoffs: rename the tool");
    }
    if name.is_empty() || name.len() > 64 || !name.chars().all(well_formed) {
        problem(
            "",
            "a tool's name has 1 to 64 characters of A-Z a-z 0-9 _ -",
        );
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
        problem(
            ".inject",
            &format!("{argument} is not one of the parameters"),
        );
    }
    check_headers(&at(".headers"), &tool.headers, problems);
    let timeout = (tool.timeout_seconds, 1..=MAX_TIMEOUT_SECONDS);
    check_range(&at(".timeout_seconds"), timeout, problems);
}

impl ToolSettings {
    /// What is wrong with the address, if anything. Arguments must not be part of the host, or a model could choose it.
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
