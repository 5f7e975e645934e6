//! Fills in environment variables in settings that hold secrets: `Bearer ${ORDERS_TOKEN}`.

use std::collections::BTreeMap;

use super::{AgentSettings, JudgeSettings, McpSettings, Secret, SettingsProblem, ToolSettings};

/// Fills in the headers of tools.
pub(super) fn fill_tools(
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

/// Fills in the webhook secrets of agents and judges.
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

/// Fills in the headers and environments of MCP servers. Their processes also get `HOME` and `PATH`, which most need.
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
