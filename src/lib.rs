//! frontdesk: the chat backend behind a website.
//!
//! A visitor writes; an agent answers word by word; nothing that was said is lost. One binary,
//! one database. This is the map.
//!
//! A **turn** is a visitor's message and all that answers it. It runs as a task of its own and
//! appends frames to a numbered log; everything that shows an answer reads that log.
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
//! A function is enough for that. [`agents::Agent`] is for one that knows something of its visitors: its
//! [`Context`](agents::Agent::Context) is made once a session, stored with the conversation and handed to
//! [`respond`](agents::Agent::respond) with each message. There it may write, show a widget
//! ([`display_widget`](agents::Response::display_widget)), call a tool and wait for what it says
//! ([`call`](agents::Response::call); tools are functions too:
//! [`Builder::tool`](builder::Builder::tool)), or hand the conversation over
//! ([`hand_over`](agents::Response::hand_over)). [`conversations::Conversations`] talks to agents without
//! HTTP. `examples/` has a support agent with a context, a sales agent with tools, and an echo.
//!
//! | To find | look in |
//! | --- | --- |
//! | the URL table, and the handlers by noun | `routes` |
//! | beginning, reading, stopping and adopting turns | [`turn`] |
//! | which agent holds a conversation, and for how long | [`sessions`] |
//! | who answers: prompts, flows, the router, agents in Rust | [`agents`] |
//! | a server of a program's own | [`builder::Builder`], [`conversations`] |
//! | models and their wire formats | [`llm`] |
//! | what agents can do beside talking | [`tools`]; a turn's rounds of them: `turn::tool_calls` |
//! | what is known of a visitor and not for the model | [`context`] |
//! | what visitors are shown beside text, and what they answer | [`widgets`] |
//! | what is kept, and the queries for both databases | [`store`]; the fence predicate: `store/queries/locks.rs` |
//! | whose request it is | [`devices`]; who is signed in: [`auth`] |
//! | who waits for a person, and who has whom | [`experts`], [`store::assignments`]; an answer that is taken over: `turn::takeover` |
//! | whether an answer may stand | [`judges`]; before it is shown: `turn::guard`; afterwards: [`evaluations`] |
//! | live updates for open pages | [`hub`]; who is writing: [`typing`] |
//! | what is done until it is done, and who is told outside | [`jobs`], [`notify`] |
//! | how much one may write | [`limits`], [`store::sessions`] |
//! | expired locks, dead turns, old logs | [`maintenance`] |
//! | what operators watch | [`metrics`] |
//! | every setting | [`config`] |
//! | every error a client can see | [`error::Code`] |
//!
//! Dependencies point down only: [`server`] → `routes` → [`jobs`] → [`evaluations`] → [`experts`] → [`turn`] →
//! [`hub`], [`judges`], [`sessions`] → [`agents`] → [`tools`] → [`llm`] → [`store`] → [`config`] → [`widgets`],
//! [`context`], [`error`]; `tests/tidy.rs` has the whole table, and fails where two files depend on each other.
//! actix-web is known to [`server`], `routes` and [`error`] alone, diesel to [`store`], the environment to
//! [`config`], reqwest's builder to [`http`].

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
