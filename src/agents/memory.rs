//! What an agent remembers of a conversation, in the conversation's `state` under its path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One agent's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// What is known, by the slots' names.
    pub slots: BTreeMap<String, String>,
    /// The slot that was asked for last.
    pub asked: Option<String>,
    /// How often the answer to it did not fit.
    pub misses: u32,
    /// Whether the agent has said hello.
    pub greeted: bool,
    /// Whether everything was said.
    pub done: bool,
}

impl Memory {
    /// An agent's memory; an empty one where there is none.
    pub(super) fn of(agent: &str, state: &Value) -> Self {
        let own = state.get(agent).cloned().unwrap_or_default();
        serde_json::from_value(own).unwrap_or_default()
    }

    /// What changes in the conversation's state by this memory.
    pub(super) fn store(&self, agent: &str) -> Map<String, Value> {
        Map::from_iter([(agent.to_owned(), json!(self))])
    }
}
