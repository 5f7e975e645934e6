//! Clients: many at once. Each counts its chunks and measures how late they arrive.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::upstream::{CHUNKS, now};

/// The endpoint under load.
#[derive(Clone, Copy)]
pub enum Target {
    /// An anchor's endpoint, which passes the upstream's stream through.
    Completions,
    /// `POST /chat/stream`.
    Desk,
    /// `POST /chat`.
    Json,
}

/// A load on one server.
#[derive(Clone)]
pub struct Load {
    pub url: String,
    pub target: Target,
    pub text: &'static str,
}

/// The results of a load.
#[derive(Default)]
pub struct Done {
    pub streams: usize,
    pub chunks: usize,
    pub broken: usize,
    /// From the request to the first chunk.
    pub first: Times,
    /// From the upstream's sending of a chunk to its arrival here.
    pub added: Times,
}

impl Done {
    /// Complete streams per second.
    pub fn per_second(&self, time: Duration) -> f64 {
        self.assert_whole();
        self.streams as f64 / time.as_secs_f64()
    }

    pub fn assert_whole(&self) {
        assert_eq!(
            self.broken, 0,
            "a stream lost, doubled or disordered a chunk"
        );
    }
}

/// Times in milliseconds.
#[derive(Default)]
pub struct Times(Vec<f64>);

impl Times {
    pub fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() as f64 * percent / 100.0) as usize;
        sorted
            .get(at.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    }
}

impl Load {
    /// Runs clients for this time, each with one stream after another. They start one by one within
    /// `over`, because visitors do not all write in the same millisecond.
    pub async fn clients(&self, clients: usize, over: Duration, time: Duration) -> Done {
        let mut running = JoinSet::new();
        let gap = over / u32::try_from(clients).unwrap();
        for client in 0..clients {
            let load = self.clone();
            running.spawn(async move {
                tokio::time::sleep(gap * u32::try_from(client).unwrap()).await;
                let until = Instant::now() + time;
                let mut done = Done::default();
                while Instant::now() < until {
                    load.stream(&mut done).await;
                }
                done
            });
        }
        let mut all = Done::default();
        while let Some(done) = running.join_next().await {
            let done = done.unwrap();
            all.streams += done.streams;
            all.chunks += done.chunks;
            all.broken += done.broken;
            all.first.0.extend(done.first.0);
            all.added.0.extend(done.added.0);
        }
        all
    }

    /// Runs one turn, of this device or of a new one; the time that it took.
    pub async fn one(&self, device: Option<&str>) -> Duration {
        let began = Instant::now();
        let mut socket = match device {
            Some(device) => self.ask_as(device).await,
            None => self.ask().await,
        };
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
        began.elapsed()
    }

    /// Runs one streamed turn; the time to its head, and the time from its first chunk to its end.
    pub async fn head_and_end(&self, device: &str) -> (Duration, Duration) {
        let began = Instant::now();
        let mut socket = self.ask_as(device).await;
        let mut bytes = Vec::new();
        socket.read_buf(&mut bytes).await.unwrap();
        let head = began.elapsed();
        while !String::from_utf8_lossy(&bytes).contains("content\":\"0:") {
            assert!(socket.read_buf(&mut bytes).await.unwrap() > 0);
        }
        let first = Instant::now();
        socket.read_to_end(&mut bytes).await.unwrap();
        (head, first.elapsed())
    }

    /// Opens this many streams, waits until each has its first chunk, and keeps them open.
    pub async fn hold(&self, streams: usize) -> Vec<TcpStream> {
        let mut held = Vec::with_capacity(streams);
        for _ in 0..streams {
            let mut socket = self.ask().await;
            let mut bytes = Vec::with_capacity(1024);
            while !String::from_utf8_lossy(&bytes).contains("content\":\"0:") {
                assert!(socket.read_buf(&mut bytes).await.unwrap() > 0);
            }
            held.push(socket);
        }
        held
    }

    async fn ask(&self) -> TcpStream {
        static DEVICE: AtomicU64 = AtomicU64::new(0);
        let device = DEVICE.fetch_add(1, Ordering::Relaxed);
        self.ask_as(&format!("bench-{device}")).await
    }

    async fn ask_as(&self, device: &str) -> TcpStream {
        let (path, body) = match self.target {
            Target::Completions => {
                let body = format!(
                    r#"{{"model":"a","stream":true,"messages":[{{"role":"user","content":"{}"}}]}}"#,
                    self.text
                );
                ("/v1/chat/completions", body)
            }
            Target::Desk => ("/chat/stream", format!(r#"{{"content":"{}"}}"#, self.text)),
            Target::Json => ("/chat", format!(r#"{{"content":"{}"}}"#, self.text)),
        };
        // HTTP/1.0: no chunked framing, whose boundaries could lie within an event.
        let mut socket = TcpStream::connect(self.url.trim_start_matches("http://"))
            .await
            .unwrap();
        socket.set_nodelay(true).unwrap();
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
             X-Device-ID: {device}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket
    }

    async fn stream(&self, done: &mut Done) {
        let began = Instant::now();
        let mut socket = self.ask().await;
        let mut bytes = Vec::with_capacity(16 * 1024);
        let (mut scanned, mut seen, mut in_order) = (0, 0, true);
        while socket.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
            let here = now();
            // A chunk's text is `INDEX:TIME `; an incomplete one is scanned again after the next read.
            let text = String::from_utf8_lossy(&bytes[scanned..]).into_owned();
            let mut whole = 0;
            for (at, _) in text.match_indices("\"content\":\"") {
                let rest = &text[at + 11..];
                let Some(end) = rest.find('"') else { break };
                whole = at + 11 + end;
                let Some((index, sent)) = rest[..end].trim().split_once(':') else {
                    continue;
                };
                in_order &= index.parse() == Ok(seen);
                if seen == 0 {
                    done.first.0.push(began.elapsed().as_secs_f64() * 1e3);
                }
                seen += 1;
                let sent: u128 = sent.split(' ').next().unwrap().parse().unwrap();
                done.added.0.push(here.saturating_sub(sent) as f64 / 1e6);
            }
            scanned += whole;
        }
        let expected = if matches!(self.target, Target::Json) {
            1
        } else {
            CHUNKS
        };
        done.streams += 1;
        done.chunks += seen;
        done.broken += usize::from(seen != expected || !in_order);
    }
}
