//! frontdesk as a library: builds a server with a program's own agents and tools.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::{
    agents::{Agent, BoxError, FunctionAgent, NativeAgent, NewAgent, Response, Turn},
    app::{App, StartError},
    clock::SystemClock,
    config::{Settings, Sources},
    schema::closed,
    server::Server,
    telemetry,
    tools::{Call, NewTool, Tool, ToolOutput},
};

/// Builds a server. See [`Server::builder`].
#[derive(Default)]
pub struct Builder {
    settings: Option<Settings>,
    agents: Vec<NewAgent>,
    tools: Vec<NewTool>,
    keeps_configured: bool,
}

impl Server {
    /// Starts building a server with a program's own agents and tools.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Uses these settings instead of those from the file and the environment.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Adds an agent. The first one becomes the default agent, unless the settings' default agent is kept. The agents
    /// of the settings are removed unless [`Self::keep_configured`] is called.
    pub fn agent<A: Agent>(mut self, path: &str, agent: A) -> Self {
        self.agents.push(NewAgent {
            path: path.to_owned(),
            description: agent.description().to_owned(),
            context: NativeAgent::<A>::context_schema(),
            skill: agent.skill().map(str::to_owned),
            agent: Arc::new(NativeAgent::new(path, agent)),
        });
        self
    }

    /// Adds a function as an agent. The manager chooses agents by their descriptions.
    pub fn agent_fn<F, Answered>(self, path: &str, description: &str, function: F) -> Self
    where
        F: Fn(Turn<()>, Response) -> Answered + Send + Sync + 'static,
        Answered: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let description = description.to_owned();
        let agent = FunctionAgent {
            description,
            function,
        };
        self.agent(path, agent)
    }

    /// Adds a function as a tool, for all agents of this program, and for configured ones that name it. The schema for
    /// the model is derived from the type of its argument. The model reads its errors.
    pub fn tool<A, F, Done>(self, name: &str, description: &str, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(A) -> Done + Send + Sync + 'static,
        Done: Future<Output = Result<ToolOutput, BoxError>> + Send + 'static,
    {
        let call = move |call: Call| {
            let arguments = serde_json::from_value(call.arguments);
            let done = arguments.map(&function);
            async move {
                let done = done.map_err(|error| error.to_string())?;
                done.await.map_err(|error| error.to_string())
            }
            .boxed()
        };
        let mut tool = NewTool::new(name, Arc::new(FunctionTool(call)));
        let schema = SchemaGenerator::default().into_root_schema_for::<A>();
        tool.spec.description = description.to_owned();
        tool.spec.parameters = closed(schema.to_value());
        self.add_tool(tool)
    }

    /// Adds a tool with all its options.
    pub fn add_tool(mut self, tool: NewTool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Makes the last added tool ask the visitor before each call: `Book {day}?`, with arguments filled in.
    pub fn confirm(mut self, question: &str) -> Self {
        if let Some(tool) = self.tools.last_mut() {
            tool.confirm = Some(question.to_owned());
        }
        self
    }

    /// Sets the timeout of the last added tool; the default is 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if let Some(tool) = self.tools.last_mut() {
            tool.timeout = timeout;
        }
        self
    }

    /// Makes the last added tool take an argument from a property of the context instead of from the model.
    pub fn inject(mut self, argument: &str, context: &str) -> Self {
        if let Some(tool) = self.tools.last_mut() {
            tool.inject.insert(argument.to_owned(), context.to_owned());
        }
        self
    }

    /// Keeps the settings' agents besides those of this program.
    pub fn keep_configured(mut self) -> Self {
        self.keeps_configured = true;
        self
    }

    /// Starts the server, on the caller's runtime.
    ///
    /// # Errors
    /// If the settings are wrong, a part cannot be built or the address is in use.
    pub async fn start(self) -> Result<Server, StartError> {
        Server::start(self.build()?).await
    }

    /// Serves until the process gets SIGTERM or SIGINT, and writes log lines as the `frontdesk` command does.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn run(mut self) -> Result<(), StartError> {
        let settings = self.take_settings()?;
        telemetry::start(&settings.log);
        Server::run(self.settings(settings).build()?).await
    }

    fn take_settings(&mut self) -> Result<Settings, StartError> {
        match self.settings.take() {
            Some(settings) => Ok(settings),
            None => {
                let loaded = Sources::from_process().load();
                Ok(loaded.map_err(StartError::Settings)?.settings)
            }
        }
    }

    fn build(mut self) -> Result<Arc<App>, StartError> {
        let mut settings = self.take_settings()?;
        if !self.keeps_configured && !self.agents.is_empty() {
            settings.agents.clear();
        }
        if let Some(first) = self.agents.first()
            && !settings
                .agents
                .contains_key(&settings.routing.default_agent)
        {
            settings.routing.default_agent.clone_from(&first.path);
        }
        App::with(settings, Arc::new(SystemClock), self.agents, self.tools)
    }
}

/// A function as a tool.
struct FunctionTool<F>(F);

impl<F> Tool for FunctionTool<F>
where
    F: Fn(Call) -> BoxFuture<'static, Result<ToolOutput, String>> + Send + Sync,
{
    fn call(&self, call: Call) -> BoxFuture<'_, Result<ToolOutput, String>> {
        (self.0)(call)
    }
}
