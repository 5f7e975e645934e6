//! A tool: what it is given, what it gives back, and what has to be known of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use crate::{llm::ToolSpec, schema::closed, widgets::RawWidget};

/// Something that an agent can do. Strangers plug in here.
pub trait Tool: Send + Sync {
    /// Does it, or says why it failed: in words for the model, who may try something else.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<ToolOutput, String>>;

    /// Whether it changes nothing, so that it may be called once more.
    fn is_safe(&self) -> bool {
        false
    }
}

/// A call as a tool gets it.
#[derive(Debug, Clone)]
pub struct Call {
    /// They fit the tool's schema.
    pub arguments: Value,
    /// The same where the same call is made again in a turn.
    pub key: String,
}

/// What a tool has done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolOutput {
    /// What the model is told.
    pub content: String,
    /// What the visitor is shown.
    pub widget: Option<RawWidget>,
    /// What is known of the visitor from now on.
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

/// A tool to be added to a desk.
pub struct NewTool {
    /// How a model is told of it, and of all its arguments.
    pub spec: ToolSpec,
    /// How long a call may take.
    pub patience: Duration,
    /// What the visitor is asked before it is called.
    pub confirm: Option<String>,
    /// Arguments that come from the context and not from the model, and where they are there.
    pub inject: BTreeMap<String, String>,
    /// What does it.
    pub tool: Arc<dyn Tool>,
}

impl NewTool {
    /// A tool without arguments.
    pub fn new(name: &str, tool: Arc<dyn Tool>) -> Self {
        Self {
            spec: ToolSpec {
                name: name.to_owned(),
                description: String::new(),
                parameters: closed(json!({"type": "object", "properties": {}})),
            },
            patience: Duration::from_secs(10),
            confirm: None,
            inject: BTreeMap::new(),
            tool,
        }
    }
}
