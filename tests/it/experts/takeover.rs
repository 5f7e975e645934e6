//! An expert takes over in mid-answer: the stored text, the visitor's text and the expert's text are the same.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::*;
use crate::support::{Event, Stream};

both! {
    an_answer_ends_where_it_is_stored
    whoever_comes_back_to_it_is_told_how_much_counts
    an_answer_in_one_piece_ends_there_too
    an_answer_that_has_said_nothing_leaves_nothing
    whoever_takes_over_at_any_moment_reads_what_the_visitor_keeps
}

/// The text that a client keeps after the final frame's `keep`, and that frame.
fn kept(events: &[Event]) -> (String, &Value) {
    let last = &events.last().unwrap().data;
    assert_eq!(last["is_final"], true, "{last}");
    let counts = last["keep"]
        .as_u64()
        .map_or(usize::MAX, |keep| usize::try_from(keep).unwrap());
    let text = events.iter().take(counts).map(Event::content).collect();
    (text, last)
}

/// A visitor who has read the beginning of an answer that is still running.
async fn reading(app: &TestApp) -> (Stream, Event, String) {
    app.llm.says(["a", "b", "c"]).pause_after(2);
    let mut stream = app.stream("d", "Hi").await;
    stream.next().await.unwrap();
    let seen = stream.next().await.unwrap();
    // Wait until the durable log has this text.
    until(async || app.count("turn_pieces where last_seq = 2").await == 1).await;
    let id = stream.conversation_id();
    (stream, seen, id)
}

async fn an_answer_ends_where_it_is_stored(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    let (stream, _, id) = reading(&app).await;
    assert_eq!(eva.does("claim", &id).await.status, 200);
    let events = stream.rest().await;
    let [last] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert!(last.id.ends_with(".2:0"), "{last:?}");
    assert_eq!(
        (&last.data["finish_reason"], &last.data["mode"]),
        (&json!("handoff"), &json!("expert"))
    );
    assert_eq!(last.data["keep"], 2);
    app.llm.go_on();
    let expected = ["user: Hi", "assistant: ab", "system: EVA is with you now."];
    assert_eq!(app.history("d").await, expected);
    assert_eq!(eva.said_in(&id).await, ["Hi", "ab", "EVA is with you now."]);
    let history = app.get("d", "/chat/history").await.json();
    assert_eq!(history["messages"][1]["finish_reason"], "handoff");
    assert_eq!(history["messages"][1]["id"], last.data["message_id"]);
    // The instance that ran the turn stops: it closes its connection to the model and stores nothing more.
    app.llm.hung_up().await;
    assert_eq!(app.history("d").await, expected);
    assert_eq!(
        app.count("conversations where running_turn is not null")
            .await,
        0
    );
}

async fn whoever_comes_back_to_it_is_told_how_much_counts(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    let (stream, seen, id) = reading(&app).await;
    let turn = stream.turn_id();
    drop(stream);
    assert_eq!(eva.does("claim", &id).await.status, 200);
    let resume = async |after: &str| app.resume("d", after).await.rest().await;
    let all = resume(&format!("{turn}.1:0")).await;
    assert_eq!(kept(&all).0, "ab");
    assert_eq!(resume(&seen.id).await.len(), 1);
    // A cursor beyond `keep`: those frames were sent, but do not count.
    let ahead = resume(&format!("{turn}.1:7")).await;
    assert_eq!((ahead.len(), &ahead[0].data["keep"]), (1, &json!(2)));
    // After the final frame there is nothing left to read.
    assert_eq!(app.resume("d", &ahead[0].id).await.status(), 204);
    if db == Db::Postgres {
        let other = app.another().await;
        assert_eq!(
            kept(&other.resume("d", &seen.id).await.rest().await).1["keep"],
            2
        );
    }
}

async fn an_answer_in_one_piece_ends_there_too(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    app.llm.says(["a", "b", "c"]).pause_after(2);
    let (said, ()) = tokio::join!(app.say("d", "Hi"), async {
        until(async || app.count("turn_pieces where last_seq = 2").await == 1).await;
        let id = id_of(&app.get("d", "/chat/session").await.json());
        assert_eq!(eva.does("claim", &id).await.status, 200);
    });
    let said = said.json();
    assert_eq!(
        (&said["content"], &said["mode"]),
        (&json!("ab"), &json!("expert")),
        "{said}"
    );
}

async fn an_answer_that_has_said_nothing_leaves_nothing(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    app.llm.says(["a"]).pause_after(0);
    let stream = app.stream("d", "Hi").await;
    assert_eq!(
        eva.does("claim", &stream.conversation_id()).await.status,
        200
    );
    let events = stream.rest().await;
    assert_eq!(kept(&events).0, "");
    assert_eq!(
        app.history("d").await,
        ["user: Hi", "system: EVA is with you now."]
    );
}

/// 200 takeovers, each at a random moment of a running answer.
async fn whoever_takes_over_at_any_moment_reads_what_the_visitor_keeps(db: Db) {
    let app = TestApp::with(db, |settings| settings.limits.enabled = false).await;
    app.llm.chatters(40, Duration::from_millis(4));
    let other = match db {
        Db::Postgres => Some(app.another().await),
        Db::Sqlite => None,
    };
    at_desk(&app, "eva", &[]).await;
    let one = async |visitor: u64| {
        let mut random = StdRng::seed_from_u64(visitor);
        let eva = Person::expert(other.as_ref().unwrap_or(&app), "eva").await;
        let mut cut = 0;
        for round in 0..20 {
            let device = format!("{visitor}-{round}");
            let stream = app.stream(&device, "Hi").await;
            let id = stream.conversation_id();
            let patience = Duration::from_millis(random.random_range(0..250));
            let (events, claimed) = tokio::join!(stream.rest(), async {
                sleep(patience).await;
                eva.does("claim", &id).await
            });
            assert_eq!(claimed.status, 200, "{}", claimed.text);
            let (text, last) = kept(&events);
            cut += usize::from(last["keep"].is_u64());
            let said = app.history(&device).await;
            let answer = said
                .iter()
                .find_map(|said| said.strip_prefix("assistant: "));
            assert_eq!(answer.unwrap_or_default(), text, "{device}: {last}");
            let read = eva.said_in(&id).await;
            assert_eq!(read.len(), said.len());
            assert!(text.is_empty() || read.contains(&text));
        }
        cut
    };
    let cut: usize = futures_util::future::join_all((0..10).map(one))
        .await
        .into_iter()
        .sum();
    assert!(cut > 50, "{cut} of 200 were taken over in the middle");
}
