//! An instance dies between a tool call and the end of its turn: the call must not be made again.

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::support::Endpoint;

const BOOK: [&str; 3] = ["c", "book", r#"{"day":"Monday"}"#];

/// Two instances whose one agent has a booking tool.
struct Booking {
    fleet: Fleet,
    endpoint: Endpoint,
    _directory: TempDir,
}

impl Booking {
    async fn start() -> Self {
        let endpoint = Endpoint::start().await;
        let directory = tempfile::tempdir().unwrap();
        let file: PathBuf = directory.path().join("frontdesk.toml");
        let config = format!(
            "[routing]\ndefault_agent = 'a'\n\
             [tools.book]\ndescription = 'Books.'\nurl = '{}/book'\nallow_private = true\n\
             headers = {{ Authorization = 'Bearer ${{BOOKING_TOKEN}}' }}\n\
             parameters = {{ type = 'object', properties = {{ day = {{ type = 'string' }} }} }}\n\
             [agents.a]\ndescription = 'a'\nprompt = 'a'\ntools = ['book']\n\
             flow = {{ greeting = 'a', done = 'a', again = 'a', bye = 'a' }}\n\
             handoff_to = ['b']\n\
             [agents.b]\ndescription = 'b'\nprompt = 'You are b.'\n\
             flow = {{ greeting = 'a', done = 'a', again = 'a', bye = 'a' }}\n",
            endpoint.url
        );
        std::fs::write(&file, config).unwrap();
        let settings = [
            ("FRONTDESK_CONFIG", file.to_str().unwrap()),
            ("BOOKING_TOKEN", "secret"),
        ];
        let fleet = Fleet::start(&settings).await;
        fleet
            .llm
            .calls("One moment.", [["c", "book", r#"{"day":"Monday"}"#]]);
        Self {
            fleet: Fleet::start(&settings).await,
            endpoint,
            _directory: directory,
        }
    }

    /// A turn whose agent calls a tool.
    async fn begin(&self) -> (Stream, Event) {
        let call = self
            .fleet
            .call(&self.fleet.first, Method::POST, "/chat/stream");
        let call = call.json(&json!({"content": "Monday, please"}));
        let mut stream = Stream::of(call.send().await.unwrap());
        let first = stream.next().await.unwrap();
        assert_eq!(first.content(), "One moment.");
        (stream, first)
    }

    /// Kills the first instance and waits for the second one's answer; the tool result that its model got.
    async fn taken_over(&self, turn: &str, last: &Event) -> String {
        let before = self.fleet.llm.asked().len();
        self.fleet.first.signal("KILL");
        let all = self
            .fleet
            .read_to_the_end(turn, last.id.clone(), "?restart=1")
            .await;
        let said: String = all.iter().map(Event::content).collect();
        // The text that the first instance sent before the call is kept.
        assert_eq!(said, "One moment.\n\nVery well.");
        let asked = self.fleet.llm.asked();
        assert!(asked.len() > before);
        let messages = asked[before].body["messages"].as_array().unwrap().clone();
        let [.., called, result] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!(called["tool_calls"][0]["id"], "c");
        assert_eq!(result["tool_call_id"], "c");
        result["content"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_not_done_again() {
    let booking = Booking::start().await;
    booking.endpoint.at("/book", 200, r#""booked""#);
    booking.fleet.llm.calls("One moment.", [BOOK]);
    booking.fleet.llm.says(["It is", " booked."]).pause_after(1);
    let (mut stream, _) = booking.begin().await;
    let mut last = stream.next().await.unwrap();
    while last.content() != "\n\nIt is" {
        last = stream.next().await.unwrap();
    }
    let turn = stream.turn_id();
    assert_eq!(booking.taken_over(&turn, &last).await, r#""booked""#);
    let asked = booking.endpoint.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), Some("Bearer secret"));
    assert_eq!(asked[0].body, json!({"day": "Monday"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_done_is_not_done_again() {
    let booking = Booking::start().await;
    let soon = Duration::from_secs(8);
    booking.fleet.llm.calls("One moment.", [BOOK]);
    booking.endpoint.slowly("/book", 200, r#""booked""#, soon);
    let (mut stream, _) = booking.begin().await;
    let running = stream.next().await.unwrap();
    assert_eq!(
        (
            &running.data["tool"]["name"],
            &running.data["tool"]["status"]
        ),
        (&json!("book"), &json!("running"))
    );
    until(async || !booking.endpoint.asked().is_empty()).await;
    let turn = stream.turn_id();
    // The model makes the same call again.
    let again = ["d", "book", r#"{ "day": "Monday" }"#];
    booking.fleet.llm.calls("", [again]);
    let told = booking.taken_over(&turn, &running).await;
    assert!(told.starts_with("It is not known"), "{told}");
    let asked = booking.fleet.llm.asked();
    let last = asked.last().unwrap().body["messages"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(last.last().unwrap()["tool_call_id"], "d");
    let content = last.last().unwrap()["content"].as_str().unwrap().to_owned();
    assert!(content.starts_with("It is not known"), "{content}");
    let booked = booking.endpoint.asked();
    assert_eq!(booked.len(), 1);
    let key = booked[0].header("idempotency-key").unwrap();
    assert!(key.starts_with(&turn), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_was_handed_over_stays_where_it_is() {
    let booking = Booking::start().await;
    let llm = &booking.fleet.llm;
    let to_b = r#"{"agent":"b","reason":"","summary":"It is for Monday."}"#;
    llm.calls("One moment.", [["h", "handoff", to_b]]);
    llm.says(["I am", " b."]).pause_after(1);
    let (mut stream, _) = booking.begin().await;
    let moved = stream.next().await.unwrap();
    assert_eq!(moved.data["agent"], "b");
    let last = stream.next().await.unwrap();
    booking.fleet.first.signal("KILL");
    let turn = stream.turn_id();
    let all = booking
        .fleet
        .read_to_the_end(&turn, last.id, "?restart=1")
        .await;
    assert_eq!(all[0].data["type"], "reset");
    assert!(
        all[..3].iter().any(|event| event.data["agent"] == "b"),
        "{all:?}"
    );
    assert_eq!(all.last().unwrap().data["agent"], "b");
    let asked = llm.asked();
    let system = asked[2].system();
    assert!(
        system.starts_with("You are b.") && system.contains("It is for Monday."),
        "{system}"
    );
}
