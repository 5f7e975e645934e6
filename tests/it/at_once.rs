//! Many simultaneous messages, in one conversation and in many.

use reqwest::Method;
use serde_json::json;

use crate::{
    support::{Db, Said, Stream, TestApp, until},
    turns::keyed,
};

both! {
    requests_with_one_key_at_once_are_one_turn
    many_messages_at_once_get_each_its_own_answer
}

postgres_only! {
    a_locked_row_holds_up_only_its_own_conversation
}

async fn requests_with_one_key_at_once_are_one_turn(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a"]);
    let calls = (0..8).map(|_| async { Stream::of(keyed(&app, "k", "Hi").await).told().await });
    let told = futures_util::future::join_all(calls).await;
    assert!(told.iter().all(|told| told == "a|stop"), "{told:?}");
    assert_eq!(app.llm.asked().len(), 1);
    assert_eq!(app.history("d").await, ["user: Hi", "assistant: a"]);
}

async fn many_messages_at_once_get_each_its_own_answer(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.limits.enabled = true;
        settings.limits.device_messages_per_minute = 2;
        settings.turn.wait_seconds = 0;
    })
    .await;
    // "limited" has used up its message limit; "busy" is being answered.
    app.say("limited", "1").await;
    app.say("limited", "2").await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut busy = app.stream("busy", "1").await;
    busy.next().await.unwrap();
    let known: Vec<String> = (0..30).map(|n| format!("known-{n}")).collect();
    for device in known.iter().step_by(2) {
        app.say(device, "1").await;
    }
    let say = |device: String, body: String, key: &'static str| {
        let call = app.request(Method::POST, &device, "/chat");
        let call = call.header("Idempotency-Key", key);
        async move { Said::of(call.json(&json!({"content": body})).send().await.unwrap()).await }
    };
    let mut calls: Vec<_> = known
        .iter()
        .map(|device| say(device.clone(), format!("I am {device}"), "k"))
        .collect();
    calls.extend(["limited", "busy"].map(|device| say(device.into(), "3".into(), "k")));
    calls.extend((0..5).map(|_| say("same".into(), "same".into(), "k")));
    calls.push(say("same".into(), "other".into(), "k"));
    let said = futures_util::future::join_all(calls).await;
    for (device, said) in known.iter().zip(&said) {
        assert_eq!(said.status, 200, "{device}: {}", said.text);
        let last = app.history(device).await.into_iter().rev().nth(1);
        assert_eq!(last, Some(format!("user: I am {device}")));
    }
    let others: Vec<u16> = said[30..].iter().map(|said| said.status.as_u16()).collect();
    assert_eq!(others[..2], [429, 409]);
    // The body that came first owns the key; the other body gets a 422.
    let (same, other) = (&others[2..7], others[7]);
    assert!(same.iter().all(|status| *status == same[0]));
    assert_eq!([same[0], other].iter().sum::<u16>(), 200 + 422);
    assert_eq!(
        app.count("messages where body in ('same', 'other')").await,
        1
    );
    app.llm.go_on();
    assert_eq!(busy.told().await, "b|stop");
}

async fn a_locked_row_holds_up_only_its_own_conversation() {
    let app = TestApp::start(Db::Postgres).await;
    app.say("locked", "1").await;
    let lock = app.database.execute(
        "begin; select from session_locks where device_id = 'locked' for update; select pg_sleep(1)",
    );
    let is_locked = "pg_stat_activity where datname = current_database() and query like '%pg_sleep(1)' \
        and wait_event = 'PgSleep'";
    let is_locked = async || until(async || app.count(is_locked).await == 1).await;
    let others = async {
        is_locked().await;
        let devices: Vec<String> = (0..20).map(|n| format!("d{n}")).collect();
        let others = devices.iter().map(|device| app.say(device, "2"));
        futures_util::future::join_all(others).await
    };
    let locked = async {
        is_locked().await;
        app.say("locked", "2").await
    };
    let order = std::sync::Mutex::new(Vec::new());
    let told = |name: &'static str| order.lock().unwrap().push(name);
    let (_, others, locked) = tokio::join!(
        lock,
        async {
            let done = others.await;
            told("others");
            done
        },
        async {
            let done = locked.await;
            told("locked");
            done
        }
    );
    assert!(others.iter().all(|said| said.status == 200));
    assert_eq!(locked.content(), "Very well.");
    assert_eq!(order.into_inner().unwrap(), ["others", "locked"]);
}
