//! The message history, and its pages.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Db, TestApp};

both! {
    the_history_has_every_member_of_a_message
    the_history_comes_by_pages
    a_page_ends_early_where_messages_are_long
    an_export_comes_whole_in_pieces
    a_stranger_has_no_history
}

async fn the_history_has_every_member_of_a_message(db: Db) {
    let app = TestApp::start(db).await;
    let body = json!({
        "content": "Look",
        "media_urls": ["https://example.com/a.png"],
        "audio_urls": ["https://example.com/a.ogg"],
        "metadata": {"page": "/prices", "n": [1, null]},
    });
    app.post("d", "/chat", body).await;
    assert_snapshot!("history", app.get("d", "/chat/history").await.shown());
}

async fn the_history_comes_by_pages(db: Db) {
    let app = TestApp::start(db).await;
    for turn in 1..=3 {
        app.say("d", &format!("{turn}")).await;
    }
    let mut pages = Vec::new();
    let mut before = String::new();
    loop {
        let page = app
            .get("d", &format!("/chat/history?limit=4{before}"))
            .await
            .json();
        let messages = page["messages"].as_array().unwrap();
        pages.push(
            messages
                .iter()
                .map(|message| message["seq"].as_i64().unwrap())
                .collect::<Vec<_>>(),
        );
        if page["has_more"] == false {
            break;
        }
        before = format!("&before={}", messages[0]["id"].as_str().unwrap());
    }
    assert_eq!(pages, [vec![3, 4, 5, 6], vec![1, 2]]);
    for bad in [
        "limit=0",
        "limit=201",
        "limit=x",
        "before=x",
        "before=0198c0de-0000-7000-8000-000000000000",
    ] {
        let refused = app.get("d", &format!("/chat/history?{bad}")).await;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["code"].as_str()),
            (400, Some("invalid_field")),
            "{bad}"
        );
    }
}

/// Sends messages of the maximum length: 10,000 characters, nearly all of them 4 bytes long.
async fn say_much(app: &TestApp, device: &str, turns: usize) {
    for turn in 0..turns {
        let text = format!("{turn:05}{}", "\u{1f600}".repeat(9_995));
        let said = app.say(device, &text).await;
        assert_eq!(said.status, 200, "{}", said.text);
    }
}

async fn a_page_ends_early_where_messages_are_long(db: Db) {
    const MOST: usize = 640 * 1024;
    let app = TestApp::start(db).await;
    say_much(&app, "d", 30).await;
    let (mut seqs, mut before, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/chat/history?limit=200{before}");
        let page = app.get("d", &path).await;
        assert!(page.text.len() < MOST, "{}", page.text.len());
        let page = page.json();
        let messages = page["messages"].as_array().unwrap();
        let new = messages
            .iter()
            .map(|message| message["seq"].as_i64().unwrap());
        seqs.splice(0..0, new);
        pages += 1;
        if page["has_more"] == false {
            break;
        }
        before = format!("&before={}", messages[0]["id"].as_str().unwrap());
    }
    assert_eq!(seqs, (1..=60).collect::<Vec<_>>());
    assert!(pages > 1);
    // A message that is longer than a page is a page of its own.
    let answer = "x".repeat(1024 * 1024);
    app.llm.says([&*answer]);
    app.say("long", "Hi").await;
    let page = app.get("long", "/chat/history").await.json();
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["content"].as_str().unwrap().len(), answer.len());
    assert_eq!(page["has_more"], true);
}

async fn an_export_comes_whole_in_pieces(db: Db) {
    let app = TestApp::start(db).await;
    say_much(&app, "d", 20).await;
    app.delete("d", "/chat/session").await;
    app.say("d", "again").await;
    let export = app.get("d", "/chat/export").await.json();
    let said: Vec<Vec<i64>> = export["conversations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|conversation| {
            let messages = conversation["messages"].as_array().unwrap().iter();
            messages
                .map(|message| message["seq"].as_i64().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(said, [(1..=40).collect::<Vec<_>>(), vec![1, 2]]);
}

async fn a_stranger_has_no_history(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "Hi").await;
    assert_snapshot!(
        "no_history",
        app.get("other", "/chat/history").await.shown()
    );
}
