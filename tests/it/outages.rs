//! The database becomes unreachable, and comes back.

use std::{sync::Arc, time::Duration};

use frontdesk::config::{OnOutage, Secret};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::{Database, Db, FakeLlm, Mode, Proxy, Stream, TestApp, until};

/// Bounds every request, whatever the database does: the server looks for the outcome of a sent statement for up to
/// 10 s; the rest is for slow machines.
const ANSWERED: Duration = Duration::from_secs(14);

/// The longest time that a statement may hang.
const HANGS: Duration = Duration::from_secs(4);

/// A server that reaches its PostgreSQL through a proxy.
async fn proxied() -> (TestApp, Proxy) {
    let database = Arc::new(Database::migrated(Db::Postgres).await);
    let proxy = Proxy::before(&database.url).await;
    let url = Secret::new(&proxy.url);
    let app = TestApp::on(database, FakeLlm::start().await, |settings| {
        settings.database.url = url;
        settings.turn.lease_seconds = 3;
    })
    .await;
    (app, proxy)
}

/// Waits until the server is ready.
async fn ready(app: &TestApp) {
    until(async || app.get("d", "/readyz").await.status == 200).await;
}

/// A turn that has said "a" and pauses before "b".
async fn speaking(app: &TestApp) -> Stream {
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", "1").await;
    assert_eq!(stream.next().await.unwrap().content(), "a");
    stream
}

/// A server whose PostgreSQL is unreachable.
async fn without_database(on_outage: OnOutage) -> TestApp {
    let database = Arc::new(Database::nowhere());
    TestApp::on(database, FakeLlm::start().await, |settings| {
        settings.database.on_outage = on_outage
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_nobody_answers_for_a_person() {
    let database = Arc::new(Database::nowhere());
    let app = TestApp::on(database, FakeLlm::start().await, |settings| {
        settings.experts.phrases = vec!["person".to_owned()];
    })
    .await;
    assert_eq!(app.say("d", "Hi").await.status, 503);
    assert!(app.llm.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_an_answer_says_so() {
    let app = without_database(OnOutage::Answer).await;
    app.llm.says(["a", "b"]);
    let streamed = app
        .post("d", "/chat/stream", json!({"content": "Hi"}))
        .await;
    insta::assert_snapshot!("degraded_stream", crate::support::tidy(&streamed.text));
    assert_eq!(
        (streamed.header("x-turn-id"), streamed.header("x-device-id")),
        ("", "d")
    );
    insta::assert_snapshot!("degraded_json", app.say("d", "Hi").await.shown());
    assert_eq!(
        app.get("d", "/chat/history").await.json()["code"],
        "unavailable"
    );
    assert_eq!(app.get("d", "/healthz").await.status, 200);
    assert_eq!(app.get("d", "/readyz").await.status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_a_message_is_refused_where_that_is_asked_for() {
    let app = without_database(OnOutage::Refuse).await;
    let said = app.say("d", "Hi").await;
    assert_eq!(
        (said.status.as_u16(), said.header("retry-after")),
        (503, "2")
    );
    assert!(app.llm.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_began_without_its_database_is_ready_when_that_is_there() {
    let (database, appear) = Database::later().await;
    let app = TestApp::on(Arc::new(database), FakeLlm::start().await, |_| {}).await;
    assert_eq!(app.get("d", "/readyz").await.status, 503);
    appear.await;
    ready(&app).await;
    assert_eq!(app.say("d", "Hi").await.content(), "Very well.");
    assert_eq!(app.history("d").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_connection_dies_in_a_migration_starts_and_tries_again() {
    let database = Arc::new(Database::empty(Db::Postgres).await);
    let (creates, waits) = ("query like 'begin; create%'", "wait_event_type = 'Lock'");
    let elsewhere = Arc::clone(&database);
    let creating = tokio::spawn(async move {
        let unfinished = "begin; create table conversations (); select pg_sleep(600)";
        elsewhere.execute(unfinished).await;
    });
    let is_there = async |which| {
        let here = "pg_stat_activity where datname = current_database()";
        until(async || database.count(format!("{here} and {which}")).await == 1).await;
    };
    is_there(creates).await;
    let starting = TestApp::on(Arc::clone(&database), FakeLlm::start().await, |_| {});
    let dying = async {
        is_there(waits).await;
        database.terminate(waits).await;
    };
    let (app, ()) = tokio::join!(starting, dying);
    assert_eq!(app.get("d", "/readyz").await.status, 503);
    database.terminate(creates).await;
    assert!(creating.await.is_err());
    ready(&app).await;
    assert_eq!(app.say("d", "Hi").await.content(), "Very well.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_database_keeps_nobody_waiting() {
    let (app, proxy) = proxied().await;
    assert_eq!(app.say("d", "before").await.content(), "Very well.");
    proxy.set(Mode::Stall);
    // Longer than a statement may hang, so that some calls meet a connection that hangs.
    let stalled = Instant::now();
    while stalled.elapsed() < 3 * HANGS {
        let calls = async {
            tokio::join!(
                app.say("d", "during"),
                app.say("other", "during"),
                app.get("d", "/chat/history"),
                app.get("d", "/readyz"),
                app.get("d", "/healthz"),
            )
        };
        let (said, other, history, ready, health) = timeout(ANSWERED, calls).await.unwrap();
        for said in [said, other] {
            // Either nothing was sent to the database (`degraded`), or the outcome is unknown (503 with a turn id).
            let is_unknown = said.status == 503 && !said.header("x-turn-id").is_empty();
            assert_ne!(said.json()["degraded"] == true, is_unknown, "{}", said.text);
        }
        assert_eq!(history.json()["code"], "unavailable");
        assert_eq!([ready.status.as_u16(), health.status.as_u16()], [503, 200]);
    }
    proxy.set(Mode::Pass);
    ready(&app).await;
    assert_eq!(app.say("d", "after").await.content(), "Very well.");
    // A message that was being sent when the connection broke may be stored: then it is answered exactly once.
    let history = app.history("d").await;
    assert_eq!(history[..2], ["user: before", "assistant: Very well."]);
    assert_eq!(
        history[history.len() - 2..],
        ["user: after", "assistant: Very well."]
    );
    let during = history
        .iter()
        .filter(|said| *said == "user: during")
        .count();
    let answers = history
        .iter()
        .filter(|said| said.starts_with("assistant: "));
    assert_eq!(answers.count(), 2 + during, "{history:?}");
}

/// The database fails in mid-turn, in this mode, for longer than a lease: the turn waits for it.
async fn away_in_the_middle(mode: Mode) {
    let (app, proxy) = proxied().await;
    let mut stream = speaking(&app).await;
    proxy.set(mode);
    app.llm.go_on();
    let expired = "conversations where lease_until <= now()";
    until(async || app.count(expired).await == 1).await;
    proxy.set(Mode::Pass);
    let mut told = String::new();
    while let Some(event) = stream.next().await {
        told.push_str(event.content());
        if event.is_final() {
            assert_eq!(event.data["finish_reason"], "stop");
            // The answer is committed by now.
            assert_eq!(app.history("d").await, ["user: 1", "assistant: ab"]);
        }
    }
    assert_eq!(told, "b");
    assert_eq!(app.llm.asked().len(), 1);
    assert_eq!(app.say("d", "2").await.content(), "Very well.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_waits_for_a_database_that_is_silent() {
    away_in_the_middle(Mode::Stall).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_waits_for_a_database_that_is_down() {
    away_in_the_middle(Mode::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_stored_says_so() {
    let (app, proxy) = proxied().await;
    let stream = speaking(&app).await;
    proxy.set(Mode::Cut);
    app.llm.go_on();
    let last = stream.rest().await.pop().unwrap();
    assert_eq!(last.data["error"]["code"], "answer_not_stored");
    proxy.set(Mode::Pass);
    ready(&app).await;
    // The message is stored, and the next one is answered.
    assert_eq!(app.say("d", "2").await.content(), "Very well.");
    assert_eq!(app.history("d").await[0], "user: 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_a_free_connection_counts_as_away() {
    let (app, proxy) = proxied().await;
    proxy.set(Mode::Full);
    // A statement sent on a connection that was just closed has an unknown outcome, and no connection is left to ask.
    let first = app.say("other", "1").await;
    assert!(
        first.json()["degraded"] == true || first.status == 503,
        "{}",
        first.text
    );
    assert_eq!(app.say("d", "1").await.json()["degraded"], true);
    proxy.set(Mode::Pass);
    // The server notices at its next connection.
    until(async || app.say("d", "2").await.json()["degraded"] != true).await;
    assert_eq!(app.history("d").await, ["user: 2", "assistant: Very well."]);
}

/// A database that answers other requests is busy, not away: the client gets a 503, not an answer that is not
/// stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waits_behind_others_is_refused_for_now() {
    let app = TestApp::with(Db::Postgres, |settings| settings.database.pool_size = 1).await;
    let devices: Vec<String> = (0..14).map(|n| format!("device-{n}")).collect();
    for device in &devices {
        app.say(device, "1").await;
    }
    let slow = "create function slow() returns trigger language plpgsql as $$ begin \
        perform pg_sleep(0.3); return new; end $$; \
        create trigger slow before update on session_locks for each row execute function slow()";
    app.database.execute(slow).await;
    let others = devices
        .iter()
        .map(|device| app.delete(device, "/chat/session"));
    let others = futures_util::future::join_all(others);
    let said = async {
        // Queue behind the others.
        tokio::time::sleep(Duration::from_millis(300)).await;
        app.say("d", "1").await
    };
    let (_, said) = tokio::join!(others, said);
    assert_eq!(said.status, 503, "{}", said.text);
    assert_eq!(said.json()["code"], "unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_no_answer() {
    let (app, _proxy) = proxied().await;
    // A sequence counts the tries, because it is not rolled back with them.
    let full = "create sequence tries; \
        create function full_disk() returns trigger language plpgsql as $$ begin \
        perform nextval('tries'); \
        raise exception 'could not extend file \"base/1/2\": No space left on device' \
        using errcode = '53100'; end $$; \
        create trigger full_disk before insert on messages execute function full_disk()";
    let stream = speaking(&app).await;
    app.database.execute(full).await;
    app.llm.go_on();
    let other = app.say("other", "1").await;
    assert_eq!(other.json()["degraded"], true, "{}", other.text);
    until(async || app.count("tries where last_value >= 4").await == 1).await;
    app.database
        .execute("drop trigger full_disk on messages")
        .await;
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(app.history("d").await, ["user: 1", "assistant: ab"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_server_that_became_a_standby_are_dropped() {
    let (app, _proxy) = proxied().await;
    let stream = speaking(&app).await;
    // A failover, as seen by connections that are still open or are made too early.
    let demoted = "do $$ begin execute format('alter database %I set default_transaction_read_only = on', \
        current_database()); end $$";
    app.database.execute(demoted).await;
    app.database.terminate("true").await;
    app.llm.go_on();
    // A statement sent on a connection that was just closed has an unknown outcome, and a standby cannot tell it.
    let first = app.say("other", "1").await;
    assert!(
        first.json()["degraded"] == true || first.status == 503,
        "{}",
        first.text
    );
    for _ in 0..4 {
        assert_eq!(app.say("other", "1").await.json()["degraded"], true);
    }
    let promoted = "begin read write; do $$ begin \
        execute format('alter database %I reset default_transaction_read_only', current_database()); end $$; commit";
    app.database.execute(promoted).await;
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(app.say("other", "2").await.content(), "Very well.");
    assert_eq!(app.history("d").await, ["user: 1", "assistant: ab"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_commit_was_not_confirmed_is_answered_once() {
    let (app, proxy) = proxied().await;
    app.say("d", "1").await;
    proxy.set(Mode::LoseAnswer);
    assert_eq!(app.say("d", "2").await.content(), "Very well.");
    assert_eq!(proxy.mode(), Mode::Pass, "an answer was lost");
    // The same for a conversation's first message.
    proxy.set(Mode::LoseAnswer);
    let said = app.say("other", "1").await;
    assert_eq!(said.content(), "Very well.");
    assert_eq!(
        proxy.mode(),
        Mode::Pass,
        "an answer was lost: {}",
        said.text
    );
    assert_eq!(app.history("d").await.len(), 4);
    assert_eq!(app.count("messages where role = 'user'").await, 3);
    assert_eq!(app.llm.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_commit_was_not_confirmed_is_stored_once() {
    let (app, proxy) = proxied().await;
    let stream = speaking(&app).await;
    // Otherwise the answer to the durable log's commit would be the one that is lost.
    until(async || app.count("turn_pieces").await == 1).await;
    proxy.set(Mode::LoseAnswer);
    app.llm.go_on();
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(proxy.mode(), Mode::Pass, "an answer was lost");
    assert_eq!(app.history("d").await, ["user: 1", "assistant: ab"]);
    assert_eq!(app.say("d", "2").await.content(), "Very well.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_cut_off_is_not_used_again() {
    let app = TestApp::start(Db::Postgres).await;
    ready(&app).await;
    app.database.terminate("true").await;
    // Without a pause, so that the pool does not test its connections; and with a statement not prepared on them yet.
    until(async || app.get("d", "/chat/history").await.status == 200).await;
}
