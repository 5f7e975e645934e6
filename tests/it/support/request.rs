//! A request, as the tests' fake servers read it.

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
};

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// The conversation as the model sees it, as `role: content`, without system messages.
    pub fn conversation(&self) -> Vec<String> {
        let messages = self.body["messages"].as_array().unwrap().iter();
        let visible = messages.filter(|message| message["role"] != "system");
        visible
            .map(|message| {
                format!(
                    "{}: {}",
                    message["role"].as_str().unwrap(),
                    flat(&message["content"])
                )
            })
            .collect()
    }

    pub fn system(&self) -> String {
        let first = &self.body["messages"][0];
        let system = if first["role"] == "system" {
            &first["content"]
        } else {
            &self.body["system"]
        };
        system.as_str().unwrap().to_owned()
    }
}

fn flat(content: &Value) -> String {
    content
        .as_str()
        .map_or_else(|| content.to_string(), str::to_owned)
}

pub(super) async fn read_request(socket: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    socket
        .read_line(&mut line)
        .await
        .ok()
        .filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        socket
            .read_line(&mut line)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or("0", |(_, value)| value);
    let mut body = vec![0; length.parse().unwrap()];
    socket.read_exact(&mut body).await.ok()?;
    Some(Request {
        path,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
