//! A fake model server that costs nearly nothing: chat completions of 64 chunks, at the pace that the
//! visitor's message asks for. Each chunk says when it was sent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

pub const CHUNKS: usize = 64;
/// 100 tokens a second.
const PACE: Duration = Duration::from_millis(10);
/// The extra bytes per chunk of a large answer: 256 KiB in all.
const LARGE: usize = 4 * 1024;

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
}

/// Nanoseconds since 1970; comparable, because both ends run on one machine.
pub fn now() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos()
}

async fn serve(mut socket: TcpStream) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    let mut buffer = Vec::new();
    loop {
        let body = request(&mut socket, &mut buffer).await?;
        let text = String::from_utf8_lossy(&body);
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await.ok()?;
        let (chunks, pace) = match () {
            () if text.contains("unpaced") || text.contains("large") => (CHUNKS, Duration::ZERO),
            () if text.contains("short") => (1, Duration::ZERO),
            () if text.contains("silent") => (1, Duration::from_secs(60)),
            () => (CHUNKS, PACE),
        };
        let padding = match text.contains("large") {
            true => "x".repeat(LARGE),
            false => String::new(),
        };
        for index in 0..chunks {
            let event = format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{index}:{} {padding}\"}},\"finish_reason\":null}}]}}\n\n",
                now()
            );
            chunk(&mut socket, &event).await?;
            if !pace.is_zero() {
                sleep(pace).await;
            }
        }
        let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        chunk(&mut socket, end).await?;
        socket.write_all(b"0\r\n\r\n").await.ok()?;
    }
}

async fn chunk(socket: &mut TcpStream, text: &str) -> Option<()> {
    socket
        .write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
        .await
        .ok()
}

/// Reads one request; its body.
async fn request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
            let length = text
                .split("content-length: ")
                .nth(1)?
                .lines()
                .next()?
                .trim()
                .parse::<usize>()
                .ok()?;
            if buffer.len() >= head + 4 + length {
                let body = buffer[head + 4..head + 4 + length].to_vec();
                buffer.drain(..head + 4 + length);
                return Some(body);
            }
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
