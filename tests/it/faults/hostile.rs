//! Malicious clients: they send byte by byte, request much and read nothing, hold streams open, or send garbage.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::*;

/// Number of malicious clients at a time.
pub const CROWD: usize = 60;
/// How long a malicious client holds a socket, unless the server closes it.
const HOLDS: Duration = Duration::from_secs(30);
const SLOWLY: Duration = Duration::from_millis(500);

/// What the malicious clients have done.
#[derive(Debug, Default)]
pub struct Bothered {
    pub opened: AtomicUsize,
    /// How many sockets the server closed.
    pub closed: AtomicUsize,
}

impl Bothered {
    /// One malicious client: opens one socket after another, each to the next `url`.
    pub async fn bother(
        &self,
        seed: u64,
        url: impl Fn(&mut StdRng) -> String,
        is_over: &AtomicBool,
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        while !is_over.load(Ordering::Relaxed) {
            let url = url(&mut random);
            let address = url.trim_start_matches("http://").parse().unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let Ok(socket) = socket.connect(address).await else {
                sleep(SLOWLY).await;
                continue;
            };
            self.opened.fetch_add(1, Ordering::Relaxed);
            let over = async {
                while !is_over.load(Ordering::Relaxed) {
                    sleep(SLOWLY).await;
                }
            };
            let held = timeout(HOLDS, misuse(socket, &mut random));
            tokio::select! {
                held = held => self.closed.fetch_add(usize::from(held.is_ok()), Ordering::Relaxed),
                () = over => return,
            };
        }
    }
}

/// Misuses a socket until the server closes it.
async fn misuse(mut socket: TcpStream, random: &mut StdRng) {
    let device = format!("X-Device-ID: visitor-{}\r\n", random.random_range(0..12));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: desk\r\n{device}\r\n");
    let post = |path: &str| {
        let json = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
        format!("POST {path} HTTP/1.1\r\nHost: desk\r\n{device}{json}\r\n")
    };
    let (said, drips, reads) = match random.random_range(0..7) {
        0 => ("GET /healthz HTTP/1.1\r\n".to_owned(), "x", true),
        1 => (post("/chat/stream"), "1\r\n \r\n", true),
        2 => (post("/nothing"), "1\r\n \r\n", true),
        3 => (get("/chat/export").repeat(4), "", false),
        4 => (get("/chat/history?limit=200").repeat(4), "", false),
        5 => (get("/chat/events"), "", true),
        _ => {
            let noise: String = (0..2_000)
                .map(|_| random.random_range('\0'..'\u{7f}'))
                .collect();
            (noise, "\0", true)
        }
    };
    if socket.write_all(said.as_bytes()).await.is_err() {
        return;
    }
    let (mut from, mut to) = socket.into_split();
    let drip = async {
        while !drips.is_empty() && to.write_all(drips.as_bytes()).await.is_ok() {
            sleep(SLOWLY).await;
        }
        std::future::pending().await
    };
    let read = async {
        // A client that does not read notices late that the server has closed the socket.
        if !reads {
            sleep(HOLDS * 4 / 5).await;
        }
        while let Ok(1..) = from.read(&mut [0; 4096]).await {}
    };
    tokio::select! {
        () = drip => {}
        () = read => {}
    }
}
