//! The chat over a WebSocket.

mod echo;
mod people;
mod typing;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::frame::coding::CloseCode},
};

use crate::support::{Db, Person, TestApp, text};

both! {
    a_message_is_answered_word_by_word
    a_client_that_was_cut_off_goes_on_where_it_was
    a_turn_is_stopped
    a_message_that_is_sent_again_is_the_same_message
    only_those_who_are_signed_in_connect
    a_page_of_another_origin_does_not_connect
    what_cannot_be_read_is_answered_and_ends_in_the_end
    a_connection_ends_with_its_token
    a_client_that_does_not_read_holds_up_nobody
}

const PATIENCE: Duration = Duration::from_secs(10);

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

fn address(app: &TestApp, path: &str) -> String {
    format!("{}/api/v1/chat/{path}", app.url.replace("http", "ws"))
}

impl Socket {
    /// A socket that has received its `connection` frame.
    async fn of(person: &Person<'_>) -> Self {
        let url = address(person.app, &format!("ws?token={}", person.token));
        let mut socket = Self(connect_async(url).await.unwrap().0);
        assert_eq!(socket.next().await["type"], "connection");
        socket
    }

    async fn say(&mut self, message: Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    async fn next(&mut self) -> Value {
        loop {
            let next = timeout(PATIENCE, self.0.next())
                .await
                .expect("a frame in time");
            match next.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other}"),
            }
        }
    }

    /// Frames up to the first one that matches.
    async fn until(&mut self, is_so: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let next = self.next().await;
            let found = is_so(&next);
            seen.push(next);
            if found {
                return seen;
            }
        }
    }

    /// A turn's text and frames, up to its end.
    async fn answer(&mut self) -> (String, Vec<Value>) {
        let mut frames = self.until(|frame| frame["is_final"] == true).await;
        frames.retain(|frame| frame["turn_id"].is_string());
        let said = frames.iter().map(|frame| text(&frame["content"])).collect();
        (said, frames)
    }

    /// Waits for the server's close; its code.
    async fn closed(&mut self) -> CloseCode {
        loop {
            match timeout(PATIENCE, self.0.next())
                .await
                .expect("a close in time")
            {
                Some(Ok(Message::Close(Some(close)))) => return close.code,
                Some(Ok(_)) => {}
                other => panic!("no close: {other:?}"),
            }
        }
    }
}

fn message(content: &str) -> Value {
    json!({"type": "message", "content": content})
}

async fn a_message_is_answered_word_by_word(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    let mut socket = Socket::of(&ann).await;
    app.llm.says(["Hel", "lo"]);
    socket
        .say(json!({"type": "message", "content": "Hi", "client_message_id": "m-1"}))
        .await;
    let (said, frames) = socket.answer().await;
    assert_eq!(said, "Hello");
    let (first, last) = (&frames[0], frames.last().unwrap());
    let (turn, id) = (text(&first["turn_id"]), text(&first["conversation_id"]));
    assert!(
        frames
            .iter()
            .any(|frame| frame["id"] == format!("{turn}.1:1")),
        "{frames:?}"
    );
    assert_eq!(
        (&first["client_message_id"], &last["finish_reason"]),
        (&json!("m-1"), &json!("stop"))
    );
    // With its id the conversation goes on; a message without a type begins or continues the session that it names.
    socket
        .say(json!({"type": "message", "content": "And?", "conversation_id": id}))
        .await;
    socket.answer().await;
    assert_eq!(ann.said_in(&id).await.len(), 4);
    socket
        .say(json!({"session_id": "s", "message": "Bare"}))
        .await;
    let (_, frames) = socket.answer().await;
    assert_ne!(frames[0]["conversation_id"], json!(id));
    assert_eq!(
        ann.get("/history/s").await.json()["messages"][0]["content"],
        "Bare"
    );
    socket.0.close(None).await.unwrap();
    loop {
        match socket.0.next().await {
            // Frames that were sent before the server saw the close.
            Some(Ok(Message::Text(_))) => {}
            Some(Ok(Message::Close(None))) | None => break,
            other => panic!("no close: {other:?}"),
        }
    }
}

async fn a_client_that_was_cut_off_goes_on_where_it_was(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    app.llm.says(["a", "b", "c"]).pause_after(1);
    let mut socket = Socket::of(&ann).await;
    socket.say(message("Hi")).await;
    let seen = socket
        .until(|frame| frame["content"] == "a")
        .await
        .pop()
        .unwrap();
    drop(socket);
    app.llm.go_on();
    let other = match db {
        Db::Postgres => Some(app.another().await),
        Db::Sqlite => None,
    };
    let ann = ann.on(other.as_ref().unwrap_or(&app));
    let mut socket = Socket::of(&ann).await;
    socket
        .say(json!({"type": "resume", "id": seen["id"]}))
        .await;
    let (said, frames) = socket.answer().await;
    assert_eq!(said, "bc");
    // A client that has all frames is told so; another user's turn is not found.
    socket
        .say(json!({"type": "resume", "id": frames.last().unwrap()["id"]}))
        .await;
    socket.until(|frame| frame["type"] == "resume").await;
    let bob = Person::of(&app, "bob").await;
    let mut other = Socket::of(&bob).await;
    other.say(json!({"type": "resume", "id": seen["id"]})).await;
    assert_eq!(other.next().await["error"]["code"], "not_found");
}

async fn a_turn_is_stopped(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut socket = Socket::of(&ann).await;
    socket.say(message("Hi")).await;
    let seen = socket
        .until(|frame| frame["content"] == "a")
        .await
        .pop()
        .unwrap();
    socket
        .say(json!({"type": "stop", "turn_id": seen["turn_id"]}))
        .await;
    let (_, frames) = socket.answer().await;
    assert_eq!(frames.last().unwrap()["finish_reason"], "cancelled");
}

async fn a_message_that_is_sent_again_is_the_same_message(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    let mut turns = Vec::new();
    for _ in 0..2 {
        let mut socket = Socket::of(&ann).await;
        socket
            .say(json!({"type": "message", "content": "Hi", "client_message_id": "m-1"}))
            .await;
        let (said, frames) = socket.answer().await;
        assert_eq!(said, "Very well.");
        turns.push(frames[0]["turn_id"].clone());
    }
    assert_eq!(turns[0], turns[1]);
    assert_eq!(app.count("messages").await, 2);
}

async fn refused(request: impl IntoClientRequest + Unpin) -> StatusCode {
    match connect_async(request).await {
        Err(Error::Http(response)) => StatusCode::from_u16(response.status().as_u16()).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn only_those_who_are_signed_in_connect(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    for path in ["ws", "ws?token=", "ws?token=nonsense", "stream"] {
        assert_eq!(refused(address(&app, path)).await, 401, "{path}");
    }
    // The token may come in a header, too, and the path may be the other one.
    let mut request = address(&app, "stream").into_client_request().unwrap();
    let bearer = format!("Bearer {}", ann.token).parse().unwrap();
    request.headers_mut().insert("Authorization", bearer);
    assert!(connect_async(request).await.is_ok());
    // A token in the URL is accepted for WebSockets only.
    let call = app.http.get(format!(
        "{}/api/v1/chat/conversations?token={}",
        app.url, ann.token
    ));
    assert_eq!(call.send().await.unwrap().status(), 401);
    assert_eq!(ann.get("/ws").await.status, 400);
    assert_eq!(ann.call(Method::POST, "/ws", json!({})).await.status, 405);
}

async fn a_page_of_another_origin_does_not_connect(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.server.allowed_origins = vec!["https://shop.example.com".to_owned()];
    })
    .await;
    let ann = Person::of(&app, "ann").await;
    let from = |origin: &str| {
        let url = address(&app, &format!("ws?token={}", ann.token));
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Origin", origin.parse().unwrap());
        request
    };
    for origin in [
        "https://evil.example.com",
        "null",
        "https://shop.example.com.evil.com",
        "http://shop.example.com",
    ] {
        assert_eq!(refused(from(origin)).await, 403, "{origin}");
    }
    for origin in ["https://shop.example.com", app.url.as_str()] {
        assert!(connect_async(from(origin)).await.is_ok(), "{origin}");
    }
}

async fn what_cannot_be_read_is_answered_and_ends_in_the_end(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    let mut socket = Socket::of(&ann).await;
    for nonsense in [
        "",
        "[]",
        "{\"type\": \"dance\"}",
        "{\"type\": \"stop\"}",
        "{\"type\": \"resume\", \"id\": \"x\"}",
    ] {
        socket.0.send(Message::text(nonsense)).await.unwrap();
        let error = socket.next().await;
        assert_eq!(
            (&error["type"], &error["is_final"]),
            (&json!("error"), &json!(false)),
            "{error}"
        );
    }
    assert_eq!(socket.closed().await, CloseCode::Policy);
    // A refused message gets an error with the reason and the client's own message id.
    let mut socket = Socket::of(&ann).await;
    socket
        .say(json!({"type": "message", "content": " ", "client_message_id": "m"}))
        .await;
    let error = socket.next().await;
    assert_eq!(
        (&error["error"]["param"], &error["client_message_id"]),
        (&json!("content"), &json!("m"))
    );
    socket.say(message(&"a".repeat(70_000))).await;
    assert_eq!(socket.closed().await, CloseCode::Size);
    assert_eq!(app.count("messages").await, 0);
}

async fn a_connection_ends_with_its_token(db: Db) {
    let app = TestApp::with(db, |settings| settings.auth.leeway_seconds = 0).await;
    let life = Duration::from_secs(4);
    let token = app.app.auth.token("ann", frontdesk::auth::Role::User, life);
    let ann = Person {
        app: &app,
        token: token.await.unwrap(),
    };
    let mut socket = Socket::of(&ann).await;
    assert_eq!(socket.closed().await, CloseCode::Away);
    assert_eq!(
        refused(address(&app, &format!("ws?token={}", ann.token))).await,
        401
    );
}

async fn a_client_that_does_not_read_holds_up_nobody(db: Db) {
    let app = TestApp::start(db).await;
    let (ann, bob) = (Person::of(&app, "ann").await, Person::of(&app, "bob").await);
    let mut lazy = Socket::of(&ann).await;
    app.llm.chatters(300, Duration::ZERO);
    for _ in 0..4 {
        lazy.say(message("Hi")).await;
    }
    let mut other = Socket::of(&bob).await;
    other.say(message("Hi")).await;
    other.answer().await;
    // None of the unread frames is lost.
    for _ in 0..4 {
        lazy.until(|frame| frame["is_final"] == true).await;
    }
}
