//! The history.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Db, TestApp};

both! {
    the_history_has_every_member_of_a_message
    the_history_comes_by_pages
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

async fn a_stranger_has_no_history(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "Hi").await;
    assert_snapshot!(
        "no_history",
        app.get("other", "/chat/history").await.shown()
    );
}
