//! The tests: the server that `cargo run` starts, over real HTTP, on both databases, with a
//! model's server that speaks the vendors' wire formats.

#![expect(
    clippy::disallowed_methods,
    reason = "a test is a client, and sets up its own surroundings"
)]

#[macro_use]
mod support;

mod chat;
