//! The application: everything that handlers and commands share, built once.

use std::sync::Arc;

use crate::{
    agents::{Agents, NewAgent},
    auth::Auth,
    clock::Clock,
    config::Settings,
    connections::Connections,
    devices::Devices,
    evaluations::Evaluations,
    experts::Experts,
    http::Clients,
    hub::{Hub, LiveConversations},
    jobs::Jobs,
    judges::Judges,
    limits::Limits,
    llm::Models,
    metrics::Metrics,
    notify::Notifier,
    secret::SiteSecret,
    store::Store,
    tools::{NewTool, Tools},
    turn::Engine,
    typing::Typing,
};

/// Everything that handlers and commands share.
pub struct App {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The database.
    pub store: Store,
    /// Runs turns.
    pub engine: Arc<Engine>,
    /// Live changes outside turns: of conversations, and of the experts' inbox.
    pub hub: Arc<Hub<LiveConversations>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Runs jobs.
    pub jobs: Arc<Jobs>,
    /// Issues and checks device ids.
    pub devices: Devices,
    /// Checks tokens.
    pub auth: Auth,
    /// What experts can do.
    pub experts: Experts,
    /// What judges say about answers.
    pub evaluations: Arc<Evaluations>,
    /// Typing signals.
    pub typing: Typing,
    /// Metrics for operators.
    pub metrics: Arc<Metrics>,
    /// Rate limits.
    pub limits: Limits,
    /// Open client connections.
    pub connections: Arc<Connections>,
}

/// Why an application cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database's settings are wrong, or its schema cannot be brought up to date.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The HTTP client for outgoing calls cannot be built.
    #[error("outgoing HTTP: {0}")]
    Http(#[from] crate::http::HttpError),
    /// A tool cannot be made.
    #[error(transparent)]
    Tool(#[from] crate::tools::ToolError),
    /// A judge cannot be made.
    #[error(transparent)]
    Judge(#[from] crate::judges::JudgeError),
    /// An agent's pattern is not valid.
    #[error("agents: {0}")]
    Agents(#[from] regex::Error),
    /// No token can be made.
    #[error(transparent)]
    Token(#[from] crate::error::Error),
    /// The settings are wrong.
    #[error("the settings are wrong: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<crate::config::SettingsProblem>),
    /// The address cannot be bound.
    #[error("{0}: {1}")]
    Bind(std::net::SocketAddr, std::io::Error),
}

impl App {
    /// Builds an application. Must be called on the main runtime. Does not access the database
    /// yet.
    ///
    /// # Errors
    /// When a part cannot be built.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Arc<Self>, StartError> {
        Self::with(settings, clock, Vec::new(), Vec::new())
    }

    /// The same, with a program's own agents and tools.
    pub(crate) fn with(
        settings: Settings,
        clock: Arc<dyn Clock>,
        coded: Vec<NewAgent>,
        more_tools: Vec<NewTool>,
    ) -> Result<Arc<Self>, StartError> {
        let settings = Arc::new(settings);
        let store = Store::open(&settings.database, Arc::clone(&clock))?;
        let clients = Arc::new(Clients::new(settings.llm.timeouts())?);
        let metrics = Arc::new(Metrics::default());
        let tools = Arc::new(Tools::new(&settings, &clients, more_tools)?);
        let models = Arc::new(Models::new(
            &settings.llm,
            Arc::clone(&clients),
            Arc::clone(&metrics),
        ));
        let agents = Arc::new(Agents::new(&settings, &models, tools, coded, &clients)?);
        let judges = Arc::new(Judges::new(&settings, &models, &clients)?);
        let server = &settings.server;
        let secret = Arc::new(SiteSecret::new(server.secret.clone(), store.clone()));
        let engine = Engine::new(
            store.clone(),
            Arc::clone(&secret),
            agents,
            Arc::clone(&judges),
            Arc::clone(&clock),
            Arc::clone(&settings),
            Arc::clone(&metrics),
        );
        let hub = Hub::new(store.clone());
        let evaluations = Arc::new(Evaluations::new(
            store.clone(),
            judges,
            Arc::clone(&hub),
            Arc::clone(&settings),
            Arc::clone(&metrics),
        ));
        let notifier = Notifier::new(&settings.notify, &clients)?;
        Ok(Arc::new(Self {
            experts: Experts::new(
                store.clone(),
                Arc::clone(&engine),
                Arc::clone(&hub),
                Arc::clone(&settings),
                Arc::clone(&clock),
            ),
            auth: Auth::new(
                &settings.auth,
                Arc::clone(&secret),
                &clients,
                Arc::clone(&clock),
            )?,
            devices: Devices::new(server.device_ids, secret),
            clock,
            limits: Limits::new(&settings),
            connections: Connections::new(&settings, Arc::clone(&metrics)),
            typing: Typing::new(store.clone(), Arc::clone(&hub)),
            engine,
            hub,
            jobs: Jobs::new(store.clone(), notifier, Arc::clone(&evaluations)),
            evaluations,
            metrics,
            store,
            settings,
        }))
    }
}
