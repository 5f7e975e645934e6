//! The conversations of users who are signed in.

mod messages;
mod openings;

use std::time::Duration;

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::support::{Db, Person, Said, Stream, TestApp, id_of, text, tidy, until};

both! {
    a_user_has_many_conversations
    a_list_has_pages_and_totals
    anothers_is_not_found
    a_conversation_is_renamed_and_put_away
    a_conversation_is_deleted_with_its_turn
}

async fn a_user_has_many_conversations(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    let first = ann.say(None, "One\nand more").await;
    assert_snapshot!("sent", tidy(&serde_json::to_string_pretty(&first).unwrap()));
    let second = id_of(&ann.say(None, "Two").await);
    let first = id_of(&first);
    assert_ne!(first, second);
    // Back in the first conversation, its history is still there.
    ann.say(Some(&first), "Three").await;
    assert_eq!(
        ann.said_in(&first).await,
        ["One\nand more", "Very well.", "Three", "Very well."]
    );
    assert_eq!(ann.said_in(&second).await, ["Two", "Very well."]);
    let asked = app.llm.asked().pop().unwrap().body.to_string();
    assert!(asked.contains("One") && !asked.contains("Two"), "{asked}");
    let listed = ann.get("/conversations").await;
    assert_snapshot!("listed", listed.shown());
    assert_eq!(app.count("users where phone_number = 'user_ann'").await, 1);
}

async fn a_list_has_pages_and_totals(db: Db) {
    let app = TestApp::offline(db).await;
    let ann = Person::of(&app, "ann").await;
    let mut all = Vec::new();
    for _ in 0..5 {
        let opened = ann.call(Method::POST, "/conversations", json!({})).await;
        assert_eq!(opened.status, 201);
        all.insert(0, id_of(&opened.json()));
    }
    let page = async |query: &str| {
        let page = ann.get(&format!("/conversations{query}")).await.json();
        assert_eq!(page["total"], 5);
        let page = page["conversations"].as_array().unwrap().iter();
        page.map(id_of).collect::<Vec<_>>()
    };
    assert_eq!(page("").await, all);
    assert_eq!(page("?page=2&per_page=2").await, all[2..4]);
    assert_eq!(page("?page=3&per_page=2").await, all[4..]);
    assert_eq!(page("?page=4&per_page=2").await, [""; 0]);
    for query in [
        "?page=0",
        "?page=x",
        "?per_page=101",
        "?per_page=0",
        "?status=gone",
    ] {
        let refused = ann.get(&format!("/conversations{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
    }
    // Messages are paged, too: first the newest ones; within a page, the oldest comes first.
    let id = &all[0];
    for content in ["1", "2"] {
        ann.say(Some(id), content).await;
    }
    let path = format!("/conversations/{id}/messages?limit=2");
    let newest = ann.get(&path).await.json();
    assert_eq!(newest[0]["content"], "2");
    let before = ann
        .get(&format!("{path}&before={}", text(&newest[0]["id"])))
        .await;
    assert_eq!(before.json()[0]["content"], "1");
    let foreign = ann.get(&format!("{path}&before={id}")).await;
    assert_eq!(foreign.json()["param"], "before");
}

async fn anothers_is_not_found(db: Db) {
    let app = TestApp::start(db).await;
    let (ann, bob) = (Person::of(&app, "ann").await, Person::of(&app, "bob").await);
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = ann.stream(None, "Mine").await;
    stream.next().await.unwrap();
    let (id, turn) = (stream.conversation_id(), stream.turn_id());
    let conversation = format!("/conversations/{id}");
    let messages = format!("{conversation}/messages");
    let running = format!("/messages/stream/{turn}");
    let to_it = json!({"content": "Hi", "conversation_id": id});
    let refused = [
        bob.get(&conversation).await,
        bob.get(&messages).await,
        bob.call(Method::PATCH, &conversation, json!({"title": "His"}))
            .await,
        bob.delete(&conversation).await,
        bob.call(Method::POST, "/messages", to_it.clone()).await,
        bob.call(Method::POST, "/messages/stream", to_it).await,
        bob.get(&running).await,
        bob.delete(&running).await,
        bob.get(&format!("/history/{id}")).await,
    ];
    for (at, said) in refused.iter().enumerate() {
        assert_eq!(said.status, 404, "{at}: {}", said.text);
        assert_eq!(said.json()["code"], "not_found", "{at}");
    }
    assert_eq!(bob.get("/conversations").await.json()["total"], 0);
    // A device whose id looks like a user's is not that user.
    for device in ["user_ann", "user:ann"] {
        assert_eq!(
            app.get(device, &format!("/chat/stream/{turn}"))
                .await
                .status,
            404
        );
    }
    app.llm.go_on();
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(ann.said_in(&id).await, ["Mine", "ab"]);
    assert_eq!(app.count("messages").await, 2);
    // If bob uses ann's conversation id as his session id, he gets a conversation of his own.
    let own = bob
        .call(
            Method::POST,
            "/end-user",
            json!({"session_id": id, "message": "Hi"}),
        )
        .await;
    assert_eq!(own.status, 200);
    assert_eq!(ann.said_in(&id).await.len(), 2);
}

async fn a_conversation_is_renamed_and_put_away(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    let id = id_of(&ann.say(None, "Hi").await);
    let path = format!("/conversations/{id}");
    let change = async |body: Value| ann.call(Method::PATCH, &path, body).await;
    let changed = change(json!({"title": " My order ", "status": "archived"}))
        .await
        .json();
    assert_eq!(
        (&changed["title"], &changed["status"]),
        (&json!("My order"), &json!("archived"))
    );
    assert_eq!(
        ann.get("/conversations?status=active").await.json()["total"],
        0
    );
    assert_eq!(
        ann.get("/conversations?status=archived").await.json()["total"],
        1
    );
    for wrong in [
        json!({"status": "gone"}),
        json!({"title": "a".repeat(256)}),
        json!({"title": 7}),
    ] {
        assert_eq!(change(wrong).await.status, 400);
    }
    assert_eq!(change(json!({})).await.json()["title"], "My order");
    assert_eq!(change(json!({"title": ""})).await.json()["title"], "Hi");
    // A new message makes the conversation active again.
    ann.say(Some(&id), "One more thing").await;
    assert_eq!(ann.get(&path).await.json()["status"], "active");
}

async fn a_conversation_is_deleted_with_its_turn(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    let kept = id_of(&ann.say(None, "Stays").await);
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = ann.stream(None, "Goes").await;
    stream.next().await.unwrap();
    let path = format!("/conversations/{}", stream.conversation_id());
    let deleted = ann.delete(&path).await;
    assert!(deleted.json()["message"].is_string(), "{}", deleted.text);
    assert_eq!(stream.told().await, "|cancelled");
    assert_eq!(ann.delete(&path).await.status, 404);
    assert_eq!(ann.get(&path).await.status, 404);
    assert_eq!(ann.said_in(&kept).await.len(), 2);
    for table in ["conversations", "turns", "turn_events"] {
        assert_eq!(app.count(table).await, 1, "{table}");
    }
    assert_eq!(app.count("messages").await, 2);
}
