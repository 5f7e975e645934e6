//! The tool specs that an agent's model gets: the fixed ones, and those its MCP servers list at the moment.

use std::sync::Arc;

use crate::{llm::ToolSpec, tools::Tools};

/// An agent's tools.
pub(super) struct AgentTools {
    known: Arc<[ToolSpec]>,
    tools: Arc<Tools>,
    /// Names of MCP servers, or of single tools of theirs.
    served: Vec<String>,
}

impl AgentTools {
    /// The tools with these names, plus `others`: widgets and the handoff.
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

    /// All specs. A disconnected MCP server contributes none.
    pub(super) async fn all(&self) -> Arc<[ToolSpec]> {
        if self.served.is_empty() {
            return Arc::clone(&self.known);
        }
        let served = self.tools.served(&self.served).await;
        self.known.iter().cloned().chain(served).collect()
    }
}
