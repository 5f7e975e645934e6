//! The tool by which an agent hands the conversation to another one. It does nothing itself: the turn
//! lets the other one go on.

use serde::Deserialize;
use serde_json::json;

use crate::{
    config,
    llm::{ToolCall, ToolSpec},
};

/// What the model calls it by.
pub const NAME: &str = config::HANDOFF;
/// The longest reason and summary, in characters.
const MAX_HANDOFF_CHARACTERS: usize = 2_000;

/// A conversation on its way to another agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Handoff {
    /// The agent that takes it.
    #[serde(rename = "agent")]
    pub to: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What the other one has to know.
    #[serde(default)]
    pub summary: String,
}

/// How a model is told of it: which agents there are, and what each is for.
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

/// Where a call hands the conversation to.
///
/// # Errors
/// In words for the model, when there is no such agent for it.
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
