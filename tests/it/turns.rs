//! A turn belongs to its conversation: it outlives its client, and can be resumed and stopped.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{Db, Event, Said, Stream, TestApp, until};

both! {
    a_cut_stream_resumes_without_loss
    a_client_that_goes_away_does_not_stop_the_turn
    a_finished_turn_is_read_again_on_any_instance
    a_turn_of_another_device_does_not_exist
    frames_are_kept_for_an_hour
    the_running_turn_is_found_without_its_id
    the_newest_turn_is_given_to_a_reader_of_an_older_one
    a_stop_keeps_what_was_said_and_hangs_up
    a_turn_is_stopped_from_another_instance
    the_same_key_is_the_same_turn
    a_key_with_another_body_is_refused
    a_failing_model_is_an_error_frame_and_the_message_is_kept
    a_cut_answer_is_interrupted_and_its_beginning_kept
    a_turn_that_was_closed_elsewhere_writes_nothing_more
    an_instance_that_lives_keeps_its_turn
}

async fn a_cut_stream_resumes_without_loss(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a", "b", "c", "d"]).pause_after(2);
    let mut stream = app.stream("d", "Hi").await;
    let first = stream.next().await.unwrap();
    drop(stream);
    let mut again = app.resume("d", &first.id).await;
    assert_eq!(again.next().await.unwrap().content(), "b");
    app.llm.go_on();
    assert_eq!(again.told().await, "cd|stop");
}

async fn a_client_that_goes_away_does_not_stop_the_turn(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", "Hi").await;
    let turn = stream.turn_id();
    stream.next().await.unwrap();
    drop(stream);
    app.llm.go_on();
    let rest = app.resume("d", &format!("{turn}.1:0")).await.told().await;
    assert_eq!(rest, "ab|stop");
    assert_eq!(app.history("d").await, ["user: Hi", "assistant: ab"]);
}

async fn a_finished_turn_is_read_again_on_any_instance(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a", "b"]);
    let all = app.stream("d", "Hi").await.rest().await;
    let ids: Vec<_> = all.iter().map(|event| event.id.clone()).collect();
    let instance = app.another().await;
    for (seen, id) in ids.iter().enumerate() {
        let rest = instance.resume("d", id).await;
        let last = seen + 1 == ids.len();
        assert_eq!(rest.status(), if last { 204 } else { 200 });
        let rest: Vec<_> = rest
            .rest()
            .await
            .into_iter()
            .map(|event| event.id)
            .collect();
        assert_eq!(rest, ids[seen + 1..]);
    }
}

async fn a_turn_of_another_device_does_not_exist(db: Db) {
    let app = TestApp::start(db).await;
    let turn = app.say("d", "Hi").await.header("x-turn-id").to_owned();
    for (device, id) in [
        ("other", turn.as_str()),
        ("d", "0198c0de-0000-7000-8000-000000000000"),
        ("d", "nonsense"),
    ] {
        let path = format!("/chat/stream/{id}");
        assert_eq!(app.get(device, &path).await.status, 404, "{device} {id}");
        assert_eq!(app.delete(device, &path).await.status, 404, "{device} {id}");
    }
    let other_turn = app.request(Method::GET, "d", &format!("/chat/stream/{turn}"));
    let cursor = "0198c0de-0000-7000-8000-000000000000.1:1";
    let said = Said::of(
        other_turn
            .header("Last-Event-ID", cursor)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(said.json()["code"], "invalid_cursor");
}

async fn frames_are_kept_for_an_hour(db: Db) {
    let app = TestApp::start(db).await;
    let turn = app.say("d", "Hi").await.header("x-turn-id").to_owned();
    let path = format!("/chat/stream/{turn}");
    app.advance(Duration::from_secs(3590)).await;
    assert_eq!(app.get("d", &path).await.status, 200);
    app.advance(Duration::from_secs(20)).await;
    assert_eq!(app.get("d", &path).await.status, 410);
    app.app
        .store
        .prune_logs(Duration::from_secs(3600), 10)
        .await
        .unwrap();
    assert_eq!(app.count("turn_events").await, 0);
    let gone = app.get("d", &path).await;
    assert_eq!(
        (gone.status.as_u16(), gone.json()["code"].as_str()),
        (410, Some("gone"))
    );
    assert_eq!(
        app.history("d").await,
        ["user: Hi", "assistant: Very well."]
    );
}

async fn the_running_turn_is_found_without_its_id(db: Db) {
    let app = TestApp::start(db).await;
    assert_eq!(app.get("d", "/chat/stream").await.status, 204);
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", "Hi").await;
    stream.next().await.unwrap();
    let found = Stream::of(
        app.request(Method::GET, "d", "/chat/stream")
            .send()
            .await
            .unwrap(),
    );
    app.llm.go_on();
    assert_eq!(found.told().await, "ab|stop");
    assert_eq!(app.get("d", "/chat/stream").await.status, 204);
}

async fn the_newest_turn_is_given_to_a_reader_of_an_older_one(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["old"]).says(["new"]);
    let old = app.stream("d", "1").await.rest().await;
    let read = async |id: &str| {
        let call = app
            .request(Method::GET, "d", "/chat/stream")
            .header("Last-Event-ID", id);
        Stream::of(call.send().await.unwrap())
            .rest()
            .await
            .iter()
            .map(Event::content)
            .collect::<String>()
    };
    assert_eq!(read(&old[0].id).await, "");
    app.say("d", "2").await;
    assert_eq!(read(&old[0].id).await, "new");
}

async fn a_stop_keeps_what_was_said_and_hangs_up(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", "Hi").await;
    stream.next().await.unwrap();
    let path = format!("/chat/stream/{}", stream.turn_id());
    assert_eq!(app.delete("d", &path).await.status, 204);
    app.llm.hung_up().await;
    assert_eq!(stream.told().await, "|cancelled");
    assert_eq!(app.history("d").await, ["user: Hi", "assistant: a"]);
    assert_eq!(
        app.delete("d", &path).await.status,
        204,
        "a stop may come twice"
    );
    assert_eq!(app.say("d", "Again").await.status, 200);
}

async fn a_turn_is_stopped_from_another_instance(db: Db) {
    let app = TestApp::start(db).await;
    let instance = app.another().await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", "Hi").await;
    stream.next().await.unwrap();
    let path = format!("/chat/stream/{}", stream.turn_id());
    assert_eq!(instance.delete("d", &path).await.status, 204);
    assert_eq!(stream.told().await, "|cancelled");
}

pub async fn keyed(app: &TestApp, key: &str, content: &str) -> reqwest::Response {
    let call = app
        .request(Method::POST, "d", "/chat/stream")
        .header("Idempotency-Key", key);
    call.json(&json!({"content": content}))
        .send()
        .await
        .unwrap()
}

async fn the_same_key_is_the_same_turn(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = Stream::of(keyed(&app, "k", "Hi").await);
    stream.next().await.unwrap();
    let again = Stream::of(keyed(&app, "k", "Hi").await);
    assert_eq!(again.turn_id(), stream.turn_id());
    app.llm.go_on();
    let told = stream.told().await;
    assert_eq!(
        (told.as_str(), again.told().await.as_str()),
        ("b|stop", "ab|stop")
    );
    // A late retry by `POST /chat`: on another instance, and after the frames are gone.
    let instance = app.another().await;
    let late = async |app: &TestApp| {
        let call = app
            .request(Method::POST, "d", "/chat")
            .header("Idempotency-Key", "k");
        Said::of(call.json(&json!({"content": "Hi"})).send().await.unwrap())
            .await
            .content()
    };
    assert_eq!(late(&instance).await, "ab");
    app.advance(Duration::from_secs(2 * 3600)).await;
    assert_eq!(late(&app).await, "ab");
    assert_eq!(app.llm.asked().len(), 1, "the model was asked once");
    assert_eq!(app.history("d").await, ["user: Hi", "assistant: ab"]);
    // After a day the key is free.
    app.advance(Duration::from_secs(23 * 3600)).await;
    assert_eq!(late(&app).await, "Very well.");
}

async fn a_key_with_another_body_is_refused(db: Db) {
    let app = TestApp::start(db).await;
    keyed(&app, "k", "Hi").await.text().await.unwrap();
    let refused = Said::of(keyed(&app, "k", "Hello").await).await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["code"].as_str()),
        (422, Some("idempotency_key_reused"))
    );
    assert_eq!(app.history("d").await.len(), 2);
}

async fn a_failing_model_is_an_error_frame_and_the_message_is_kept(db: Db) {
    let app = TestApp::start(db).await;
    app.llm
        .refuses(401, "", r#"{"error": "the key sk-secret is wrong"}"#)
        .refuses(401, "", "");
    let stream = app.stream("d", "1").await;
    assert_eq!(stream.status(), 200);
    insta::assert_snapshot!("error_frame", stream.transcript().await);
    let said = app.say("d", "2").await;
    assert_eq!(
        (said.status.as_u16(), said.json()["code"].as_str()),
        (502, Some("upstream_error"))
    );
    assert!(!said.text.contains("secret"));
    assert_eq!(app.history("d").await, ["user: 1", "user: 2"]);
    assert_eq!(app.say("d", "3").await.content(), "Very well.");
}

async fn a_cut_answer_is_interrupted_and_its_beginning_kept(db: Db) {
    let app = TestApp::start(db).await;
    app.llm
        .says(["a", "b", "c"])
        .cut_after(2)
        .says(["d"])
        .cut_after(1);
    assert_eq!(app.stream("d", "1").await.told().await, "ab|interrupted");
    let said = app.say("d", "2").await;
    assert_eq!(
        (said.status.as_u16(), said.json()["code"].as_str()),
        (503, Some("interrupted"))
    );
    assert_eq!(said.content(), "d");
    assert_eq!(
        app.history("d").await,
        ["user: 1", "assistant: ab", "user: 2", "assistant: d"]
    );
}

async fn a_turn_that_was_closed_elsewhere_writes_nothing_more(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", "1").await;
    stream.next().await.unwrap();
    // As if another instance had ended the turn.
    app.database
        .execute(
            "update conversations set running_turn = null, owner = null, lease_until = null, fence = fence + 1;
             update turns set finish_reason = 'interrupted', error_code = 'interrupted'",
        )
        .await;
    assert_eq!(app.say("d", "2").await.content(), "Very well.");
    app.llm.go_on();
    // The stream is cut, so that the reader resumes.
    while let Some(event) = stream.next().await {
        assert!(!event.is_final(), "{event:?}");
    }
    assert!(stream.was_cut, "never a clean end without the final frame");
    assert_eq!(
        app.history("d").await,
        ["user: 1", "user: 2", "assistant: Very well."]
    );
}

async fn an_instance_that_lives_keeps_its_turn(db: Db) {
    let app = TestApp::with(db, |settings| settings.turn.lease_seconds = 3).await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", "1").await;
    stream.next().await.unwrap();
    // Longer than the lease, so that only renewals can have kept the turn.
    let lease_until = app.lease_until().await;
    until(async || app.lease_until().await > lease_until + 4_000_000).await;
    assert_eq!(app.app.store.abandoned_turns(10).await.unwrap(), []);
    app.llm.go_on();
    assert_eq!(stream.told().await, "b|stop");
}
