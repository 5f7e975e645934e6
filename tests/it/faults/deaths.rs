//! An instance dies, stops or freezes.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_servers_turn_is_answered_anew_by_another() {
    let fleet = Fleet::start(&[]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    fleet.flushed(1).await;
    fleet.first.signal("KILL");
    let all = fleet
        .read_to_the_end(&turn, first.id.clone(), "?restart=1")
        .await;
    assert_eq!(ids(&all), ["2:1", "2:2", "2:3"]);
    assert_eq!(all[0].data["type"], "reset");
    assert_eq!(all[1].content(), "Very well.");
    assert_eq!(fleet.history().await, ["one", "Very well."]);
    assert_eq!(fleet.llm.asked().len(), 2);
    // A client that does not know `reset` keeps its text, and is told that the answer was interrupted.
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
    fleet.expired().await;
    // Every message also runs a piece of the maintenance, which adopts the dead server's turn.
    let other = fleet
        .call_of("other", &fleet.second, Method::POST, "/chat")
        .json(&json!({"content": "Hi"}));
    assert_eq!(other.send().await.unwrap().status(), 200);
    until(async || fleet.history().await == ["one", "Very well."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_was_told_of_the_interruption_is_told_no_more() {
    let fleet = Fleet::start(&[]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    fleet.llm.says(["c", "d"]).pause_after(1);
    fleet.flushed(1).await;
    fleet.first.signal("KILL");
    let rest = fleet.read_to_the_end(&turn, first.id.clone(), "").await;
    assert_eq!(ids(&rest), ["2:0"]);
    assert_eq!(rest[0].data["error"]["code"], "interrupted");
    // The new attempt is running. A client that does not know `reset` must not get it.
    assert_eq!(fleet.resume(&turn, &rest[0].id, "").await.status(), 204);
    let mut other = fleet.resume(&turn, &first.id, "?restart=1").await;
    assert_eq!(other.next().await.unwrap().data["type"], "reset");
    fleet.llm.go_on();
    assert_eq!(other.told().await, "cd|stop");
    assert_eq!(fleet.history().await, ["one", "cd"]);
}

/// The server may die at any point of an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_die_at_any_chunk() {
    const WORDS: [&str; 6] = ["1 ", "2 ", "3 ", "4 ", "5 ", "6 "];
    let die_after = async |words: usize| {
        let fleet = Fleet::start(&[]).await;
        fleet.llm.says(WORDS).pause_after(words);
        fleet.llm.says(WORDS);
        let call = fleet.call(&fleet.first, Method::POST, "/chat/stream");
        let mut stream = Stream::of(call.json(&json!({"content": "one"})).send().await.unwrap());
        let turn = stream.turn_id();
        let mut last = format!("{turn}.1:0");
        for _ in 0..words {
            last = stream.next().await.unwrap().id;
        }
        until(async || !fleet.llm.asked().is_empty()).await;
        fleet.first.signal("KILL");
        assert_eq!(stream.rest().await.len(), 0);
        let all = fleet.read_to_the_end(&turn, last, "?restart=1").await;
        let said: String = all.iter().map(Event::content).collect();
        assert_eq!((ids(&all)[0], said), ("2:1", WORDS.concat()));
        assert_eq!(fleet.history().await, ["one", &WORDS.concat()]);
        assert_eq!(fleet.llm.asked().len(), 2);
    };
    // Before the first, after it, in the middle, and after the last but before the answer is stored.
    tokio::join!(die_after(0), die_after(1), die_after(3), die_after(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_open_streams_are_handed_over() {
    const STREAMS: usize = 100;
    let fleet = Fleet::start(&[]).await;
    let devices: Vec<String> = (0..STREAMS).map(|n| format!("d{n}")).collect();
    let begin = async |device: &str| {
        let call = fleet.call_of(device, &fleet.first, Method::POST, "/chat/stream");
        let mut stream = Stream::of(call.json(&json!({"content": "one"})).send().await.unwrap());
        let first = stream.next().await.unwrap();
        (stream, first)
    };
    for _ in 0..STREAMS {
        fleet.llm.says(["a", "b"]).pause_after(1);
    }
    let streams = futures_util::future::join_all(devices.iter().map(|device| begin(device))).await;
    let Fleet {
        first,
        second,
        database,
        llm,
        http,
    } = fleet;
    let stopped = tokio::task::spawn_blocking(move || first.stop("TERM"));
    let come_back = async |device: &str, mut stream: Stream, first: Event| {
        let turn = stream.turn_id();
        assert!(stream.next().await.is_none(), "cut, without a final frame");
        let call = http.get(format!("{}/chat/stream/{turn}?restart=1", second.url));
        let call = call
            .header("X-Device-ID", device)
            .header("Last-Event-ID", first.id);
        Stream::of(call.send().await.unwrap()).told().await
    };
    let all = devices.iter().zip(streams);
    let all = all.map(|(device, (stream, first))| come_back(device, stream, first));
    for told in futures_util::future::join_all(all).await {
        assert_eq!(told, "Very well.|stop");
    }
    assert_eq!(stopped.await.unwrap(), Some(0));
    assert_eq!(database.count("messages".into()).await, 2 * 100);
    assert_eq!(llm.asked().len(), 2 * STREAMS);
}

/// Some platforms stop a server's processes while no request is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_frozen_between_requests_finishes_what_it_began() {
    let fleet = Fleet::start(&[]).await;
    let freeze = async |time: Duration| {
        fleet.first.signal("STOP");
        // Real time has to pass here: the process is stopped for this long.
        sleep(time).await;
        fleet.first.signal("CONT");
    };
    for _ in 0..3 {
        let call = fleet.call(&fleet.first, Method::POST, "/chat");
        let said = Said::of(call.json(&json!({"content": "Hi"})).send().await.unwrap()).await;
        assert_eq!(said.content(), "Very well.");
        freeze(Duration::from_millis(700)).await;
    }
    // The visitor leaves in mid-answer, and comes back after the lease has expired.
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    drop(stream);
    fleet.llm.go_on();
    freeze(LONGER_THAN_LEASE).await;
    let path = format!("/chat/stream/{turn}");
    let call = fleet.call(&fleet.first, Method::GET, &path);
    let stream = Stream::of(call.header("Last-Event-ID", first.id).send().await.unwrap());
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(fleet.history().await.last().unwrap(), "ab");
    assert_eq!(
        fleet.database.count("turns where attempt > 1".into()).await,
        0
    );
}

/// Leases are on the database's clock: an instance's own may be wrong.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_two_minutes_off_do_not_matter() {
    let preload = std::fs::read_dir("/usr/lib").unwrap();
    let mut preload = preload.filter_map(|entry| {
        let library = entry.unwrap().path().join("faketime/libfaketime.so.1");
        library.exists().then(|| library.display().to_string())
    });
    let preload = preload.next().expect("scripts/test installs libfaketime");
    let shifted = |by: &'static str| {
        [
            ("LD_PRELOAD", preload.as_str()),
            ("FAKETIME", by),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
    };
    let fleet = Fleet::with(&shifted("+120s"), &shifted("-120s")).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    let elsewhere = fleet.resume(&turn, &first.id, "?restart=1").await;
    // Longer than a lease: the other instance, whose clock is 4 minutes behind, must not take the turn.
    let lease_until = fleet.database.lease_until().await;
    until(async || fleet.database.lease_until().await > lease_until + 3_000_000).await;
    let other = fleet.call_of("other", &fleet.second, Method::POST, "/chat");
    let other = other.json(&json!({"content": "Hi"})).send().await.unwrap();
    assert_eq!(Said::of(other).await.content(), "Very well.");
    fleet.llm.go_on();
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(elsewhere.told().await, "b|stop");
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    fleet.first.signal("KILL");
    let all = fleet.read_to_the_end(&turn, first.id, "?restart=1").await;
    assert_eq!(ids(&all), ["2:1", "2:2", "2:3"]);
    assert_eq!(fleet.history().await, ["one", "ab", "one", "Very well."]);
    let newest = fleet.call(&fleet.second, Method::GET, "/chat/stream");
    assert_eq!(newest.send().await.unwrap().status(), 204);
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
    fleet.flushed(2).await;
    fleet.first.signal("TERM");
    // The stream ends after a complete frame, without a final one. The JSON request gets a 503.
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
    // The first instance wakes and its model goes on, but it must neither send nor store any more text.
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
    fleet.expired().await;
    let again = Stream::of(ask(&fleet.second).send().await.unwrap());
    assert_eq!(again.turn_id(), stream.turn_id());
    assert_eq!(again.told().await, "Very well.|stop");
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}
