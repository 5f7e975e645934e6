//! The HTTP server: how it listens, starts and stops.

mod announcement;
mod socket;

use std::{
    future::ready,
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_http::{HttpService, Protocol, error::DispatchError};
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{
    App as ActixApp,
    dev::{AppConfig, ServerHandle},
    middleware::from_fn,
    web,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use socket::Socket;

use crate::{
    app::{App, StartError},
    conversations::Conversations,
    routes,
    store::StoreError,
    telemetry, turn,
};

/// Time at shutdown for connections to send the rest of their responses.
const CLOSING: Duration = Duration::from_secs(1);
/// Delay before a migration is retried while the database is away.
const MIGRATION_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Timeout for the head of a connection's first request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be idle between requests. Longer than load balancers keep theirs, or they would
/// send requests into connections that are being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Maximum connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// The kernel's send buffer for a client that does not read, in bytes. Linux doubles this value.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// A running server.
pub struct Server {
    /// The address that it listens on.
    pub address: SocketAddr,
    app: Arc<App>,
    handle: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    /// Why it must not serve, if that turns out once the database is back.
    refused: oneshot::Receiver<StoreError>,
}

impl Server {
    /// Its conversations, for a program that talks to the agents without HTTP.
    pub fn conversations(&self) -> Conversations {
        Conversations::new(Arc::clone(&self.app))
    }

    /// Migrates the database, listens and serves. If PostgreSQL is away, it serves without being
    /// ready, and migrates when the database is back.
    ///
    /// # Errors
    /// If the migration fails, or the address is in use.
    pub async fn start(app: Arc<App>) -> Result<Self, StartError> {
        if let Some(most) = raise_open_files() {
            app.connections.fit(most);
        }
        let pending = match app.store.migrate().await {
            Ok(applied) => {
                report(&applied);
                false
            }
            Err(error) if may_pass(&error) && !app.store.is_single_instance() => {
                tracing::warn!(error.cause = %error, "the database is away or busy: serving, and not ready");
                true
            }
            Err(error) => return Err(error.into()),
        };
        if app.store.is_single_instance() {
            // There is no other instance, so the server that ran these turns is dead.
            app.engine.take_all().await?;
        }
        let wanted = SocketAddr::new(app.settings.server.host, app.settings.server.port);
        let bound = bind(wanted).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| StartError::Bind(wanted, error))?;
        let server =
            http_server(&app, listener).map_err(|error| StartError::Bind(wanted, error))?;
        let handle = server.handle();
        let runtime = tokio::runtime::Handle::current();
        let starting = Arc::clone(&app);
        let (refuse, refused) = oneshot::channel();
        runtime.spawn(async move {
            if pending && let Err(error) = migrate_later(&starting).await {
                drop(refuse.send(error));
                return;
            }
            while let Err(error) = starting.store.adapt().await {
                tracing::warn!(error.cause = %error, "statements are prepared anew for each use");
                tokio::time::sleep(MIGRATION_RETRY_DELAY).await;
            }
            // Now, so that the first visitor does not wait for it.
            drop(starting.devices.warm_up().await);
            if !starting.store.is_read_committed() {
                tracing::warn!(
                    "the database role's transactions are not read committed by default, which costs each batch two \
                     round trips; to mend it: alter role NAME set default_transaction_isolation = 'read committed'"
                );
            }
        });
        let engine = Arc::clone(&app.engine);
        runtime.spawn(async move { engine.agents().connect().await });
        let engine = Arc::clone(&app.engine);
        runtime.spawn(async move { engine.sweep().await });
        let jobs = Arc::clone(&app.jobs);
        runtime.spawn(async move { jobs.run().await });
        Ok(Self {
            address,
            app,
            handle,
            serving: runtime.spawn(server),
            refused,
        })
    }

    /// Starts, announces its address, and serves until the process gets SIGTERM or SIGINT.
    ///
    /// # Errors
    /// As [`Self::start`]; also later, if the database was away at the start and refuses once it is back.
    pub async fn run(app: Arc<App>) -> Result<(), StartError> {
        let pretty = telemetry::is_pretty(&app.settings.log);
        let mut server = Self::start(Arc::clone(&app)).await?;
        announcement::announce(&app, server.address, pretty);
        let refused = tokio::select! {
            () = stop_signal() => None,
            Ok(error) = &mut server.refused => Some(error),
        };
        tracing::info!("shutting down");
        server.stop().await;
        refused.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Refuses new turns, lets running ones finish, and stops, all within `server.shutdown_seconds`.
    pub async fn stop(self) {
        let all = Duration::from_secs(self.app.settings.server.shutdown_seconds);
        let deadline = Instant::now() + all;
        let turns = deadline
            .checked_sub(turn::END_TIMEOUT + CLOSING)
            .unwrap_or_else(Instant::now);
        self.app.engine.drain(turns).await;
        drop(
            timeout_at(
                deadline.max(Instant::now() + CLOSING),
                self.handle.stop(true),
            )
            .await,
        );
        self.serving.abort();
    }
}

/// Listens. The clients' sockets inherit the send buffer of this socket.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Builds what `HttpServer` would build, but with [`Socket`] for its deadlines. `HttpServer` allows no custom socket.
fn http_server(app: &Arc<App>, listener: TcpListener) -> std::io::Result<actix_server::Server> {
    let server = actix_server::Server::build();
    let server = match app.settings.server.workers {
        0 => server,
        workers => server.workers(workers),
    };
    let server = server
        // `Connections::open` limits them.
        .max_concurrent_connections(usize::MAX)
        .shutdown_timeout(CLOSING.as_secs())
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let app = web::Data::from(Arc::clone(app));
    let service = move || {
        let routes = ActixApp::new()
            .app_data(app.clone())
            .wrap(routes::cors::cors(&app.settings.server.allowed_origins))
            .wrap(from_fn(routes::connection::follow))
            .configure(routes::urls);
        let routes = map_config(routes, |()| AppConfig::default())
            .map_err(|error: actix_web::Error| error.error_response());
        let stopping = stopping.clone();
        // Half-closed connections would hide a client that hung up on a silent stream. A WebSocket's client waits
        // for the server to close the connection (RFC 6455 §7.1.1), so the server must not go on reading first: the
        // body of a refused request is read before its response is sent.
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .h1_allow_half_closed(false)
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(Duration::ZERO)
            .keep_alive(KEEP_ALIVE)
            .on_connect_ext(|socket: &Socket, data| {
                data.insert(Arc::clone(socket.connection()));
            })
            .finish(routes);
        let app = app.clone();
        fn_service(move |io: TcpStream| ready(accept(&app, io))).and_then(http)
    };
    Ok(server.listen("http", listener, service)?.run())
}

/// Accepts a connection, if there is room for it.
fn accept(
    app: &App,
    io: TcpStream,
) -> Result<(Socket, Protocol, Option<SocketAddr>), DispatchError> {
    let peer = io.peer_addr()?;
    // With Nagle's algorithm a first chunk would wait for the client's delayed ACK.
    io.set_nodelay(true)?;
    let address = Some(peer.ip()).filter(|address| !app.limits.trusts(*address));
    let opened = app.connections.open(address);
    let opened = opened.ok_or(DispatchError::Io(ErrorKind::ConnectionRefused.into()))?;
    let socket = Socket::new(io, opened, Arc::clone(&app.metrics));
    Ok((socket, Protocol::Http1, Some(peer)))
}

async fn stop_signal() {
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}

/// Migrates once the database is back.
///
/// # Errors
/// If the database refuses: a later version has migrated it, or a right is missing.
async fn migrate_later(app: &App) -> Result<(), StoreError> {
    loop {
        tokio::time::sleep(MIGRATION_RETRY_DELAY).await;
        match app.store.migrate().await {
            Ok(applied) => {
                report(&applied);
                return Ok(());
            }
            Err(error) if may_pass(&error) => {
                tracing::warn!(error.cause = %error, "the database is still away or busy: not ready");
            }
            Err(error) => return Err(error),
        }
    }
}

/// Raises the limit of open files to the hard limit: every connection needs a file, and the usual soft limit is 1024.
/// Returns the new limit, if known.
fn raise_open_files() -> Option<u64> {
    let most = rlimit::increase_nofile_limit(u64::MAX);
    match &most {
        Ok(most) => tracing::debug!(most, "how many files and connections may be open"),
        Err(error) => {
            tracing::warn!(error.cause = %error, "the limit of open files stays as it is");
        }
    }
    most.ok()
}

/// Whether a later attempt to migrate may succeed.
fn may_pass(error: &StoreError) -> bool {
    error.is_away() || error.is_passing()
}

fn report(applied: &[String]) {
    if !applied.is_empty() {
        tracing::info!(
            migrations = applied.join(", "),
            "the schema was brought up to date"
        );
    }
}
