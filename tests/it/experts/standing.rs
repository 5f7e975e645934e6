//! Event streams: what the visitor, the expert who has claimed the conversation, and the desk receive.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::support::{Event, Stream};

both! {
    a_visitor_reads_what_a_person_writes
    nothing_is_missed_between_two_streams
    whoever_holds_a_conversation_sees_it_go_on
    the_desk_sees_what_waits_and_what_changes
    nobody_stands_by_what_is_anothers
    a_standing_stream_ends_with_the_server
    whoever_loses_a_conversation_reads_no_further
    a_device_that_signs_in_elsewhere_reads_no_further
    a_device_that_begins_anew_comes_back_for_that
}

/// Bounds the wait for an event or for a stream's end; longer than a token lives here (4 s).
const PATIENCE: Duration = Duration::from_secs(10);

async fn next(stream: &mut Stream) -> Event {
    timeout(PATIENCE, stream.next())
        .await
        .expect("an event in time")
        .unwrap()
}

/// Reads up to the first event of this type.
pub async fn until(stream: &mut Stream, kind: &str) -> Event {
    loop {
        let event = next(stream).await;
        if event.data["type"] == kind {
            return event;
        }
    }
}

pub async fn events_of(app: &TestApp, device: &str, after: &str) -> Stream {
    let call = app
        .request(Method::GET, device, "/chat/events")
        .header("Last-Event-ID", after);
    Stream::of(call.send().await.unwrap())
}

pub async fn standing(person: &Person<'_>, path: &str) -> Stream {
    Stream::of(person.request(Method::GET, path).send().await.unwrap())
}

/// Starts a conversation of device `d`; the conversation's id.
async fn held(app: &TestApp) -> String {
    app.say("d", "Hi").await;
    id_of(&app.get("d", "/chat/session").await.json())
}

async fn a_visitor_reads_what_a_person_writes(db: Db) {
    let app = TestApp::start(db).await;
    assert_eq!(events_of(&app, "d", "").await.status(), 204);
    let id = held(&app).await;
    let other = match db {
        Db::Postgres => Some(app.another().await),
        Db::Sqlite => None,
    };
    let eva = at_desk(other.as_ref().unwrap_or(&app), "eva", &[]).await;
    let mut stream = events_of(&app, "d", "").await;
    assert_eq!(stream.header("cache-control"), "no-cache, no-transform");
    let first = next(&mut stream).await;
    assert_eq!(
        (&first.data["type"], &first.data["mode"]),
        (&json!("mode"), &json!("ai"))
    );
    assert_eq!(eva.does("claim", &id).await.status, 200);
    let line = until(&mut stream, "message").await;
    assert_eq!(line.data["message"]["content"], "EVA is with you now.");
    assert_eq!(until(&mut stream, "mode").await.data["mode"], "expert");
    write(&eva, &id, "Hello!").await;
    let event = until(&mut stream, "message").await;
    assert_eq!(
        (&event.data["content"], &event.data["is_final"]),
        (&json!(""), &json!(false))
    );
    assert_eq!(
        (
            &event.data["message"]["role"],
            &event.data["message"]["content"]
        ),
        (&json!("expert"), &json!("Hello!"))
    );
    // The visitor's messages and the agents' answers are in the turns' streams, not here.
    app.say("d", "Thanks").await;
    eva.does("release", &id).await;
    assert_eq!(
        until(&mut stream, "message").await.data["message"]["message_type"],
        "system_message"
    );
    assert_eq!(until(&mut stream, "mode").await.data["mode"], "ai");
}

async fn nothing_is_missed_between_two_streams(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    let id = held(&app).await;
    eva.does("claim", &id).await;
    let mut stream = events_of(&app, "d", "").await;
    let mut last = next(&mut stream).await.id;
    for round in 0..3 {
        drop(stream);
        for at in 0..2 {
            write(&eva, &id, &format!("{round} {at}")).await;
            app.say("d", "Yes").await;
        }
        stream = events_of(&app, "d", &last).await;
        for at in 0..2 {
            let event = until(&mut stream, "message").await;
            assert_eq!(event.data["message"]["content"], format!("{round} {at}"));
            last = event.id;
        }
    }
    let refused = events_of(&app, "d", "nonsense").await;
    assert_eq!(refused.status(), 400);
}

async fn whoever_holds_a_conversation_sees_it_go_on(db: Db) {
    let app = TestApp::start(db).await;
    let eva = Person::with_role(&app, "eva", "admin").await;
    let id = held(&app).await;
    let mut stream = standing(&eva, &format!("/conversations/{id}/events")).await;
    assert_eq!(next(&mut stream).await.data["mode"], "ai");
    app.llm.says(["a", "b"]).pause_after(1);
    let mut visitor = app.stream("d", "More").await;
    visitor.next().await.unwrap();
    let asked = until(&mut stream, "message").await;
    assert_eq!(asked.data["message"]["content"], "More");
    let turn = until(&mut stream, "turn").await;
    let answer = standing(
        &eva,
        &format!("/messages/stream/{}", text(&turn.data["turn_id"])),
    )
    .await;
    app.llm.go_on();
    assert_eq!(answer.told().await, "ab|stop");
    let answered = until(&mut stream, "message").await;
    assert_eq!(answered.data["message"]["content"], "ab");
}

async fn the_desk_sees_what_waits_and_what_changes(db: Db) {
    let app = TestApp::start(db).await;
    let (_, first) = waiting(&app, "ann").await;
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(&app, "max", &[]).await,
    );
    let mut feed = standing(&eva, "/experts/events").await;
    let snapshot = next(&mut feed).await.data;
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(id_of(&snapshot["conversations"][0]), first);
    let (_, second) = waiting(&app, "bob").await;
    let event = next(&mut feed).await.data;
    assert_eq!(
        (&event["type"], id_of(&event["conversation"])),
        (&json!("conversation"), second.clone())
    );
    max.does("claim", &second).await;
    let gone = next(&mut feed).await.data;
    assert_eq!(
        (&gone["type"], text(&gone["conversation_id"])),
        (&json!("gone"), second)
    );
    eva.does("claim", &first).await;
    let held = next(&mut feed).await.data;
    assert_eq!(held["conversation"]["waiting_since"], json!(null));
    assert_eq!(
        held["conversation"]["expert_id"],
        eva.get("/experts/me").await.json()["id"]
    );
}

async fn nobody_stands_by_what_is_anothers(db: Db) {
    let app = TestApp::start(db).await;
    let (ann, id) = waiting(&app, "ann").await;
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(&app, "max", &[]).await,
    );
    let bob = Person::of(&app, "bob").await;
    eva.does("claim", &id).await;
    let path = format!("/conversations/{id}/events");
    for (person, status) in [(&ann, 200), (&eva, 200), (&bob, 404), (&max, 404)] {
        assert_eq!(standing(person, &path).await.status(), status);
    }
    assert_eq!(standing(&bob, "/experts/events").await.status(), 403);
    // The same people are refused a turn's stream.
    let turn = text(
        &ann.get(&format!("/conversations/{id}/messages"))
            .await
            .json()[0]["turn_id"],
    );
    let path = format!("/messages/stream/{turn}");
    for (person, status) in [(&ann, 200), (&eva, 200), (&bob, 404), (&max, 404)] {
        assert_eq!(standing(person, &path).await.status(), status);
    }
}

async fn a_standing_stream_ends_with_the_server(db: Db) {
    let app = TestApp::start(db).await;
    held(&app).await;
    let mut stream = events_of(&app, "d", "").await;
    next(&mut stream).await;
    app.stop().await;
    assert!(
        timeout(PATIENCE, stream.next())
            .await
            .expect("an end in time")
            .is_none()
    );
}

async fn whoever_loses_a_conversation_reads_no_further(db: Db) {
    let app = TestApp::with(db, |settings| settings.auth.leeway_seconds = 0).await;
    let (_, id) = waiting(&app, "ann").await;
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(&app, "max", &[]).await,
    );
    let mut stream = standing(&eva, &format!("/conversations/{id}/events")).await;
    next(&mut stream).await;
    max.does("claim", &id).await;
    write(&max, &id, "Swordfish").await;
    while let Some(event) = timeout(PATIENCE, stream.next())
        .await
        .expect("an end in time")
    {
        assert!(!event.data.to_string().contains("Swordfish"), "{event:?}");
    }
    // A stream also ends when its token expires.
    let token = app
        .app
        .auth
        .token("root", frontdesk::auth::Role::Admin, Duration::from_secs(4));
    let admin = Person {
        app: &app,
        token: token.await.unwrap(),
    };
    let mut stream = standing(&admin, &format!("/conversations/{id}/events")).await;
    let mut feed = standing(&admin, "/experts/events").await;
    for stream in [&mut stream, &mut feed] {
        next(stream).await;
        assert!(
            timeout(PATIENCE, stream.next())
                .await
                .expect("an end in time")
                .is_none()
        );
    }
}

async fn a_device_that_signs_in_elsewhere_reads_no_further(db: Db) {
    let app = TestApp::start(db).await;
    held(&app).await;
    let mut stream = events_of(&app, "d", "").await;
    next(&mut stream).await;
    let ann = Person::of(&app, "ann").await;
    let call = ann
        .request(Method::POST, "/conversations")
        .header("X-Device-ID", "d");
    let kept = call
        .json(&json!({"anonymous_id": "d"}))
        .send()
        .await
        .unwrap();
    assert_eq!(kept.status(), 201);
    assert!(
        timeout(PATIENCE, stream.next())
            .await
            .expect("an end in time")
            .is_none()
    );
}

async fn a_device_that_begins_anew_comes_back_for_that(db: Db) {
    let app = TestApp::with(db, |settings| settings.session.ttl_seconds = 60).await;
    let first = held(&app).await;
    let mut stream = events_of(&app, "d", "").await;
    let last = next(&mut stream).await.id;
    app.advance(Duration::from_secs(61)).await;
    let second = held(&app).await;
    assert_ne!(first, second);
    let eva = at_desk(&app, "eva", &[]).await;
    eva.does("claim", &second).await;
    // The old conversation's stream ends. With its cursor, the new conversation is read from the beginning.
    while timeout(PATIENCE, stream.next()).await.unwrap().is_some() {}
    let mut stream = events_of(&app, "d", &last).await;
    let line = until(&mut stream, "message").await;
    assert_eq!(line.data["message"]["content"], "EVA is with you now.");
}
