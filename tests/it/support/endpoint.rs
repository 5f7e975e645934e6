//! A fake HTTP service, such as a tool's endpoint: answers by path, and records its requests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::request::{Request, read_request};

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Status, body and delay, by path.
    answers: HashMap<String, (u16, String, Duration)>,
    journal: Vec<Request>,
}

impl Endpoint {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::default(),
        };
        let server = endpoint.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(socket).await });
            }
        });
        endpoint
    }

    /// Sets the answer of a path; other paths answer 404.
    pub fn at(&self, path: &str, status: u16, body: &str) -> &Self {
        self.slowly(path, status, body, Duration::ZERO)
    }

    /// The same, after a delay.
    pub fn slowly(&self, path: &str, status: u16, body: &str, after: Duration) -> &Self {
        let answer = (status, body.to_owned(), after);
        self.state
            .lock()
            .unwrap()
            .answers
            .insert(path.to_owned(), answer);
        self
    }

    /// The requests so far; their methods are not recorded.
    pub fn asked(&self) -> Vec<Request> {
        self.state.lock().unwrap().journal.clone()
    }

    async fn serve(&self, socket: TcpStream) {
        let mut socket = BufReader::new(socket);
        while let Some(request) = read_request(&mut socket).await {
            let known = {
                let mut state = self.state.lock().unwrap();
                state.journal.push(request.clone());
                state.answers.get(&request.path).cloned()
            };
            let missing = (404, "{}".to_owned(), Duration::ZERO);
            let (status, body, after) = known.unwrap_or(missing);
            sleep(after).await;
            let answer = format!(
                "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if socket.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
