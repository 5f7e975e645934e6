//! The tests: the server that `cargo run` starts, over real HTTP, on both databases, with a fake
//! model server that speaks the vendors' wire formats.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test fails by panicking, tells one story, is a client, and sets up its own surroundings"
)]

#[macro_use]
mod support;

mod agents;
mod at_once;
mod auth;
mod budgets;
mod chat;
mod config;
mod connections;
mod conversations;
mod crowds;
mod data;
mod devices;
mod errors;
mod evaluations;
mod experts;
mod faults;
mod library;
mod limits;
mod llm;
mod messages;
mod migrations;
mod notify;
mod openapi;
mod ops;
mod outages;
mod process;
mod readme;
mod sessions;
mod store;
mod tools;
mod turns;
mod unknown;
mod waiting;
mod webhooks;
mod widgets;
mod ws;
