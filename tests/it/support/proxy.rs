//! A TCP proxy in front of a database that simulates network faults.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    Pass,
    /// Connections stay open, and nothing passes.
    Stall,
    /// Each request is delayed by this much.
    LateRequests(Duration),
    /// Requests pass; each answer is delayed by this much.
    LateAnswers(Duration),
    /// Requests pass; answers are held back until the mode changes.
    NoAnswers,
    /// Connections are closed, new ones as well.
    Cut,
    /// The next statement or commit reaches the server, but its answer is lost with its connection; then
    /// the mode is `Pass` again.
    LoseAnswer,
    /// Connections are closed; new ones get PostgreSQL's error for too many connections.
    Full,
}

/// A proxy in front of a PostgreSQL server.
pub struct Proxy {
    /// The URL of the same database through the proxy.
    pub url: String,
    mode: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    pub async fn before(url: &str) -> Self {
        let mut through = url::Url::parse(url).unwrap();
        let target = (
            through.host_str().unwrap().to_owned(),
            through.port().unwrap(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        through.set_port(Some(port)).unwrap();
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        let modes = Arc::clone(&mode);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target.clone(), Arc::clone(&modes)));
            }
        });
        Self {
            url: through.into(),
            mode,
        }
    }

    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(mut client: TcpStream, target: (String, u16), mode: Arc<watch::Sender<Mode>>) {
    let now = *mode.borrow();
    match now {
        Mode::Cut => return,
        Mode::Full => {
            drop(client.read(&mut [0; 1024]).await);
            let fields = b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0";
            let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
            let refusal = [b"E", &length[..], fields].concat();
            drop(client.write_all(&refusal).await);
            return;
        }
        Mode::Pass
        | Mode::Stall
        | Mode::LateRequests(_)
        | Mode::LateAnswers(_)
        | Mode::NoAnswers
        | Mode::LoseAnswer => {}
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut changed = mode.subscribe();
    let silent = AtomicBool::new(false);
    tokio::select! {
        () = requests(from_client, to_server, &mode, &silent) => {}
        () = answers(from_server, to_client, &mode, &silent) => {}
        _ = changed.wait_for(|mode| matches!(mode, Mode::Cut | Mode::Full)) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mode: &watch::Sender<Mode>,
    silent: &AtomicBool,
) {
    let mut modes = mode.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if modes.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        let now = *mode.borrow();
        if let Mode::LateRequests(late) = now {
            sleep(late).await;
        }
        let is_step =
            executes(&buffer[..count]) || buffer[..count].windows(6).any(|word| word == b"COMMIT");
        let lose = |mode: &mut Mode| {
            let lose = *mode == Mode::LoseAnswer;
            *mode = if lose { Mode::Pass } else { *mode };
            lose
        };
        let lose = is_step && mode.send_if_modified(lose);
        silent.store(lose, Ordering::Relaxed);
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        if lose {
            return sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Whether these messages execute a statement. Then one of them is a Bind: the first one, or, if the
/// statement is not prepared yet, the one after Parse.
fn executes(mut messages: &[u8]) -> bool {
    while let [kind, a, b, c, d, ..] = messages {
        if *kind == 0 {
            return false;
        }
        if *kind == b'B' {
            return true;
        }
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        messages = messages.get(1 + length..).unwrap_or_default();
    }
    false
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mode: &watch::Sender<Mode>,
    silent: &AtomicBool,
) {
    let mut modes = mode.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let is_held = |mode: &Mode| matches!(mode, Mode::Stall | Mode::NoAnswers);
        if modes.wait_for(|mode| !is_held(mode)).await.is_err() {
            return;
        }
        let now = *mode.borrow();
        if let Mode::LateAnswers(late) = now {
            sleep(late).await;
        }
        let dropped = silent.load(Ordering::Relaxed);
        if !dropped && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
