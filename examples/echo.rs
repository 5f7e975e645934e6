//! The smallest agent: it repeats each message.
//!
//! Run `cargo run --example echo`, then open the address that it prints.

use frontdesk::{app::StartError, server::Server};

#[tokio::main]
async fn main() -> Result<(), StartError> {
    Server::builder()
        .agent_fn("echo", "Says it again.", |turn, mut response| async move {
            for word in turn.text().split_inclusive(' ') {
                response.write(word).await?;
            }
            Ok(())
        })
        .run()
        .await
}
