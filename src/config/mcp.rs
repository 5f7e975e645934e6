//! The settings of an MCP server, whose tools agents can call; `default.toml` explains them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Secret, SettingsProblem,
    rules::{check_headers, check_range},
    tools::MAX_TIMEOUT_SECONDS,
};

/// Separates the server's name from the tool's name in the names that models call.
pub const TOOL_SEPARATOR: &str = "__";

/// An MCP server, whose tools agents can call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpSettings {
    /// The command that starts it, for a server over stdio.
    #[serde(default)]
    pub command: Vec<String>,
    /// The environment variables of its process.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// Its address, for a server over HTTP.
    pub url: Option<String>,
    /// Additional headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// The tools to offer; `None`: all of the server's.
    pub tools: Option<Vec<String>>,
    /// By tool: the question that the visitor is asked before each call.
    #[serde(default)]
    pub confirm: BTreeMap<String, String>,
    /// Timeout of a call, in seconds.
    #[serde(default = "mcp_timeout")]
    pub timeout_seconds: u64,
}

fn mcp_timeout() -> u64 {
    30
}

/// Adds all problems of a server's settings to `problems`.
pub(super) fn check(name: &str, server: &McpSettings, problems: &mut Vec<SettingsProblem>) {
    let at = format!("mcp.{name}");
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || name.len() > 20 || !name.chars().all(well_formed) {
        let text = "a server's name has 1 to 20 characters of A-Z a-z 0-9 -";
        problems.push(SettingsProblem::new(&at, text));
    }
    if server.command.is_empty() == server.url.is_none() {
        problems.push(SettingsProblem::new(&at, "needs either a command or a url"));
    }
    check_headers(&format!("{at}.headers"), &server.headers, problems);
    let timeout = (server.timeout_seconds, 1..=MAX_TIMEOUT_SECONDS);
    check_range(&format!("{at}.timeout_seconds"), timeout, problems);
}
