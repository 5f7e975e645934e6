//! Tools that agents can call.
//!
//! A [`Tool`] gets arguments that fit its schema and returns text for the model. It never calls the turn or
//! the store: the turn records each call before it is made and each result before the model reads it, so
//! that no call is made twice. This module checks every call: a model may send invalid arguments or call a
//! tool that its agent may not use.

mod address;
pub mod handoff;
mod http;
mod mcp;
mod tool;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use futures_util::FutureExt;
use jsonschema::Validator;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};

use address::PublicOnly;
pub(crate) use mcp::McpServer;
pub use tool::{Call, NewTool, Tool, ToolOutput};

use crate::{
    config::{Settings, TOOL_SEPARATOR},
    http::{Clients, HttpError},
    llm::{ToolCall, ToolResult, ToolSpec},
    schema::{closed, leave_out},
    store::TurnId,
    text,
    widgets::RawWidget,
};

/// Maximum size of a result, in bytes; the model does not see the rest.
const RESULT_BYTES: usize = 16 * 1024;
/// Maximum number of invalid arguments that the model is told about at once.
const MAX_NAMED_FAULTS: usize = 5;

/// All tools of this server.
#[derive(Default)]
pub struct Tools {
    members: BTreeMap<String, Arc<RegisteredTool>>,
    servers: BTreeMap<String, Arc<McpServer>>,
}

/// A tool, ready to be called.
struct RegisteredTool {
    spec: ToolSpec,
    schema: Arc<Validator>,
    timeout: Duration,
    /// The question that the visitor must confirm before a call, if any.
    confirm: Option<String>,
    /// Arguments that come from the context: argument name to context key.
    inject: BTreeMap<String, String>,
    /// The schema of all arguments, including those in `inject`.
    all: Arc<Validator>,
    tool: Arc<dyn Tool>,
}

/// A tool call with what the tool may need to know.
#[derive(Debug, Clone, Copy)]
pub struct ToolInvocation<'a> {
    /// The call.
    pub call: &'a ToolCall,
    /// The turn in which it is made.
    pub turn: TurnId,
    /// The context: data about the visitor that the model does not see.
    pub context: &'a Map<String, Value>,
    /// Whether the visitor was asked and said yes.
    pub has_consent: bool,
}

/// A call's outcome.
#[derive(Debug)]
pub struct ToolOutcome {
    /// The result for the model.
    pub result: ToolResult,
    /// The widget for the visitor.
    pub widget: Option<RawWidget>,
    /// Changes to the context.
    pub context: Map<String, Value>,
}

/// Why a tool cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Its `parameters` are not a valid JSON Schema.
    #[error("tools.{0}.parameters: {1}")]
    Schema(String, String),
    /// The HTTP client for its calls cannot be built.
    #[error("tools: {0}")]
    Http(#[from] HttpError),
}

impl Tools {
    /// The configured tools, and those that the program adds (`more`).
    ///
    /// # Errors
    /// If a schema is invalid; the configuration check reports it earlier.
    pub fn new(
        settings: &Settings,
        clients: &Clients,
        more: Vec<NewTool>,
    ) -> Result<Self, ToolError> {
        let mut tools = Self::configured(settings, clients)?;
        for tool in more {
            tools.add(tool)?;
        }
        Ok(tools)
    }

    fn configured(settings: &Settings, clients: &Clients) -> Result<Self, ToolError> {
        let mut tools = Self::default();
        if settings.tools.is_empty() && settings.mcp.is_empty() {
            return Ok(tools);
        }
        let public = clients.outside(Some(Arc::new(PublicOnly)))?;
        let any = clients.outside(None)?;
        for (name, settings) in &settings.mcp {
            let server = McpServer::new(name, settings, any.clone());
            tools.servers.insert(name.clone(), server);
        }
        for (name, settings) in &settings.tools {
            let client = if settings.allow_private {
                &any
            } else {
                &public
            };
            let tool = http::HttpTool::new(settings, client.clone());
            let mut new = NewTool::new(name, Arc::new(tool));
            new.spec.description = settings.description.clone();
            new.spec.parameters = closed(settings.parameters.clone());
            new.timeout = Duration::from_secs(settings.timeout_seconds);
            new.confirm = settings.confirm.clone();
            new.inject = settings.inject.clone();
            tools.add(new)?;
        }
        Ok(tools)
    }

    /// Adds a tool.
    ///
    /// # Errors
    /// If its parameters are not a valid JSON Schema.
    pub fn add(&mut self, new: NewTool) -> Result<(), ToolError> {
        let name = new.spec.name.clone();
        self.members
            .insert(name, Arc::new(RegisteredTool::new(new)?));
        Ok(())
    }

    /// The names of all tools and MCP servers.
    pub fn names(&self) -> Vec<String> {
        self.members
            .keys()
            .chain(self.servers.keys())
            .cloned()
            .collect()
    }

    /// True if a name is that of an MCP server or of one of its tools.
    pub(crate) fn is_served(&self, name: &str) -> bool {
        self.server(name).is_some()
    }

    /// The specs of the MCP servers' tools that are in `given`.
    pub(crate) async fn served(&self, given: &[String]) -> Vec<ToolSpec> {
        let mut all = Vec::new();
        for (name, server) in &self.servers {
            let is_own = |given: &String| self.server(given).is_some_and(|(own, _)| own == name);
            if given.iter().any(is_own) {
                let specs = server.specs().await.into_iter();
                all.extend(specs.filter(|spec| self.is_given(given, &spec.name)));
            }
        }
        all
    }

    /// Connects to all MCP servers.
    pub(crate) async fn connect(&self) {
        for server in self.servers.values() {
            server.specs().await;
        }
    }

    /// The MCP server of this name, or whose tool has this name.
    fn server(&self, name: &str) -> Option<(&String, &Arc<McpServer>)> {
        let server = name
            .split_once(TOOL_SEPARATOR)
            .map_or(name, |(server, _)| server);
        self.servers.get_key_value(server)
    }

    /// True if `given` contains the tool's name or that of its MCP server.
    pub fn is_given(&self, given: &[String], name: &str) -> bool {
        let server = self.server(name).map(|(server, _)| server);
        given
            .iter()
            .any(|given| given == name || Some(given) == server)
    }

    /// Connects to the MCP servers that these calls need, if not connected.
    pub async fn reach(&self, calls: &[ToolCall]) {
        for call in calls {
            if let Some((_, server)) = self.server(&call.name) {
                server.specs().await;
            }
        }
    }

    fn member(&self, name: &str) -> Option<Arc<RegisteredTool>> {
        if let Some(member) = self.members.get(name) {
            return Some(Arc::clone(member));
        }
        self.server(name)?.1.member(name)
    }

    /// The specs of these tools, without those of MCP servers.
    pub fn specs(&self, names: &[String]) -> Vec<ToolSpec> {
        let known = names.iter().filter_map(|name| self.members.get(name));
        known.map(|member| member.spec.clone()).collect()
    }

    /// Makes a call if the tool is in `given`. An error is returned as the result, so that the model can
    /// correct the call.
    pub async fn call(&self, given: &[String], calling: ToolInvocation<'_>) -> ToolOutcome {
        let began = Instant::now();
        let call = calling.call;
        let done = self.outcome(given, calling).await;
        tracing::debug!(
            tool.success = done.is_ok(),
            duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "a tool was called"
        );
        let (done, widget, context) = match done {
            Ok(output) => (Ok(output.content), output.widget, output.context),
            Err(error) => (Err(error), None, Map::new()),
        };
        let mut result = ToolResult::of(call, done);
        if result.content.len() > RESULT_BYTES {
            let end = result.content.floor_char_boundary(RESULT_BYTES);
            result.content.truncate(end);
            result.content.push_str("\n[The rest is left out.]");
        }
        ToolOutcome {
            result,
            widget,
            context,
        }
    }

    /// The question that the visitor must confirm before a call, with the arguments filled in. `None` if the tool
    /// asks none. Also `None` if the call is invalid: it is refused when it is made.
    pub fn question(&self, given: &[String], call: &ToolCall) -> Option<String> {
        let (member, arguments) = self.checked(given, call).ok()?;
        let question = member.confirm.as_deref()?;
        Some(text::fill(question, |name| {
            arguments.get(name).map(text::plain)
        }))
    }

    /// True if the tool exists and its MCP server, if any, is connected.
    pub fn knows(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// True if a tool changes nothing, so that a call may be repeated.
    pub fn is_safe(&self, name: &str) -> bool {
        self.member(name)
            .is_some_and(|member| member.tool.is_safe())
    }

    /// Checks a call: the tool and its arguments, or why it is refused.
    fn checked(
        &self,
        given: &[String],
        call: &ToolCall,
    ) -> Result<(Arc<RegisteredTool>, Value), String> {
        let is_given = self.is_given(given, &call.name);
        let Some(member) = self.member(&call.name).filter(|_| is_given) else {
            tracing::warn!("a model called a tool that it was not given");
            return Err(format!("There is no tool {:?}.", call.name));
        };
        let mut arguments: Value = serde_json::from_str(&call.arguments)
            .map_err(|error| format!("The arguments are not JSON: {error}."))?;
        if let Some(arguments) = arguments.as_object_mut() {
            for name in member.inject.keys() {
                if arguments.remove(name).is_some() {
                    tracing::warn!(
                        tool.name = call.name,
                        tool.argument = name,
                        "a model set an argument that comes from the context"
                    );
                }
            }
        }
        let faults = member.schema.iter_errors(&arguments).take(MAX_NAMED_FAULTS);
        let faults: Vec<String> = faults
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        if !faults.is_empty() {
            return Err(format!("The arguments do not fit: {}", faults.join("; ")));
        }
        Ok((member, arguments))
    }

    async fn outcome(
        &self,
        given: &[String],
        calling: ToolInvocation<'_>,
    ) -> Result<ToolOutput, String> {
        let ToolInvocation {
            call,
            turn,
            context,
            has_consent,
        } = calling;
        let (member, mut arguments) = self.checked(given, call)?;
        if member.confirm.is_some() && !has_consent {
            // The tool's MCP server was away when the visitor should have been asked.
            return Err("The visitor has to be asked first: call it again.".to_owned());
        }
        for (name, key) in &member.inject {
            let known = context.get(key).filter(|known| !known.is_null());
            if let Some((arguments, known)) = arguments.as_object_mut().zip(known) {
                arguments.insert(name.clone(), known.clone());
            }
        }
        if !member.all.is_valid(&arguments) {
            tracing::warn!(tool.name = call.name, "the context lacks what a tool needs");
            return Err("What this needs to know of the visitor is not known.".to_owned());
        }
        let key = key(turn, &call.name, &arguments);
        let call = Call { arguments, key };
        let calling = std::panic::AssertUnwindSafe(member.tool.call(call)).catch_unwind();
        match timeout(member.timeout, calling).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err("The tool failed.".to_owned()),
            Err(_) => Err("The tool took too long; it may have done its work.".to_owned()),
        }
    }
}

impl RegisteredTool {
    fn new(new: NewTool) -> Result<Self, ToolError> {
        let NewTool {
            mut spec,
            timeout,
            confirm,
            inject,
            tool,
        } = new;
        if let Some(schema) = spec.parameters.as_object_mut() {
            // The model does not need to know the schema's draft version.
            schema.remove("$schema");
        }
        let name = spec.name.clone();
        let validator = |schema: &Value| {
            jsonschema::validator_for(schema)
                .map(Arc::new)
                .map_err(|error| ToolError::Schema(name.clone(), error.to_string()))
        };
        let all = validator(&spec.parameters)?;
        for name in inject.keys() {
            leave_out(name, &mut spec.parameters);
        }
        let schema = match inject.is_empty() {
            true => Arc::clone(&all),
            false => validator(&spec.parameters)?,
        };
        Ok(Self {
            schema,
            spec,
            all,
            timeout,
            confirm,
            inject,
            tool,
        })
    }
}

/// The idempotency key, by which an endpoint recognises a repeated call.
fn key(turn: TurnId, name: &str, arguments: &Value) -> String {
    let digest = Sha256::digest(format!("{name} {arguments}"));
    let digest = HEXLOWER.encode(digest.get(..12).unwrap_or_default());
    format!("{turn}-{digest}")
}
