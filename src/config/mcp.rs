//! An MCP server whose tools agents can call; `default.toml` explains its settings.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Secret, SettingsProblem,
    rules::{check_headers, check_range},
    tools::MAX_TIMEOUT_SECONDS,
};

/// What stands between an MCP server's name and its tool's.
pub const BETWEEN: &str = "__";

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

/// Adds every problem that a server's settings have.
pub(super) fn check(name: &str, server: &McpSettings, problems: &mut Vec<SettingsProblem>) {
    let at = format!("mcp.{name}");
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || name.len() > 20 || !name.chars().all(well_formed) {
        let text = "a server's name has 1 to 20 of A-Z a-z 0-9 -";
        problems.push(SettingsProblem::new(&at, text));
    }
    if server.command.is_empty() == server.url.is_none() {
        problems.push(SettingsProblem::new(&at, "needs either a command or a url"));
    }
    check_headers(&format!("{at}.headers"), &server.headers, problems);
    let timeout = (server.timeout_seconds, 1..=MAX_TIMEOUT_SECONDS);
    check_range(&format!("{at}.timeout_seconds"), timeout, problems);
}
