//! A sales agent with two tools: one looks up a price, the other orders, after the visitor has confirmed. What is not
//! a sale goes to a second agent.
//!
//! Run `cargo run --example sales`, then open the address that it prints.

use frontdesk::{
    agents::{Agent, AgentSession, BoxError, Response, ResponseError, Turn},
    app::StartError,
    server::Server,
    tools::ToolOutput,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

struct Sales;

/// The arguments of both tools.
#[derive(Deserialize, JsonSchema)]
struct Product {
    /// The product's name.
    product: String,
}

impl Agent for Sales {
    type Context = ();

    fn description(&self) -> &str {
        "Sells things."
    }

    async fn create_context(&self, _session: &AgentSession) -> Result<(), BoxError> {
        Ok(())
    }

    async fn respond(&self, turn: &mut Turn<()>, response: &mut Response) -> Result<(), BoxError> {
        // The visitor has answered the question whether to order.
        if let Some((_, came)) = turn.confirmed().next() {
            let text = match came {
                Ok(number) => format!("Ordered: {number}."),
                Err(_) => "Then not.".to_owned(),
            };
            return Ok(response.write(&text).await?);
        }
        let text = turn.text().to_lowercase();
        if text.contains("broken") {
            response.write("I am sorry to hear that. ").await?;
            response
                .hand_over("repairs", "Something is broken.", &text)
                .await?;
        }
        response.write("Let me look. ").await?;
        let product = text.split_whitespace().last().unwrap_or_default();
        match response.call("price", json!({"product": product})).await {
            Ok(price) => response.write(&format!("A {product} is {price}.")).await?,
            Err(ResponseError::Tool(problem)) => response.write(&problem).await?,
            Err(ended) => return Err(ended.into()),
        }
        if text.starts_with("order") {
            // The tool has a `confirm`: the visitor is asked, and the turn ends here.
            response.call("order", json!({"product": product})).await?;
        }
        Ok(())
    }
}

async fn price(Product { product }: Product) -> Result<ToolOutput, BoxError> {
    match product.as_str() {
        "chair" => Ok("49 €".to_owned().into()),
        "table" => Ok("120 €".to_owned().into()),
        other => Err(format!("There is no {other}.").into()),
    }
}

async fn order(Product { product }: Product) -> Result<ToolOutput, BoxError> {
    Ok(format!("{product}-1").into())
}

#[tokio::main]
async fn main() -> Result<(), StartError> {
    Server::builder()
        .agent("sales", Sales)
        .agent_fn("repairs", "Repairs things.", |_, mut response| async move {
            Ok(response.write("What happened to it?").await?)
        })
        .tool("price", "What something costs.", price)
        .tool("order", "Orders something.", order)
        .confirm("Shall I order a {product}?")
        .run()
        .await
}
