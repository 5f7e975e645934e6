//! A TCP proxy that misbehaves when it is told to: what a network does to a database.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    Pass,
    /// Connections stand, and nothing passes.
    Stall,
    /// Connections are closed, new ones too.
    Cut,
    /// Connections are closed; new ones are told that there are too many.
    Full,
}

/// A proxy in front of a PostgreSQL server.
pub struct Proxy {
    /// The URL of the same database through the proxy.
    pub url: String,
    mode: watch::Sender<Mode>,
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
        let mode = watch::Sender::new(Mode::Pass);
        let modes = mode.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target.clone(), modes.clone()));
            }
        });
        Self {
            url: through.into(),
            mode,
        }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(mut client: TcpStream, target: (String, u16), mut mode: watch::Receiver<Mode>) {
    let now = *mode.borrow_and_update();
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
        Mode::Pass | Mode::Stall => {}
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, mode.clone()) => {}
        () = copy(from_server, to_client, mode.clone()) => {}
        _ = mode.wait_for(|mode| matches!(mode, Mode::Cut | Mode::Full)) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
