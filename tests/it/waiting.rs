//! Messages that come while another one is being answered.

use frontdesk::config::{Settings, WhenBusy};

use crate::{
    support::{Db, Stream, TestApp, until},
    turns::keyed,
};

both! {
    a_second_message_at_once_is_refused_and_not_kept
    a_second_message_waits_for_its_turn
    messages_that_wait_are_answered_together
    a_message_that_does_not_go_with_the_others_is_refused_alone
    a_key_that_waits_is_not_stored_twice
    an_agent_may_refuse_what_comes_meanwhile
    an_agent_may_be_interrupted
}

postgres_only! {
    a_message_that_is_just_being_begun_is_not_taken_along
    another_instances_turn_is_waited_for
}

/// Waits until this many messages wait.
async fn waiting(app: &TestApp, count: usize) {
    until(async || app.app.engine.waiting() == count).await;
}

/// A turn that has said "a" and pauses before "b".
async fn busy(app: &TestApp) -> Stream {
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", "1").await;
    stream.next().await.unwrap();
    stream
}

async fn a_second_message_at_once_is_refused_and_not_kept(db: Db) {
    let app = TestApp::with(db, |settings| settings.turn.wait_seconds = 1).await;
    let stream = busy(&app).await;
    let refused = tokio::join!(app.say("d", "2"), app.say("d", "3"));
    for refused in [refused.0, refused.1] {
        assert_eq!(
            (refused.status.as_u16(), refused.json()["code"].as_str()),
            (409, Some("turn_in_progress"))
        );
        assert!(refused.header("retry-after").parse::<u32>().is_ok());
    }
    app.llm.go_on();
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(app.history("d").await, ["user: 1", "assistant: ab"]);
}

async fn a_second_message_waits_for_its_turn(db: Db) {
    let app = TestApp::start(db).await;
    let stream = busy(&app).await;
    let (second, ()) = tokio::join!(app.say("d", "2"), async {
        waiting(&app, 1).await;
        assert_eq!(app.history("d").await, ["user: 1"]);
        app.llm.go_on();
    });
    assert_eq!(second.content(), "Very well.");
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(
        app.history("d").await,
        [
            "user: 1",
            "assistant: ab",
            "user: 2",
            "assistant: Very well."
        ]
    );
}

async fn messages_that_wait_are_answered_together(db: Db) {
    let app = TestApp::start(db).await;
    let first = busy(&app).await;
    let (second, third, fourth, ()) = tokio::join!(
        async { Stream::of(keyed(&app, "k2", "2").await).rest().await },
        async {
            waiting(&app, 1).await;
            app.say("d", "3").await
        },
        async {
            waiting(&app, 2).await;
            app.stream("d", "4").await
        },
        async {
            waiting(&app, 3).await;
            app.llm.go_on();
        }
    );
    assert_eq!(first.told().await, "b|stop");
    let turn = fourth.turn_id();
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].data["finish_reason"], "merged");
    assert_eq!(second[0].id, format!("{turn}.1:0"));
    assert_eq!(third.status, 200, "{}", third.text);
    let third = third.json();
    assert_eq!(
        [
            &third["finish_reason"],
            &third["turn_id"],
            &third["content"]
        ],
        ["merged", &turn, ""]
    );
    assert_eq!(fourth.told().await, "Very well.|stop");
    let said = ["user: 1", "assistant: ab", "user: 2", "user: 3", "user: 4"];
    let history = app.history("d").await;
    assert_eq!(history, [&said[..], &["assistant: Very well."]].concat());
    assert_eq!(app.llm.asked().len(), 2);
    let asked = app.llm.asked().last().unwrap().conversation();
    assert!(
        asked.last().unwrap().contains("2") && asked.last().unwrap().contains("4"),
        "{asked:?}"
    );
    // A retry with the key finds the turn.
    let again = Stream::of(keyed(&app, "k2", "2").await);
    assert_eq!(again.turn_id(), turn);
    assert_eq!(again.told().await, "|merged");
    assert_eq!(keyed(&app, "k2", "other").await.status(), 422);
    // A client that got `merged` may still follow the turn.
    assert_eq!(
        app.resume("d", &second[0].id).await.told().await,
        "Very well.|stop"
    );
    assert_eq!(app.get("d", "/chat/stream").await.status, 204);
    assert_eq!(app.llm.asked().len(), 2);
}

async fn a_message_that_does_not_go_with_the_others_is_refused_alone(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.limits.enabled = true;
        settings.limits.device_messages_per_minute = 2;
    })
    .await;
    let first = busy(&app).await;
    let (second, third, ()) = tokio::join!(
        app.say("d", "2"),
        async {
            waiting(&app, 1).await;
            app.say("d", "3").await
        },
        async {
            waiting(&app, 2).await;
            app.llm.go_on();
        }
    );
    assert_eq!(first.told().await, "b|stop");
    assert_eq!(second.content(), "Very well.");
    assert_eq!(third.status, 429);
    let history = app.history("d").await;
    assert_eq!(history.len(), 4, "{history:?}");
    assert_eq!(history[2], "user: 2");
}

async fn a_key_that_waits_is_not_stored_twice(db: Db) {
    let app = TestApp::start(db).await;
    let first = busy(&app).await;
    let say = async |content: &'static str| Stream::of(keyed(&app, "k", content).await);
    let (second, same, ()) = tokio::join!(
        say("2"),
        async {
            waiting(&app, 1).await;
            say("2").await
        },
        async {
            waiting(&app, 1).await;
            // Refused at once: the key belongs to another message.
            assert_eq!(say("3").await.status(), 422);
            app.llm.go_on();
        }
    );
    assert_eq!(second.turn_id(), same.turn_id());
    assert_eq!(second.told().await, "Very well.|stop");
    assert_eq!(same.told().await, "Very well.|stop");
    assert_eq!(first.told().await, "b|stop");
    assert_eq!(app.count("messages where body = '2'").await, 1);
}

async fn a_message_that_is_just_being_begun_is_not_taken_along() {
    let app = TestApp::start(Db::Postgres).await;
    // The end of the first answer writes the session lock's row; the end of the next one does not.
    app.say("d", "0").await;
    let first = busy(&app).await;
    let lock =
        "begin; select from session_locks where device_id = 'd' for update; select pg_sleep(0.9)";
    let is_locked =
        "pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
    let begins = "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let (second, third, ()) = tokio::join!(
        app.say("d", "2"),
        async {
            until(async || app.count(begins).await > 0).await;
            app.say("d", "3").await
        },
        async {
            waiting(&app, 1).await;
            // The second message's begin waits for this row lock; the third message arrives meanwhile.
            tokio::join!(app.database.execute(lock), async {
                until(async || app.count(is_locked).await == 1).await;
                app.llm.go_on();
            });
        }
    );
    assert_eq!(first.told().await, "b|stop");
    assert_eq!(
        [second.content(), third.content()],
        ["Very well.", "Very well."]
    );
    let history = app.history("d").await;
    assert_eq!(history.len(), 8, "{history:?}");
}

/// Sets what all agents do with messages that arrive while they answer.
fn when_busy(policy: WhenBusy) -> impl FnOnce(&mut Settings) {
    move |settings| {
        for agent in settings.agents.values_mut() {
            agent.when_busy = policy;
        }
    }
}

async fn an_agent_may_refuse_what_comes_meanwhile(db: Db) {
    let app = TestApp::with(db, when_busy(WhenBusy::Reject)).await;
    let first = busy(&app).await;
    assert_eq!(app.say("d", "2").await.status, 409);
    app.llm.go_on();
    assert_eq!(first.told().await, "b|stop");
    assert_eq!(app.say("d", "3").await.content(), "Very well.");
    assert_eq!(app.count("messages where body = '2'").await, 0);
}

async fn an_agent_may_be_interrupted(db: Db) {
    let app = TestApp::with(db, when_busy(WhenBusy::Interrupt)).await;
    let first = busy(&app).await;
    assert_eq!(app.say("d", "2").await.content(), "Very well.");
    assert_eq!(first.told().await, "|cancelled");
    assert_eq!(
        app.history("d").await,
        [
            "user: 1",
            "assistant: a",
            "user: 2",
            "assistant: Very well."
        ]
    );
}

async fn another_instances_turn_is_waited_for() {
    let app = TestApp::start(Db::Postgres).await;
    let other = app.another().await;
    let first = busy(&app).await;
    let (second, third, ()) = tokio::join!(
        other.say("d", "2"),
        async {
            waiting(&other, 1).await;
            other.say("d", "3").await
        },
        async {
            waiting(&other, 2).await;
            app.llm.go_on();
        }
    );
    assert_eq!(first.told().await, "b|stop");
    assert_eq!(second.json()["finish_reason"], "merged");
    assert_eq!(third.content(), "Very well.");
    assert_eq!(second.json()["turn_id"], third.json()["turn_id"]);
}
