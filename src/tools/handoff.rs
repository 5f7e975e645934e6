//! The tool with which an agent hands the conversation to another agent. It does nothing itself: the turn
//! lets the other agent continue.

use serde::Deserialize;
use serde_json::json;

use crate::{
    config,
    llm::{ToolCall, ToolSpec},
};

/// The tool's name.
pub const NAME: &str = config::HANDOFF;
/// Maximum length of the reason and of the summary, in characters; the rest is cut off.
const MAX_HANDOFF_CHARACTERS: usize = 2_000;

/// A handoff to another agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Handoff {
    /// Path of the agent that continues.
    #[serde(rename = "agent")]
    pub to: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What the other agent has to know.
    #[serde(default)]
    pub summary: String,
}

/// The tool's spec. It lists the agents and what each is for.
pub fn spec<'a>(agents: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> ToolSpec {
    let paths: Vec<&str> = agents.clone().map(|(path, _)| path).collect();
    let list: Vec<String> = agents
        .map(|(path, what)| format!("{path}: {what}"))
        .collect();
    ToolSpec {
        name: NAME.to_owned(),
        description: format!(
            "Hands the conversation to another agent, who answers at once. Say nothing after it. {}",
            list.join(" ")
        ),
        parameters: json!({
            "type": "object",
            "properties": {
                "agent": {"type": "string", "enum": paths},
                "reason": {"type": "string", "description": "Why, in one sentence."},
                "summary": {"type": "string", "description": "What the other agent has to know."},
            },
            "required": ["agent", "reason", "summary"],
        }),
    }
}

/// Parses a handoff call.
///
/// # Errors
/// What is wrong, in words for the model, if the agent may not hand over there.
pub fn read(call: &ToolCall, agents: &[String]) -> Result<Handoff, String> {
    let mut handoff: Handoff = serde_json::from_str(&call.arguments)
        .map_err(|error| format!("The arguments do not fit: {error}."))?;
    if !agents.contains(&handoff.to) {
        return Err(format!("It can be handed to: {}.", agents.join(", ")));
    }
    for text in [&mut handoff.reason, &mut handoff.summary] {
        *text = text.chars().take(MAX_HANDOFF_CHARACTERS).collect();
    }
    Ok(handoff)
}
