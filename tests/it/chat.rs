//! A message and its answer.

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::json;

use crate::support::{Db, Stream, TestApp};

both! {
    an_answer_is_streamed_word_by_word
    an_answer_comes_in_one_piece
    both_slashes_are_the_same
    the_story_of_the_readme_works_offline
    the_model_sees_the_conversation
}

async fn an_answer_is_streamed_word_by_word(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["Hello! ", "I'm Anna"]).pause_after(1);
    let mut stream = app.stream("d", "Hi").await;
    assert_eq!(stream.header("content-type"), "text/event-stream");
    assert_eq!(stream.header("cache-control"), "no-cache, no-transform");
    assert_eq!(stream.header("x-accel-buffering"), "no");
    assert_eq!(stream.header("x-device-id"), "d");
    assert_eq!(stream.next().await.unwrap().content(), "Hello! ");
    app.llm.go_on();
    assert_snapshot!("stream", stream.transcript().await);
}

async fn an_answer_comes_in_one_piece(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["Hello! ", "I'm Anna"]);
    let said = app.say("d", "Hi").await;
    assert_snapshot!("json", said.shown());
    assert_eq!(said.header("x-turn-id"), said.json()["turn_id"]);
}

async fn both_slashes_are_the_same(db: Db) {
    let app = TestApp::start(db).await;
    let said = app.post("d", "/chat/", json!({"content": "Hi"})).await;
    assert_eq!(said.content(), "Very well.");
}

async fn the_story_of_the_readme_works_offline(db: Db) {
    let app = TestApp::offline(db).await;
    let told = app
        .stream("d", "Hello, I want to schedule an appointment")
        .await
        .told()
        .await;
    assert!(told.contains("Anna"), "{told}");
    let said = app
        .say(
            "d",
            "My name is John Doe and I need help with hair transplant",
        )
        .await;
    assert!(said.content().contains("John"), "{}", said.text);
    assert_eq!(said.json()["agent"], "scheduling");
}

async fn the_model_sees_the_conversation(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["Hello!"]).says(["Fine."]);
    app.say("d", "Hi").await;
    let body = json!({"content": "How are you?", "media_urls": ["https://example.com/a.png"]});
    Stream::of(
        app.request(Method::POST, "d", "/chat/stream")
            .json(&body)
            .send()
            .await
            .unwrap(),
    )
    .rest()
    .await;
    let asked = app.llm.asked();
    assert_eq!(asked.len(), 2, "one call a turn");
    assert_eq!(app.llm.routed(), 1, "the manager is asked once a session");
    assert_eq!(
        asked[1].conversation(),
        [
            "user: Hi",
            "assistant: Hello!",
            r#"user: [{"text":"How are you?","type":"text"},{"image_url":{"url":"https://example.com/a.png"},"type":"image_url"}]"#,
        ]
    );
}
