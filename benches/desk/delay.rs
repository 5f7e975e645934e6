//! Counts a turn's round trips to the database: a proxy delays every byte, so each trip shows in the turn's time.

use std::{
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use std::io::{Read as _, Write as _};

/// The time that the proxy adds to a round trip.
pub const DELAY: Duration = Duration::from_millis(2);

/// Starts a proxy in front of `target`; its address. The proxy lives as long as this process.
pub fn before(target: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let target = target.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&target).unwrap();
            for (from, to) in [(&client, &server), (&server, &client)] {
                pass(from.try_clone().unwrap(), to.try_clone().unwrap());
            }
        }
    });
    address
}

/// One direction, with half of the delay.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    to.set_nodelay(true).unwrap();
    let (sender, receiver): (Sender<(Instant, Vec<u8>)>, Receiver<_>) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let due = Instant::now() + DELAY / 2;
            drop(sender.send((due, buffer[..count].to_vec())));
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
    });
}
