//! The tools that an agent is told of: those that are known, and those that MCP servers have.

use std::sync::Arc;

use crate::{llm::ToolSpec, tools::Tools};

/// An agent's tools.
pub(super) struct AgentTools {
    known: Arc<[ToolSpec]>,
    tools: Arc<Tools>,
    /// The names that stand for tools of MCP servers.
    served: Vec<String>,
}

impl AgentTools {
    /// The tools of these names, and others that the agent has.
    pub(super) fn new(
        tools: &Arc<Tools>,
        names: &[String],
        others: impl Iterator<Item = ToolSpec>,
    ) -> Self {
        let served = names.iter().filter(|name| tools.is_served(name));
        Self {
            known: tools.specs(names).into_iter().chain(others).collect(),
            served: served.cloned().collect(),
            tools: Arc::clone(tools),
        }
    }

    /// How a model is told of them. A server that is away has none.
    pub(super) async fn all(&self) -> Arc<[ToolSpec]> {
        if self.served.is_empty() {
            return Arc::clone(&self.known);
        }
        let served = self.tools.served(&self.served).await;
        self.known.iter().cloned().chain(served).collect()
    }
}
