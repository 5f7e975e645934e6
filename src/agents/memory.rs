//! An agent's memory of a conversation, stored in the conversation's `state` under the agent's path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One agent's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// Slot values, by slot name.
    pub slots: BTreeMap<String, String>,
    /// The slot that was asked for last.
    pub asked: Option<String>,
    /// How many answers to `asked` did not fit.
    pub misses: u32,
    /// Whether the agent has said hello.
    pub greeted: bool,
    /// Whether the visitor's request is complete.
    pub done: bool,
}

impl Memory {
    /// Reads an agent's memory; empty if there is none.
    pub(super) fn of(agent: &str, state: &Value) -> Self {
        let own = state.get(agent).cloned().unwrap_or_default();
        serde_json::from_value(own).unwrap_or_default()
    }

    /// This memory as a change to the conversation's `state`.
    pub(super) fn store(&self, agent: &str) -> Map<String, Value> {
        Map::from_iter([(agent.to_owned(), json!(self))])
    }
}
