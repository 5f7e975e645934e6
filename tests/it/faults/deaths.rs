//! An instance dies, stops or stands still.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_servers_turn_is_answered_anew_by_another() {
    let fleet = Fleet::start(&[]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    sleep(FLUSHED).await;
    fleet.first.signal("KILL");
    let all = fleet
        .read_to_the_end(&turn, first.id.clone(), "?restart=1")
        .await;
    assert_eq!(ids(&all), ["2:1", "2:2", "2:3"]);
    assert_eq!(all[0].data["type"], "reset");
    assert_eq!(all[1].content(), "Very well.");
    assert_eq!(fleet.history().await, ["one", "Very well."]);
    assert_eq!(fleet.llm.asked().len(), 2);
    // A client that does not know `reset` keeps what it has, and is told that this was all.
    let rest = fleet
        .resume(&turn, &format!("{turn}.1:0"), "")
        .await
        .rest()
        .await;
    assert_eq!(ids(&rest), ["1:1", "2:0"]);
    assert_eq!(rest[1].data["finish_reason"], "interrupted");
    assert_eq!(fleet.resume(&turn, &rest[1].id, "").await.status(), 204);
    assert_eq!(
        fleet.resume(&turn, &all[2].id, "?restart=1").await.status(),
        204
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_servers_turn_is_answered_though_nobody_comes_back() {
    let fleet = Fleet::start(&[]).await;
    drop(fleet.begin().await);
    fleet.first.signal("KILL");
    sleep(LEASE).await;
    // Any request does a piece of the housekeeping.
    let other = fleet
        .call_of("other", &fleet.second, Method::POST, "/chat")
        .json(&json!({"content": "Hi"}));
    assert_eq!(other.send().await.unwrap().status(), 200);
    let mut tries = 0;
    while fleet.history().await != ["one", "Very well."] {
        tries += 1;
        assert!(tries < 50, "{:?}", fleet.history().await);
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_ends_as_interrupted_after_its_last_attempt() {
    let fleet = Fleet::start(&[("FRONTDESK_TURN__ATTEMPTS", "1")]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    fleet.first.signal("KILL");
    let all = fleet.read_to_the_end(&turn, first.id, "?restart=1").await;
    assert_eq!(ids(&all), ["2:0"]);
    assert_eq!(all[0].data["error"]["code"], "interrupted");
    assert_eq!(fleet.history().await, ["one"]);
    assert_eq!(fleet.llm.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_hands_its_turns_over_at_once() {
    let fleet = Fleet::start(&[("FRONTDESK_LEASE_SECONDS", "600")]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    let json = fleet
        .call_of("json", &fleet.first, Method::POST, "/chat")
        .json(&json!({"content": "one"}));
    fleet.llm.says(["c", "d"]).pause_after(1);
    let json = tokio::spawn(json.send());
    sleep(FLUSHED).await;
    fleet.first.signal("TERM");
    // Cut after a whole frame, not ended; JSON is told to come back.
    assert_eq!(stream.rest().await.len(), 0);
    let json = json.await.unwrap().unwrap();
    assert_eq!(json.status(), 503);
    assert!(json.headers().contains_key("retry-after"));
    let all = fleet.read_to_the_end(&turn, first.id, "?restart=1").await;
    assert_eq!(ids(&all), ["2:1", "2:2", "2:3"]);
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stood_still_says_nothing_more() {
    let fleet = Fleet::start(&[]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    fleet.first.signal("STOP");
    let all = fleet.read_to_the_end(&turn, first.id, "?restart=1").await;
    assert_eq!(all.last().unwrap().data["finish_reason"], "stop");
    // It wakes, its model goes on, and it must not say or store a word.
    fleet.llm.go_on();
    fleet.first.signal("CONT");
    let late = stream.rest().await;
    assert!(late.iter().all(|event| !event.is_final()), "{late:?}");
    assert!(
        late.iter().all(|event| event.content().is_empty()),
        "{late:?}"
    );
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_finds_its_turn_after_a_crash() {
    let fleet = Fleet::start(&[]).await;
    fleet.llm.says(["a", "b"]).pause_after(1);
    let ask = |process: &Process| {
        let call = fleet.call(process, Method::POST, "/chat/stream");
        let call = call.header("Idempotency-Key", "k");
        call.json(&json!({"content": "one"}))
    };
    let mut stream = Stream::of(ask(&fleet.first).send().await.unwrap());
    stream.next().await.unwrap();
    fleet.first.signal("KILL");
    sleep(LEASE).await;
    let again = Stream::of(ask(&fleet.second).send().await.unwrap());
    assert_eq!(again.turn_id(), stream.turn_id());
    assert_eq!(again.told().await, "Very well.|stop");
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}
