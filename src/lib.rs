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
//! | To find | look in |
//! | --- | --- |
//! | the URL table, and the handlers by noun | `routes` |
//! | beginning, reading, stopping and adopting turns | [`turn`] |
//! | which agent holds a conversation, and for how long | [`sessions`] |
//! | who answers: prompts, flows, the router | [`agents`] |
//! | models and their wire formats | [`llm`] |
//! | what agents can do beside talking | [`tools`]; a turn's rounds of them: `turn::steps` |
//! | what visitors are shown beside text, and what they answer | [`widgets`] |
//! | what is kept, and the queries for both databases | [`store`] |
//! | whose request it is | [`devices`] |
//! | how much one may write | [`limits`], [`store::sessions`] |
//! | expired locks, dead turns, old logs | [`upkeep`] |
//! | what operators watch | [`metrics`] |
//! | every setting | [`config`] |
//! | every error a client can see | [`error::Code`] |
//!
//! Dependencies point down only: [`server`] → `routes` → [`turn`], [`sessions`] → [`agents`] →
//! [`tools`], [`widgets`], [`llm`] → [`store`] → [`config`], [`error`], [`clock`]. actix-web is known to [`server`],
//! `routes` and [`error`] alone, diesel to [`store`], the environment to [`config`], reqwest's
//! builder to [`http`].

pub mod agents;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod devices;
pub mod error;
pub mod http;
pub mod limits;
pub mod llm;
pub mod metrics;
mod routes;
pub mod server;
pub mod sessions;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod tools;
pub mod turn;
pub mod upkeep;
pub mod widgets;
