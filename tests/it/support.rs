//! What every test uses: an application, a database of its own, a fake model server.

mod app;
mod database;
mod endpoint;
mod llm;
mod person;
mod process;
mod proxy;
mod request;
mod stream;
mod wire;

pub use app::{Said, TestApp, settings};
pub use database::{Database, Db};
pub use endpoint::Endpoint;
pub use llm::{FakeLlm, Step};
pub use person::{Person, id_of, text};
pub use process::Process;
pub use proxy::{Mode, Proxy};
pub use stream::{Event, Stream};
pub use wire::text_event;

/// Runs a test on each database.
macro_rules! both {
    ($($test:ident)*) => {$(
        mod $test {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$test($crate::support::Db::Postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$test($crate::support::Db::Sqlite).await;
            }
        }
    )*};
}

/// Runs a test of something that only PostgreSQL has: several instances, row locks, statistics.
macro_rules! postgres_only {
    ($($test:ident)*) => {$(
        mod $test {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$test().await;
            }
        }
    )*};
}

/// An HTTP client without a proxy: tests use only loopback.
pub fn client() -> reqwest::Client {
    client_builder().build().unwrap()
}

/// The builder of such a client.
pub fn client_builder() -> reqwest::ClientBuilder {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

/// Replaces every id and time in a text by a name, for snapshots: equal ids get equal names.
pub fn tidy(text: &str) -> String {
    let ids =
        regex::Regex::new(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
    let times = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z").unwrap();
    let mut seen = Vec::new();
    let named = ids.replace_all(text, |found: &regex::Captures<'_>| {
        let id = found[0].to_owned();
        let at = seen
            .iter()
            .position(|known| *known == id)
            .unwrap_or_else(|| {
                seen.push(id);
                seen.len() - 1
            });
        format!("id-{}", at + 1)
    });
    times.replace_all(&named, "[time]").into_owned()
}

/// Waits up to 30 s until a condition holds.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it never is");
}

/// Waits up to 30 s until a program that was just started listens on this local port.
pub fn until_open(port: u16) {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..1_500 {
        if std::net::TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("nobody listens on port {port}");
}
