//! The servers of a run, each a process of its own, and their CPU time and memory as the kernel counts them.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use diesel::{Connection as _, PgConnection, RunQueryDsl as _, connection::SimpleConnection as _};
use tempfile::TempDir;

/// The secret that signs tokens.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A running server; killed when dropped.
pub struct Server {
    pub url: String,
    pub started_after: Duration,
    child: Child,
    database: Option<Database>,
    _directory: Option<TempDir>,
}

/// A database of this run only.
#[derive(Clone)]
pub struct Database {
    pub url: String,
    _directory: Option<Arc<TempDir>>,
}

impl Database {
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/desk.db", directory.path().display());
        Self {
            url,
            _directory: Some(Arc::new(directory)),
        }
    }

    pub fn at(url: String) -> Self {
        Self {
            url,
            _directory: None,
        }
    }

    /// The times of this many empty round trips (`select 1`).
    pub fn ask(&self, times: usize) -> Vec<Duration> {
        let mut conn = PgConnection::establish(&self.url).unwrap();
        let mut ask = || {
            let began = Instant::now();
            diesel::sql_query("select 1").execute(&mut conn).unwrap();
            began.elapsed()
        };
        (0..times).map(|_| ask()).collect()
    }

    /// On the cluster of `scripts/postgres`, made durable for the run.
    pub fn postgres(name: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres");
        let started = Command::new(script)
            .args(["start", "--durable"])
            .output()
            .unwrap();
        assert!(
            started.status.success(),
            "{}",
            String::from_utf8_lossy(&started.stderr)
        );
        let url = String::from_utf8(started.stdout).unwrap().trim().to_owned();
        let name = format!("bench_{name}_{}", std::process::id());
        let create = format!("drop database if exists {name} with (force)");
        for sql in [create, format!("create database {name}")] {
            PgConnection::establish(&url)
                .unwrap()
                .batch_execute(&sql)
                .unwrap();
        }
        let (server, _) = url.rsplit_once('/').unwrap();
        Self::at(format!("{server}/{name}"))
    }
}

impl Server {
    pub fn upstream() -> Self {
        Self::own(&["upstream"])
    }

    pub fn relay(upstream: &Self) -> Self {
        Self::own(&["relay", &upstream.url])
    }

    /// Starts this binary in another role.
    fn own(arguments: &[&str]) -> Self {
        let began = Instant::now();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            url: format!("http://{}", line.trim()),
            started_after: began.elapsed(),
            child,
            database: None,
            _directory: None,
        }
    }

    /// nginx, passing bytes through as they come; `None` if nginx is not installed.
    pub fn nginx(upstream: &Self) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = directory.path().join("nginx.conf");
        let address = upstream.url.trim_start_matches("http://");
        let root = directory.path().display();
        std::fs::write(
            &config,
            format!(
                "daemon off; worker_processes auto; pid {root}/pid; error_log /dev/null;\n\
                 events {{ worker_connections 8192; }}\n\
                 http {{ access_log off; client_body_temp_path {root}; proxy_temp_path {root};\n\
                 fastcgi_temp_path {root}; uwsgi_temp_path {root}; scgi_temp_path {root};\n\
                 upstream model {{ server {address}; keepalive 512; }}\n\
                 server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://model; proxy_http_version 1.1;\n\
                 proxy_set_header Connection ''; proxy_buffering off; }} }} }}"
            ),
        )
        .unwrap();
        let mut command = Command::new("nginx");
        let child = command
            .arg("-c")
            .arg(&config)
            .arg("-p")
            .arg(directory.path())
            .stderr(Stdio::null());
        let began = Instant::now();
        let server = Self {
            url: format!("http://127.0.0.1:{port}"),
            started_after: Duration::ZERO,
            child: child.spawn().ok()?,
            database: None,
            _directory: Some(directory),
        };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "nginx does not start"
            );
        }
        Some(server)
    }

    /// frontdesk with one agent, so that each turn asks the upstream once.
    pub fn frontdesk(upstream: &Self, database: &Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let agent = "[routing]\ndefault_agent = \"a\"\n[limits]\nenabled = false\n\
                     [agents.a]\ndescription = \"a\"\nprompt = \"a\"\n\
                     flow = { greeting = \"a\", done = \"a\", again = \"a\", bye = \"a\" }\n";
        std::fs::write(directory.path().join("frontdesk.toml"), agent).unwrap();
        let port = free_port();
        let began = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
            .current_dir(directory.path())
            .env_clear()
            .env("PORT", port.to_string())
            .env("DATABASE_URL", &database.url)
            .env("OPENAI_BASE_URL", format!("{}/v1", upstream.url))
            .env("FRONTDESK_JWT_SECRET", SECRET)
            .env("RUST_LOG", "error")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let mut server = Self {
            url,
            started_after: Duration::ZERO,
            child,
            database: Some(database.clone()),
            _directory: Some(directory),
        };
        while !is_ready(port) {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "frontdesk does not start"
            );
        }
        server.started_after = began.elapsed();
        server
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The database, if this is a frontdesk.
    pub fn database(&self) -> Option<Database> {
        self.database.clone()
    }

    /// The CPU time that the server and its children have used.
    pub fn cpu(&self) -> Duration {
        let ticks = self.processes().into_iter().filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
        });
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// The resident memory of the server and its children, in KiB.
    pub fn memory(&self) -> usize {
        let held = self.processes().into_iter().filter_map(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status
                .split("VmRSS:")
                .nth(1)?
                .split_whitespace()
                .next()?
                .parse::<usize>()
                .ok()
        });
        held.sum()
    }

    fn processes(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        std::iter::once(pid)
            .chain(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse().ok()),
            )
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // TERM first: nginx's workers end with their master only if it is not killed.
        drop(
            Command::new("kill")
                .arg(self.child.id().to_string())
                .status(),
        );
        let began = Instant::now();
        while Path::new(&format!("/proc/{}", self.child.id())).exists()
            && began.elapsed() < Duration::from_secs(1)
        {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Whether `/readyz` answers 200.
fn is_ready(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut socket) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = [0; 12];
    socket
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .is_ok()
        && socket.read_exact(&mut answer).is_ok()
        && answer == *b"HTTP/1.1 200"
}
