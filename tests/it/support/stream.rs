//! An event stream client that checks the format strictly.

use bytes::BytesMut;
use reqwest::Response;
use serde_json::Value;

use super::tidy;

/// An open stream.
pub struct Stream {
    response: Response,
    buffer: BytesMut,
    /// All bytes so far.
    pub raw: String,
    /// Whether the body broke off before its end.
    pub was_cut: bool,
}

/// One frame.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub data: Value,
}

impl Event {
    pub fn content(&self) -> &str {
        self.data["content"].as_str().unwrap()
    }

    pub fn is_final(&self) -> bool {
        self.data["is_final"].as_bool().unwrap()
    }
}

impl Stream {
    pub fn of(response: Response) -> Self {
        Self {
            response,
            buffer: BytesMut::new(),
            raw: String::new(),
            was_cut: false,
        }
    }

    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub fn header(&self, name: &str) -> String {
        let value = self.response.headers().get(name);
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    }

    pub fn conversation_id(&self) -> String {
        self.header("x-conversation-id")
    }

    pub fn turn_id(&self) -> String {
        self.header("x-turn-id")
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.buffer.split_to(end + 2);
                return Some(parse(std::str::from_utf8(&block).unwrap()));
            }
            let chunk = self.response.chunk().await;
            self.was_cut = chunk.is_err();
            let Some(bytes) = chunk.ok()? else {
                assert!(
                    self.buffer.is_empty(),
                    "the stream ends within a frame: {:?}",
                    self.buffer
                );
                return None;
            };
            self.raw.push_str(std::str::from_utf8(&bytes).unwrap());
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// The frames up to the end.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// The text and the finish reason, as `text|reason`.
    pub async fn told(self) -> String {
        let events = self.rest().await;
        let text: String = events.iter().map(Event::content).collect();
        let last = events.last().expect("a stream has a last frame");
        assert!(last.is_final(), "{last:?}");
        format!("{text}|{}", last.data["finish_reason"].as_str().unwrap())
    }

    /// The raw stream, for a snapshot.
    pub async fn transcript(mut self) -> String {
        while self.next().await.is_some() {}
        tidy(&self.raw)
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event {
        id: String::new(),
        data: Value::Null,
    };
    for line in block.trim_end_matches('\n').split('\n') {
        assert!(!line.contains('\r'), "LF only: {line:?}");
        match line.split_once(": ") {
            Some(("id", id)) => event.id = id.to_owned(),
            Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
            Some(("retry", milliseconds)) => drop(milliseconds.parse::<u32>().unwrap()),
            _ => assert_eq!(line, ":", "a line that no frame has"),
        }
    }
    event
}
