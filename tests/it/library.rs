//! frontdesk as a library: agents, tools and conversations in Rust.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use frontdesk::{
    agents::{Agent, AgentSession, BoxError, Response, Turn},
    builder::Builder,
    error::Code,
    server::Server,
    tools::ToolOutput,
    widgets::RawWidget,
};
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::support::{Database, Db, Process, client, settings};

both! {
    an_agent_in_rust_calls_tools_once_and_says_nothing_twice
    a_context_of_a_rust_type_is_made_checked_and_changed
    conversations_are_had_without_http
    an_agent_in_rust_says_what_a_person_has_to_know
}

/// A server with a database of its own.
async fn serve(db: Db, builder: Builder) -> (Server, Database) {
    let database = Database::migrated(db).await;
    let mut settings = settings();
    settings.database = database.settings();
    (builder.settings(settings).start().await.unwrap(), database)
}

#[derive(Deserialize, JsonSchema)]
struct Day {
    day: String,
}

/// An agent that shows a widget and calls tools between its pieces of text.
struct Busy;

impl Agent for Busy {
    type Context = ();

    async fn create_context(&self, _: &AgentSession) -> Result<(), BoxError> {
        Ok(())
    }

    async fn respond(&self, turn: &mut Turn<()>, response: &mut Response) -> Result<(), BoxError> {
        response.write("One ").await?;
        response
            .display_widget(RawWidget::new("card", json!({"title": "Look"})))
            .await?;
        let first = response.call("book", json!({"day": turn.text()})).await?;
        response.write(&first).await?;
        let second = response.call("book", json!({"day": "Friday"})).await?;
        response.write(&format!("{second} ")).await?;
        // Arguments that do not fit the schema are an error.
        let wrong = response.call("book", json!({"day": 7})).await.unwrap_err();
        response.write(&wrong.to_string()[..9]).await?;
        assert_eq!(response.text(), "One booked Mondaybooked Friday The argum");
        assert!(response.file_text("x").await.is_err());
        Ok(())
    }
}

async fn an_agent_in_rust_calls_tools_once_and_says_nothing_twice(db: Db) {
    let called = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&called);
    let builder =
        Server::builder()
            .agent("busy", Busy)
            .tool("book", "Books.", move |Day { day }| {
                count.fetch_add(1, Ordering::Relaxed);
                async move { Ok(ToolOutput::from(format!("booked {day}"))) }
            });
    let (server, _database) = serve(db, builder).await;
    let conversations = server.conversations();
    let session = conversations.open("busy", "d", Map::new()).await.unwrap();
    let answer = conversations.send(&session, "Monday").await.unwrap();
    assert_eq!(answer.content, "One booked Mondaybooked Friday The argum");
    assert_eq!(answer.widgets.len(), 1);
    assert_eq!(called.load(Ordering::Relaxed), 2);
}

#[derive(Deserialize, JsonSchema)]
struct Greeted {
    name: String,
}

/// An agent that counts the messages in its context.
struct Counter;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Count {
    name: String,
    said: u32,
}

impl Agent for Counter {
    type Context = Count;

    async fn create_context(&self, session: &AgentSession) -> Result<Count, BoxError> {
        let name = format!("{} of {}", "nobody", session.agent);
        Ok(Count { name, said: 0 })
    }

    async fn respond(
        &self,
        turn: &mut Turn<Count>,
        response: &mut Response,
    ) -> Result<(), BoxError> {
        turn.context.said += 1;
        if turn.text() == "fail" {
            return Err("secret reason".into());
        }
        if turn.text() == "greet" {
            // The context's name replaces the one in the call.
            let greeting = response.call("greet", json!({"name": "Eve"})).await?;
            return Ok(response.write(&greeting).await?);
        }
        response.start(json!({"said": turn.context.said})).await?;
        let text = format!("{} {}", turn.context.name, turn.context.said);
        Ok(response.write(&text).await?)
    }
}

async fn a_context_of_a_rust_type_is_made_checked_and_changed(db: Db) {
    let builder = Server::builder().agent("count", Counter);
    let builder = builder
        .tool("greet", "Greets.", async |Greeted { name }| {
            Ok(ToolOutput::from(format!("Hello, {name}")))
        })
        .inject("name", "name")
        .timeout(Duration::from_secs(1));
    let (server, _database) = serve(db, builder).await;
    let conversations = server.conversations();
    let made = conversations.open("count", "d", Map::new()).await.unwrap();
    for expected in ["nobody of count 1", "nobody of count 2"] {
        let answer = conversations.send(&made, "Hi").await.unwrap();
        assert_eq!(answer.content, expected);
    }
    // A failed answer does not change the context, and its error does not reveal the reason.
    let failed = conversations.send(&made, "fail").await.unwrap_err();
    assert_eq!(failed.code, Code::Internal);
    let Value::Object(context) = json!({"name": "Ann", "said": 5}) else {
        unreachable!("it is an object")
    };
    let given = conversations.open("count", "e", context).await.unwrap();
    assert_eq!(
        conversations.send(&given, "Hi").await.unwrap().content,
        "Ann 6"
    );
    let greeted = conversations.send(&given, "greet").await.unwrap();
    assert_eq!(greeted.content, "Hello, Ann");
    let messages = conversations.messages(&given, 10).await.unwrap();
    assert_eq!(messages[1].metadata.as_ref().unwrap().0, json!({"said": 6}));
    let wrong = Map::from_iter([("name".to_owned(), json!(7))]);
    let refused = conversations.open("count", "f", wrong).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidContext);
}

async fn conversations_are_had_without_http(db: Db) {
    let echo = |turn: Turn<()>, mut response: Response| async move {
        Ok(response.write(&turn.text()).await?)
    };
    let (server, _database) = serve(db, Server::builder().agent_fn("echo", "", echo)).await;
    let conversations = server.conversations();
    let first = conversations.open("echo", "d", Map::new()).await.unwrap();
    conversations.send(&first, "One").await.unwrap();
    conversations.send(&first, "Two").await.unwrap();
    let second = conversations.open("echo", "d", Map::new()).await.unwrap();
    assert_ne!(first.conversation_id, second.conversation_id);
    // A message to the first conversation is refused, not stored in the second.
    let over = conversations.send(&first, "Lost?").await.unwrap_err();
    assert_eq!(over.code, Code::NotFound);
    conversations.send(&second, "Three").await.unwrap();
    let said = conversations.messages(&first, 10).await.unwrap();
    let said: Vec<&str> = said.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(said, ["One", "One", "Two", "Two"]);
    let all = conversations.list("d").await.unwrap();
    let all: Vec<_> = all.iter().map(|one| one.id).collect();
    assert_eq!(all, [first.conversation_id, second.conversation_id]);
    assert_eq!(conversations.list("other").await.unwrap().len(), 0);
    let unknown = conversations.open("x", "d", Map::new()).await.unwrap_err();
    assert_eq!(unknown.code, Code::UnknownAgent);
}

/// An agent that hands every conversation to an expert.
struct Shy;

impl Agent for Shy {
    type Context = ();

    fn skill(&self) -> Option<&str> {
        Some("billing")
    }

    async fn create_context(&self, _: &AgentSession) -> Result<(), BoxError> {
        Ok(())
    }

    async fn respond(&self, _: &mut Turn<()>, response: &mut Response) -> Result<(), BoxError> {
        Ok(response.hand_over("human", "A bill.", "").await?)
    }
}

async fn an_agent_in_rust_says_what_a_person_has_to_know(db: Db) {
    let (server, database) = serve(db, Server::builder().agent("shy", Shy)).await;
    let conversations = server.conversations();
    let opened = conversations.open("shy", "d", Map::new()).await.unwrap();
    conversations
        .send(&opened, "My bill is wrong")
        .await
        .unwrap();
    let waits = "conversations where mode = 'expert' and skill = 'billing'";
    assert_eq!(database.count(waits.to_owned()).await, 1);
}

/// The JSON or text that an example server answers.
async fn ask(server: &Process, path: &str, body: Value) -> Value {
    let call = client()
        .request(Method::POST, format!("{}{path}", server.url))
        .header("X-Device-ID", "d")
        .json(&body);
    let text = call.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

#[tokio::test]
async fn the_examples_run() {
    let directory = tempfile::tempdir().unwrap();
    let start = |name| Process::example(name, directory.path(), &[]);
    let say = |text: &str| json!({"content": text});

    let echo = start("echo");
    assert_eq!(
        ask(&echo, "/chat", say("Good morning")).await["content"],
        "Good morning"
    );
    drop(echo);

    let support = start("support");
    ask(
        &support,
        "/chat",
        json!({"content": "Hi", "agent": "support"}),
    )
    .await;
    let said = ask(&support, "/chat", say("Hi")).await;
    assert_eq!(
        said["content"],
        "This is question 2 on the free plan. What is it about?"
    );
    let id = said["widgets"][0]["message_id"].as_str().unwrap();
    let body = json!({"answer": {"choice": "billing"}});
    let said = ask(&support, &format!("/chat/widgets/{id}"), body).await;
    assert!(
        said.as_str()
            .unwrap()
            .contains("Somebody who knows about billing"),
        "{said}"
    );
    drop(support);

    let sales = start("sales");
    let said = ask(
        &sales,
        "/chat",
        json!({"content": "A bench", "agent": "sales"}),
    )
    .await;
    assert_eq!(said["content"], "Let me look. There is no bench.");
    let said = ask(&sales, "/chat", say("Order a chair")).await;
    assert_eq!(said["content"], "Let me look. A chair is 49 €.");
    assert_eq!(said["widgets"][0]["data"]["text"], "Shall I order a chair?");
    let id = said["widgets"][0]["message_id"].as_str().unwrap();
    let said = ask(
        &sales,
        &format!("/chat/widgets/{id}"),
        json!({"answer": {"confirmed": true}}),
    )
    .await;
    assert!(
        said.as_str().unwrap().contains("Ordered: chair-1."),
        "{said}"
    );
    let said = ask(&sales, "/chat", say("My chair is broken")).await;
    assert_eq!(said["agent"], "repairs");
}
