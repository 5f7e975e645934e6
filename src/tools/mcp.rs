//! Tools of MCP servers (Model Context Protocol), over stdio or streamable HTTP.
//!
//! A server is connected when an agent first needs it, and again after its connection broke. A server process
//! gets only the configured environment, because frontdesk's own contains secrets. A server's own description
//! of its tools is not trusted: calls are checked on this side too.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::RwLock;
use reqwest::{
    Client,
    header::{HeaderName, HeaderValue},
};
use rmcp::{
    RoleClient, ServiceError, ServiceExt,
    model::{CallToolRequestParams, CallToolResult, Tool as Told},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport, TokioChildProcess,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::Value;
use tokio::{
    process::Command,
    runtime::Handle,
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{Call, NewTool, RegisteredTool, Tool, ToolOutput};
use crate::{
    config::{McpSettings, TOOL_SEPARATOR},
    llm::ToolSpec,
    schema::closed,
};

/// Time limit for a server to start and list its tools.
const MCP_CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest pause before an unreachable server is tried again.
const MCP_MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// How much longer the caller's timeout is than the call's own, so that the call ends first and can drop the
/// broken connection.
const SOONER: Duration = Duration::from_secs(1);
/// Maximum number of tools of a server; the rest are left out.
const MOST_TOOLS: usize = 128;
/// Maximum length of a tool's name that models accept, in bytes.
const NAME_BYTES: usize = 64;

/// A server, connected or not.
pub(crate) struct McpServer {
    name: String,
    settings: McpSettings,
    client: Client,
    /// The main runtime, which runs the connection: on a worker's runtime it would end with the worker.
    runtime: Handle,
    connection: RwLock<Option<Arc<McpConnection>>>,
    /// Lets one task connect at a time. Holds the time before which the server is not tried again.
    connecting: Mutex<Option<Instant>>,
}

/// A connection to a server, and the server's tools by the names that models call.
struct McpConnection {
    service: RunningService<RoleClient, ()>,
    members: BTreeMap<String, Arc<RegisteredTool>>,
}

impl McpServer {
    /// Must be called on the main runtime.
    pub(super) fn new(name: &str, settings: &McpSettings, client: Client) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            settings: settings.clone(),
            client,
            runtime: Handle::current(),
            connection: RwLock::default(),
            connecting: Mutex::default(),
        })
    }

    /// The specs of its tools; empty if it cannot be reached.
    pub(crate) async fn specs(self: &Arc<Self>) -> Vec<ToolSpec> {
        let Some(connection) = self.connected().await else {
            return Vec::new();
        };
        let members = connection.members.values();
        members.map(|member| member.spec.clone()).collect()
    }

    /// One of its tools, if the server is connected.
    pub(super) fn member(&self, name: &str) -> Option<Arc<RegisteredTool>> {
        self.current()?.members.get(name).cloned()
    }

    fn forget(&self, connection: &Arc<McpConnection>) {
        let mut own = self.connection.write();
        if own.as_ref().is_some_and(|own| Arc::ptr_eq(own, connection)) {
            *own = None;
        }
    }

    fn current(&self) -> Option<Arc<McpConnection>> {
        let connection = self.connection.read();
        let is_open = |connection: &&Arc<McpConnection>| !connection.service.is_closed();
        connection.as_ref().filter(is_open).cloned()
    }

    /// The connection; a new one if there is none.
    async fn connected(self: &Arc<Self>) -> Option<Arc<McpConnection>> {
        if let Some(connection) = self.current() {
            return Some(connection);
        }
        let mut not_before = self.connecting.lock().await;
        if let Some(connection) = self.current() {
            return Some(connection);
        }
        let began = Instant::now();
        if not_before.is_some_and(|not_before| began < not_before) {
            return None;
        }
        let server = Arc::clone(self);
        let connecting = self.runtime.spawn(async move {
            let connected = timeout(MCP_CONNECT_TIMEOUT, server.connect()).await;
            connected.unwrap_or_else(|_| Err("it took too long".to_owned()))
        });
        let connected = connecting
            .await
            .unwrap_or_else(|error| Err(error.to_string()));
        match connected {
            Ok(connection) => {
                let connection = Arc::new(connection);
                let mut own = self.connection.write();
                *own = Some(Arc::clone(&connection));
                tracing::info!(
                    mcp.server = self.name,
                    mcp.tools = connection.members.len(),
                    "an MCP server is connected"
                );
                Some(connection)
            }
            Err(error) => {
                tracing::warn!(mcp.server = self.name, error.cause = error, "no MCP server");
                // The pause is ten times what the failure took, so that not every turn waits for a slow server.
                *not_before =
                    Some(Instant::now() + (began.elapsed() * 10).min(MCP_MAX_RETRY_DELAY));
                None
            }
        }
    }

    async fn connect(self: &Arc<Self>) -> Result<McpConnection, String> {
        let service = match self.settings.command.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).env_clear();
                for (name, value) in &self.settings.env {
                    command.env(name, value.reveal());
                }
                let child = TokioChildProcess::builder(command).stderr(Stdio::null());
                let (child, _) = child.spawn().map_err(|error| error.to_string())?;
                ().serve(child).await.map_err(|error| error.to_string())?
            }
            None => {
                let headers = self.settings.headers.iter().filter_map(|(name, value)| {
                    let mut value = HeaderValue::from_str(value.reveal()).ok()?;
                    value.set_sensitive(true);
                    Some((name.parse::<HeaderName>().ok()?, value))
                });
                let url = self.settings.url.clone().unwrap_or_default();
                let config = StreamableHttpClientTransportConfig::with_uri(url)
                    .custom_headers(headers.collect());
                let transport =
                    StreamableHttpClientTransport::with_client(self.client.clone(), config);
                ().serve(transport)
                    .await
                    .map_err(|error| error.to_string())?
            }
        };
        let told = service.list_all_tools().await;
        let told = told.map_err(|error| error.to_string())?;
        for name in self.settings.confirm.keys() {
            if !told.iter().any(|tool| tool.name == *name) {
                return Err(format!("it has no tool {name}, which is to be confirmed"));
            }
        }
        let is_wanted = |tool: &&Told| match &self.settings.tools {
            Some(wanted) => wanted.iter().any(|name| *name == tool.name),
            None => true,
        };
        let members = told.iter().filter(is_wanted).take(MOST_TOOLS);
        let members = members.filter_map(|tool| self.make(tool));
        Ok(McpConnection {
            members: members.collect(),
            service,
        })
    }

    /// Converts one of the server's tools; `None` if its name or schema cannot be used.
    fn make(self: &Arc<Self>, told: &Told) -> Option<(String, Arc<RegisteredTool>)> {
        let name = format!("{}{TOOL_SEPARATOR}{}", self.name, told.name);
        let is_tame = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.len() > NAME_BYTES || !name.chars().all(is_tame) {
            tracing::warn!(
                mcp.server = self.name,
                "a tool whose name no model takes is left out"
            );
            return None;
        }
        let annotations = told.annotations.as_ref();
        let is_safe = annotations.and_then(|told| told.read_only_hint) == Some(true);
        let tool = McpTool {
            server: Arc::downgrade(self),
            name: told.name.to_string(),
            is_safe,
        };
        let mut new = NewTool::new(&name, Arc::new(tool));
        new.spec.description = told.description.as_deref().unwrap_or_default().to_owned();
        new.spec.parameters = closed(Value::Object((*told.input_schema).clone()));
        new.timeout = self.timeout() + SOONER;
        new.confirm = self.settings.confirm.get(told.name.as_ref()).cloned();
        let member = RegisteredTool::new(new).inspect_err(|error| {
            tracing::warn!(mcp.server = self.name, error.cause = %error, "a tool is left out");
        });
        Some((name, Arc::new(member.ok()?)))
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.settings.timeout_seconds)
    }

    async fn call(&self, name: &str, arguments: Value) -> Result<ToolOutput, String> {
        let connection = self.current().ok_or("The tool is not there.")?;
        let mut call = CallToolRequestParams::new(name.to_owned());
        if let Value::Object(arguments) = arguments {
            call = call.with_arguments(arguments);
        }
        let called = timeout(self.timeout(), connection.service.call_tool(call)).await;
        let Ok(called) = called else {
            self.forget(&connection);
            return Err("The tool took too long; it may have done its work.".to_owned());
        };
        match called {
            Ok(result) => read(result),
            // The server's own error is for the model; connection errors are only logged.
            Err(ServiceError::McpError(error)) => Err(error.message.into_owned()),
            Err(error) => {
                tracing::warn!(mcp.server = self.name, error.cause = %error, "a call failed");
                // The server may have lost the session. When the agent is asked again, a new connection is made.
                self.forget(&connection);
                Err("The connection broke: it is not known whether this was done.".to_owned())
            }
        }
    }
}

/// The text of a result. Other content becomes `[not text]`.
fn read(result: CallToolResult) -> Result<ToolOutput, String> {
    let blocks = result.content.iter().map(|block| match block.as_text() {
        Some(text) => text.text.clone(),
        None => "[not text]".to_owned(),
    });
    let mut text = blocks.collect::<Vec<_>>().join("\n");
    if text.is_empty()
        && let Some(structured) = &result.structured_content
    {
        text = structured.to_string();
    }
    match result.is_error {
        Some(true) => Err(text),
        _ => Ok(text.into()),
    }
}

/// A server's tool.
struct McpTool {
    server: Weak<McpServer>,
    name: String,
    is_safe: bool,
}

impl Tool for McpTool {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<ToolOutput, String>> {
        async move {
            let server = self.server.upgrade().ok_or("The tool is not there.")?;
            server.call(&self.name, call.arguments).await
        }
        .boxed()
    }

    fn is_safe(&self) -> bool {
        self.is_safe
    }
}
