//! frontdesk: the chat backend behind a website.
//!
//! A visitor writes; an agent answers token by token; a human expert can take over at any moment; nothing that was
//! said is lost. One binary, one database. This page is the map.
//!
//! A **turn** is a visitor's message and everything that answers it. It runs as a task of its own and appends
//! **records** to a numbered log. Everything that shows an answer reads that log: the event stream, the JSON
//! response, the WebSocket, a stream that resumes, another instance. Only `routes` frames records for a protocol.
//!
//! ```text
//! visitor ─ POST /chat/stream ─► routes ─► turn::Engine::start ─ one transaction: lock, user,
//!                                              │        conversation, lease, message, history
//!                                              ▼
//!                            turn::run  (a task of its own, outlives the client)
//!                                              │  agent ─► model (reqwest) ─► delta, delta …
//!                                              ▼
//!                            turn::log  [1][2][3]…[n final] ─► turn::flush ─► database
//!                                              ▼                                  ▼
//!                       event stream · JSON · resumed stream          another instance's readers
//! ```
//!
//! As a library it serves agents of your own:
//!
//! ```no_run
//! use frontdesk::server::Server;
//!
//! # async fn run() -> Result<(), frontdesk::app::StartError> {
//! Server::builder()
//!     .agent_fn("echo", "Says it again.", |turn, mut response| async move {
//!         response.write("You said: ").await?;
//!         response.write(&turn.text()).await?;
//!         Ok(())
//!     })
//!     .run()
//!     .await
//! # }
//! ```
//!
//! A function is enough for that. Implement [`agents::Agent`] for an agent that stores data about its visitors: its
//! [`Context`](agents::Agent::Context) is created once a session, stored with the conversation and passed to
//! [`respond`](agents::Agent::respond) with each message. There the agent can write, show a widget
//! ([`display_widget`](agents::Response::display_widget)), call a tool and wait for its result
//! ([`call`](agents::Response::call); tools are functions too:
//! [`Builder::tool`](builder::Builder::tool)), or hand the conversation over
//! ([`hand_over`](agents::Response::hand_over)). [`conversations::Conversations`] talks to agents without
//! HTTP. `examples/` has a support agent with a context, a sales agent with tools, and an echo.
//!
//! # Where is …?
//!
//! | Question | File |
//! | --- | --- |
//! | the URL table | `routes.rs`; handlers: one file a noun in `routes/` |
//! | a record's payload (the JSON of a frame) | [`turn::frame`] |
//! | a frame's bytes | `routes/sse.rs` for event streams, `routes/ws/client.rs` for WebSockets |
//! | the log of a running turn | [`turn::log`]; written to the database: `turn/flush.rs`; read on other instances: `turn/mirror.rs` |
//! | how a turn begins, runs and ends | `turn/begin.rs`, `turn/run.rs`, `turn/finish.rs` |
//! | messages that arrive during an answer are merged | `turn/merge.rs` |
//! | agents are asked, tools are called | `turn/rounds.rs`, `turn/ask_agent.rs`, `turn/tool_calls.rs` |
//! | an answer resumes after a lost connection | `turn/attach.rs` |
//! | another instance restarts a dead server's turns | `turn/lease.rs`, `turn/adopt.rs`, `store/queries/adopt.rs` |
//! | the fence is checked | `store/queries/fence.rs`; for batches: `store/postgres/owns.sql` |
//! | an expert claims a conversation, and raises the fence | [`experts`], `store/queries/assignments.rs`; the running answer: `turn/takeover.rs` |
//! | who waits for an expert | `turn/handoff.rs`, `store/queries/queue.rs` |
//! | a sentence is held back until a judge accepts it | `turn/guard.rs`; the judges: [`judges`]; reviews afterwards: [`evaluations`] |
//! | which agent holds a session, and for how long | [`sessions`]; the lock's TTL: `store/queries/sessions.rs` |
//! | idempotency keys | `store/queries/idempotency.rs` |
//! | rate limits | [`limits`]; a device's messages a minute: [`store::sessions`] |
//! | token budgets | `turn/budget.rs`, `store/queries/budgets.rs` |
//! | prompts, scripted flows, the router, agents in Rust | [`agents`]; what a script reads from text: `agents/extractors.rs` |
//! | the texts of the shipped agents | `config/agents.toml` |
//! | models and their wire formats | [`llm`]; retries and `Retry-After`: `llm/retry.rs` |
//! | a tool's arguments are checked, a private address is refused | [`tools`], `tools/address.rs` |
//! | data about a visitor that tools receive and the model never sees | [`context`] |
//! | widgets, and how an answer to one is validated | [`widgets`], `widgets/answer.rs` |
//! | device ids; tokens and signing keys | [`devices`]; [`auth`], `auth/jwks.rs` |
//! | CORS; the pages and their Content-Security-Policy | `routes/cors.rs`; `routes/pages.rs` |
//! | live updates of open pages | [`hub`], `routes/events.rs`; typing signals: [`typing`] |
//! | background jobs, e-mails and webhooks | [`jobs`], [`notify`] |
//! | what is deleted, and when | [`maintenance`], `store/queries/data.rs` |
//! | open connections, slow clients | [`connections`], `server/socket.rs` |
//! | metrics | [`metrics`] |
//! | every setting | [`config`]; its manual: `config/default.toml` |
//! | every error that a client can see | [`error::Code`] |
//!
//! # Layers
//!
//! Dependencies point down only: [`server`] → `routes` → [`jobs`] → [`evaluations`] → [`experts`] → [`turn`] →
//! [`hub`], [`judges`], [`sessions`] → [`agents`] → [`tools`] → [`llm`] → [`store`] → [`config`] → [`widgets`],
//! [`context`], [`error`]. `tests/tidy.rs` has the whole table. It fails where a module names one above it, where
//! two files depend on each other, and where two types have the same name.
//! Only [`server`], `routes` and [`error`] know actix-web, only [`store`] knows diesel, only [`config`] reads the
//! environment, only [`http`] builds HTTP clients.

pub mod agents;
pub mod app;
pub mod auth;
pub mod builder;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connections;
pub mod context;
pub mod conversations;
pub mod devices;
pub mod error;
pub mod evaluations;
pub mod experts;
pub mod http;
pub mod hub;
pub mod jobs;
pub mod judges;
pub mod limits;
pub mod llm;
pub mod maintenance;
pub mod metrics;
pub mod notify;
mod routes;
mod schema;
pub mod secret;
pub mod server;
pub mod sessions;
pub mod signature;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod tools;
pub mod turn;
pub mod typing;
pub mod widgets;
