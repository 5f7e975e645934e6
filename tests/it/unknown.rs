//! Statements with an unknown outcome, and a busy database: both differ from a database that is away.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::json;

use crate::support::{Database, Db, FakeLlm, Mode, Proxy, Said, Stream, TestApp, until};

/// A server that reaches PostgreSQL through a proxy, and has open connections.
async fn proxied() -> (TestApp, Proxy) {
    with_limit(None).await
}

/// The same, with a limit on each device's messages per minute.
async fn with_limit(limit: Option<u32>) -> (TestApp, Proxy) {
    let database = Arc::new(Database::migrated(Db::Postgres).await);
    let proxy = Proxy::before(&database.url).await;
    let url = frontdesk::config::Secret::new(&proxy.url);
    let app = TestApp::on(database, FakeLlm::start().await, |settings| {
        settings.database.url = url;
        settings.limits.enabled = limit.is_some();
        settings.limits.device_messages_per_minute = limit.unwrap_or_default();
    })
    .await;
    app.say("first", "Hi").await;
    (app, proxy)
}

/// However late the database answers: a stored message is answered exactly once, and never reported as not stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_commit_is_not_answered_twice() {
    let (app, proxy) = proxied().await;
    let mut told = Vec::new();
    for (round, late) in [300, 900, 1_700, 2_500, 3_500].into_iter().enumerate() {
        proxy.set(Mode::LateAnswers(Duration::from_millis(late)));
        let devices: Vec<String> = (0..5).map(|n| format!("d{round}-{n}")).collect();
        let calls = devices.iter().map(|device| app.say(device, "Hi"));
        let said = futures_util::future::join_all(calls).await;
        told.extend(devices.into_iter().zip(said));
    }
    proxy.set(Mode::Pass);
    // Wait until all that was sent is answered.
    until(async || app.get("d", "/readyz").await.status == 200).await;
    until(async || app.say("last", "Hi").await.status == 200).await;
    until(async || app.count("turns where finish_reason is null").await == 0).await;
    let unanswered = "conversations c where 2 > (select count(*) from messages m where m.conversation_id = c.id)";
    until(async || app.count(unanswered).await == 0).await;
    let (mut stored, mut degraded) = (0, 0);
    for (device, said) in &told {
        let export = app.get(device, "/chat/export").await.json();
        let conversations = export["conversations"].as_array().unwrap();
        assert!(conversations.len() <= 1, "{device}: {export}");
        let is_degraded = said.json()["degraded"] == true;
        let is_unknown = said.status == 503 && !said.header("x-turn-id").is_empty();
        match conversations.first() {
            Some(conversation) => {
                assert!(
                    said.status == 200 && !is_degraded || is_unknown,
                    "{}",
                    said.text
                );
                let said = conversation["messages"].as_array().unwrap();
                assert_eq!(said.len(), 2, "{device}: {conversation}");
                stored += 1;
            }
            None => assert!(is_degraded || said.status == 503, "{}", said.text),
        }
        degraded += usize::from(is_degraded);
    }
    let others = app
        .count("turns where device_id in ('first', 'last')")
        .await;
    let others = usize::try_from(others).unwrap();
    let asked = app.llm.asked().len();
    assert_eq!(asked, stored + degraded + others, "each is answered once");
    // A new connection needs several late answers and times out: nothing is sent, and the database counts as away.
    assert!(stored >= 4, "{stored} of {}", told.len());
}

/// A repeated step finds what its first try has stored, and must not count it against the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_message_of_a_minute_is_answered_when_its_commit_is_not_confirmed() {
    let (app, proxy) = with_limit(Some(2)).await;
    app.say("d", "1").await;
    proxy.set(Mode::LoseAnswer);
    assert_eq!(app.say("d", "2").await.content(), "Very well.");
    assert_eq!(proxy.mode(), Mode::Pass, "an answer was lost");
    assert_eq!(app.say("d", "3").await.status, 429);
    assert_eq!(app.count("messages where body = '2'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_unknown_outcome_is_come_back_for_by_its_turn() {
    let (app, proxy) = proxied().await;
    proxy.set(Mode::NoAnswers);
    let said = app.say("d", "Hi").await;
    assert_eq!(said.status, 503, "{}", said.text);
    let turn = said.header("x-turn-id").to_owned();
    assert_eq!(said.json()["turn_id"], turn);
    assert!(said.header("retry-after").parse::<u32>().is_ok());
    proxy.set(Mode::Pass);
    let again = async |content: &str| {
        let call = app
            .request(Method::POST, "d", "/chat")
            .header("Idempotency-Key", &turn);
        Said::of(
            call.json(&json!({"content": content}))
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    let answered = again("Hi").await;
    assert_eq!(
        (answered.content(), answered.json()["turn_id"].clone()),
        ("Very well.".to_owned(), json!(turn))
    );
    assert_eq!(again("Something else").await.status, 422);
    assert_eq!(
        app.history("d").await,
        ["user: Hi", "assistant: Very well."]
    );
    assert_eq!(app.llm.asked().len(), 2);
}

/// A role may have any default isolation; a serialization failure is no outage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_whose_transactions_are_serializable_degrades_nobody() {
    let database = Arc::new(Database::migrated(Db::Postgres).await);
    database
        .execute(
            "do $$ begin execute format('alter database %I set default_transaction_isolation = serializable', \
             current_database()); end $$",
        )
        .await;
    let app = TestApp::on(database, FakeLlm::start().await, |settings| {
        settings.limits.enabled = false;
    })
    .await;
    let visitor = async |visitor: usize| {
        let device = format!("d{visitor}");
        for message in 0..5 {
            let said = app.say(&device, &format!("{message}")).await;
            assert_eq!(said.content(), "Very well.", "{}", said.text);
            assert!(said.json().get("degraded").is_none(), "{}", said.text);
        }
        assert_eq!(app.history(&device).await.len(), 10);
    };
    futures_util::future::join_all((0..20).map(visitor)).await;
    assert!(!app.app.store.is_read_committed());
}

/// Clients that are cut off repeat their POST with the last frame's id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_post_goes_on_after_the_last_frame() {
    let app = TestApp::start(Db::Postgres).await;
    for key in [None, Some("k")] {
        let device = format!("d{key:?}").replace(|c: char| !c.is_alphanumeric(), "");
        let post = async |content: &str, last: Option<&str>| {
            let mut call = app.request(Method::POST, &device, "/chat/stream");
            if let Some(key) = key {
                call = call.header("Idempotency-Key", key);
            }
            if let Some(last) = last {
                call = call.header("Last-Event-ID", last);
            }
            Stream::of(
                call.json(&json!({"content": content}))
                    .send()
                    .await
                    .unwrap(),
            )
        };
        let asked = app.llm.asked().len();
        app.llm.says(["a", "b", "c"]).pause_after(2);
        let mut cut = post("Hi", None).await;
        cut.next().await.unwrap();
        let last = cut.next().await.unwrap().id;
        let turn = cut.turn_id();
        drop(cut);
        let rest = post("Hi", Some(&last)).await;
        assert_eq!(rest.turn_id(), turn);
        app.llm.go_on();
        let rest = rest.rest().await;
        assert_eq!(rest[0].content(), "c");
        let last = rest.last().unwrap();
        assert_eq!(last.data["finish_reason"], "stop");
        assert_eq!(post("Hi", Some(&last.id)).await.status(), 204);
        assert_eq!(app.llm.asked().len(), asked + 1);
        assert_eq!(app.history(&device).await, ["user: Hi", "assistant: abc"]);
        if key.is_none() {
            // Another body makes it a new message.
            assert_eq!(
                post("More", Some(&last.id)).await.told().await,
                "Very well.|stop"
            );
            // So does another stream's event id.
            let other = post("Again", Some("42")).await;
            assert_eq!(other.told().await, "Very well.|stop");
            // And so does another device.
            let call = app
                .request(Method::POST, "stranger", "/chat/stream")
                .header("Last-Event-ID", &last.id);
            let stranger = Stream::of(call.json(&json!({"content": "Hi"})).send().await.unwrap());
            assert_ne!(stranger.turn_id(), turn);
            stranger.rest().await;
        }
    }
}

/// A device that sends many stop requests does not delay other devices' messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_of_turns_that_do_not_exist_keep_nobody_waiting() {
    let app = TestApp::start(Db::Postgres).await;
    let nothing = format!("/chat/stream/{}", uuid::Uuid::now_v7());
    let stops = (0..400).map(|_| app.delete("noisy", &nothing));
    let messages = (0..20).map(|n| async move { format!("d{n}") });
    let messages = futures_util::future::join_all(messages).await;
    let said = messages.iter().map(|device| app.say(device, "Hi"));
    let (stopped, said) = tokio::join!(
        futures_util::future::join_all(stops),
        futures_util::future::join_all(said)
    );
    for said in said {
        assert_eq!(said.content(), "Very well.", "{}", said.text);
        assert!(said.json().get("degraded").is_none(), "{}", said.text);
    }
    assert!(
        stopped
            .iter()
            .all(|stopped| matches!(stopped.status.as_u16(), 404 | 503))
    );
}
