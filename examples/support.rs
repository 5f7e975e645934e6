//! A support agent with a context and a widget: it counts a visitor's questions, and offers topics to choose from.
//!
//! Run `cargo run --example support`, then open the address that it prints.

use frontdesk::{
    agents::{Agent, AgentSession, BoxError, Response, Turn},
    app::StartError,
    server::Server,
    widgets::RawWidget,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

struct Support;

/// The agent's data about a visitor, stored with the conversation.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Visitor {
    plan: String,
    questions: u32,
}

impl Agent for Support {
    type Context = Visitor;

    fn description(&self) -> &str {
        "Answers questions about the product."
    }

    async fn create_context(&self, _session: &AgentSession) -> Result<Visitor, BoxError> {
        Ok(Visitor {
            plan: "free".to_owned(),
            questions: 0,
        })
    }

    async fn respond(
        &self,
        turn: &mut Turn<Visitor>,
        response: &mut Response,
    ) -> Result<(), BoxError> {
        turn.context.questions += 1;
        if let Some((_, answer)) = turn.answer() {
            let topic = answer["choice"].as_str().unwrap_or_default().to_owned();
            let text = format!("Somebody who knows about {topic} will write to you.");
            return Ok(response.write(&text).await?);
        }
        let Visitor { plan, questions } = &turn.context;
        response.start(json!({"plan": plan})).await?;
        let text = format!("This is question {questions} on the {plan} plan. ");
        response.write(&text).await?;
        response.write("What is it about?").await?;
        let topics = json!({"options": ["billing", "the app", "something else"]});
        response
            .display_widget(RawWidget::new("choices", topics))
            .await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), StartError> {
    Server::builder().agent("support", Support).run().await
}
