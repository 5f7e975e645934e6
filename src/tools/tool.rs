//! The [`Tool`] trait, its input and output, and what is needed to register a tool. `tools.rs` checks the arguments
//! before a call.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use crate::{llm::ToolSpec, schema::closed, widgets::RawWidget};

/// A tool that agents can call. Programs implement this to add their own.
pub trait Tool: Send + Sync {
    /// Makes the call. An error is in words for the model, which may then try something else.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<ToolOutput, String>>;

    /// True if the tool changes nothing, so that a call may be repeated.
    fn is_safe(&self) -> bool {
        false
    }
}

/// A call as a tool gets it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The arguments; they fit the tool's schema.
    pub arguments: Value,
    /// The idempotency key: the same if the same call is repeated within a turn.
    pub key: String,
}

/// What a tool returns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolOutput {
    /// The result for the model.
    pub content: String,
    /// The widget for the visitor.
    pub widget: Option<RawWidget>,
    /// Changes to the context.
    pub context: Map<String, Value>,
}

impl From<String> for ToolOutput {
    fn from(content: String) -> Self {
        Self {
            content,
            ..Self::default()
        }
    }
}

/// A tool to add to the server.
pub struct NewTool {
    /// Its spec, with all arguments, including those in `inject`.
    pub spec: ToolSpec,
    /// Time limit for one call.
    pub timeout: Duration,
    /// The question that the visitor must confirm before a call, if any.
    pub confirm: Option<String>,
    /// Arguments that come from the context, not from the model: argument name to context key.
    pub inject: BTreeMap<String, String>,
    /// The implementation.
    pub tool: Arc<dyn Tool>,
}

impl NewTool {
    /// A tool without arguments and confirmation, with a time limit of 10 s.
    pub fn new(name: &str, tool: Arc<dyn Tool>) -> Self {
        Self {
            spec: ToolSpec {
                name: name.to_owned(),
                description: String::new(),
                parameters: closed(json!({"type": "object", "properties": {}})),
            },
            timeout: Duration::from_secs(10),
            confirm: None,
            inject: BTreeMap::new(),
            tool,
        }
    }
}
