//! How soon messages are answered on one core that holds many WebSockets.

use std::{
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc, time::interval};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use super::server::{Database, SECRET, Server};

/// Messages per second, and for how long.
const RATE: u64 = 100;
const LOAD: Duration = Duration::from_secs(20);
/// The number of connections that are opened at once.
const AT_ONCE: usize = 50;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens the connections, sends messages on one after another, and prints a table.
pub async fn run(upstream: &Server, connections: usize) {
    let database = Database::postgres("sockets");
    let server = Server::frontdesk(upstream, &database);
    let pinned = Command::new("taskset")
        .args(["-a", "-p", "-c", "0", &server.pid().to_string()])
        .output();
    assert!(pinned.unwrap().status.success(), "one core");
    let before = server.memory();
    let (told, mut answered) = mpsc::unbounded_channel();
    let mut writers = Vec::with_capacity(connections);
    while writers.len() < connections {
        let some = writers.len()..connections.min(writers.len() + AT_ONCE);
        let opened = some.map(|number| open(&server, number));
        for socket in futures_util::future::join_all(opened).await {
            let (writer, mut reader) = socket.split();
            let told = told.clone();
            tokio::spawn(async move {
                while let Some(Ok(frame)) = reader.next().await {
                    let Message::Text(text) = frame else { continue };
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    assert_ne!(frame["type"], "error", "{frame}");
                    if frame["is_final"] == true && frame["client_message_id"].is_string() {
                        drop(told.send(frame["client_message_id"].as_str().unwrap().to_owned()));
                    }
                }
            });
            writers.push(writer);
        }
    }
    let held = server.memory().saturating_sub(before);
    let cpu = server.cpu();
    let began = Instant::now();
    let sending = send(&mut writers, began);
    let all = RATE * LOAD.as_secs();
    let receiving = async {
        let mut times = Vec::new();
        while (times.len() as u64) < all {
            let sent: u64 = answered.recv().await.unwrap().parse().unwrap();
            let sent = Duration::from_micros(sent);
            times.push((began.elapsed() - sent).as_secs_f64() * 1_000.0);
        }
        times
    };
    let (mut times, ()) = tokio::join!(receiving, sending);
    let load = (server.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("| {connections} WebSockets, {RATE} messages a second, one core | |\n| --- | --- |");
    println!("| p50 ms | {:.1} |\n| p99 ms | {:.1} |", at(50), at(99));
    println!("| of the core | {:.0} % |", load * 100.0);
    println!(
        "| KiB a connection, idle | {:.1} |",
        held as f64 / connections as f64
    );
}

async fn open(server: &Server, number: usize) -> Socket {
    let until = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 3600;
    let claims = json!({"sub": format!("user-{number}"), "exp": until});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = encode(&Header::default(), &claims, &key).unwrap();
    let url = server.url.replace("http", "ws");
    let url = format!("{url}/api/v1/chat/ws?token={token}");
    let mut socket = connect_async(url).await.unwrap().0;
    let first = socket.next().await.unwrap().unwrap();
    assert!(first.to_text().unwrap().contains("connection"), "{first:?}");
    socket
}

async fn send(writers: &mut [SplitSink<Socket, Message>], began: Instant) {
    let mut ticks = interval(Duration::from_micros(1_000_000 / RATE));
    for number in 0..RATE * LOAD.as_secs() {
        ticks.tick().await;
        // Consecutive messages go to connections far apart, and in time to all of them.
        let at = (number as usize * 7_919) % writers.len();
        let message = json!({
            "type": "message",
            "content": "short",
            "client_message_id": began.elapsed().as_micros().to_string(),
        });
        let message = Message::text(message.to_string());
        writers[at].send(message).await.unwrap();
    }
}
