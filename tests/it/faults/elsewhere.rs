//! An answer that is read on another instance than the one that runs it.

use std::sync::Arc;

use frontdesk::{
    clock::SystemClock,
    store::{Store, TurnId},
};

use super::*;
use crate::support::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn another_instances_answer_is_read_as_it_comes() {
    let fleet = Fleet::start(&[]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    let mut elsewhere = fleet.resume(&turn, &format!("{turn}.1:0"), "").await;
    let seen = elsewhere.next().await.unwrap();
    assert_eq!((&seen.id, &seen.data), (&first.id, &first.data));
    fleet.llm.go_on();
    let (here, there) = tokio::join!(stream.rest(), elsewhere.rest());
    assert_eq!(ids(&here), ["1:2", "1:3"]);
    assert_eq!(ids(&here), ids(&there));
    assert_eq!(here.last().unwrap().data, there.last().unwrap().data);
    assert_eq!(fleet.database.count("turn_pieces".into()).await, 0);
}

/// The reader's connection stays open: it need not reconnect when the other instance dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_elsewhere_goes_on_when_the_owner_dies() {
    let fleet = Fleet::start(&[]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    let start = format!("{turn}.1:0");
    let mut knows_reset = fleet.resume(&turn, &start, "?restart=1").await;
    let mut plain = fleet.resume(&turn, &start, "").await;
    for reader in [&mut knows_reset, &mut plain] {
        assert_eq!(reader.next().await.unwrap().id, first.id);
    }
    fleet.first.signal("KILL");
    let (anew, interrupted) = tokio::join!(knows_reset.rest(), plain.rest());
    assert_eq!(ids(&anew), ["2:1", "2:2", "2:3"]);
    assert_eq!(anew[0].data["type"], "reset");
    assert_eq!(anew[1].content(), "Very well.");
    assert_eq!(anew[2].data["finish_reason"], "stop");
    assert_eq!(ids(&interrupted), ["2:0"]);
    assert_eq!(interrupted[0].data["finish_reason"], "interrupted");
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}

/// A reader that has no text yet needs no `reset`: it gets the new attempt from its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_elsewhere_who_has_read_nothing_is_answered_when_the_owner_dies() {
    let fleet = Fleet::start(&[]).await;
    fleet.llm.says(["a"]).pause_after(0);
    let ask = async |process: &Process| {
        let call = fleet.call(process, Method::POST, "/chat/stream");
        let call = call.header("Idempotency-Key", "k");
        Stream::of(call.json(&json!({"content": "one"})).send().await.unwrap())
    };
    let here = ask(&fleet.first).await;
    let there = ask(&fleet.second).await;
    assert_eq!(here.turn_id(), there.turn_id());
    until(async || fleet.llm.asked().len() == 1).await;
    fleet.first.signal("KILL");
    assert_eq!(there.told().await, "Very well.|stop");
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}

/// The same for `POST /chat`.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_one_piece_is_given_though_its_owner_dies() {
    let fleet = Fleet::start(&[]).await;
    fleet.llm.says(["a"]).pause_after(1);
    let ask = |process: &Process| {
        let call = fleet.call(process, Method::POST, "/chat");
        let call = call.header("Idempotency-Key", "k");
        call.json(&json!({"content": "one"})).send()
    };
    let here = ask(&fleet.first);
    let there = async {
        until(async || fleet.llm.asked().len() == 1).await;
        let there = tokio::spawn(ask(&fleet.second));
        // The first attempt's text is in the durable log, where the second instance reads it.
        until(async || fleet.database.count("turn_pieces".into()).await == 1).await;
        fleet.first.signal("KILL");
        Said::of(there.await.unwrap().unwrap()).await
    };
    let (here, there) = tokio::join!(here, there);
    assert!(here.is_err());
    assert_eq!(there.content(), "Very well.");
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_gives_hints_while_somebody_reads_elsewhere() {
    let app = TestApp::start(Db::Postgres).await;
    let store = Store::open(&app.database.settings(), Arc::new(SystemClock)).unwrap();
    store.adapt().await.unwrap();
    app.llm.says(["a", "b", "c"]).pause_after(1);
    let mut stream = app.stream("d", "1").await;
    stream.next().await.unwrap();
    let turn: TurnId = stream.turn_id().parse().unwrap();
    let (sender, mut hints) = tokio::sync::mpsc::unbounded_channel();
    let listening = store.clone();
    tokio::task::spawn_blocking(move || {
        let told = listening.listen(|turns| turns.iter().all(|turn| sender.send(*turn).is_ok()));
        told.unwrap();
    });
    assert_ne!(hints.recv().await, Some(turn), "the first is its own");
    // Nobody reads this turn on another instance, so no hint is sent.
    app.llm.go_on();
    assert_eq!(stream.told().await, "bc|stop");
    assert!(hints.try_recv().is_err());
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", "2").await;
    stream.next().await.unwrap();
    let turn: TurnId = stream.turn_id().parse().unwrap();
    store.watch(vec![turn], LONGER_THAN_LEASE).await.unwrap();
    app.llm.go_on();
    assert_eq!(hints.recv().await, Some(turn));
    assert_eq!(stream.told().await, "b|stop");
    drop(hints);
}
