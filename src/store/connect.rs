//! How connections are made, checked and prepared.

use std::{path::Path, sync::Arc, time::Duration};

use diesel::{
    PgConnection, SqliteConnection,
    connection::SimpleConnection,
    r2d2::{self, ConnectionManager, CustomizeConnection, Pool, R2D2Connection},
};

use super::{Db, Lane, Lanes, StoreError};
use crate::{clock::Clock, config};

/// How long to wait for a connection before the database counts as away.
const CONNECT: Duration = Duration::from_secs(2);

/// What libpq is told unless the URL says otherwise: fail soon where a server is silent.
const POSTGRES_DEFAULTS: [(&str, &str); 6] = [
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "4000"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "2"),
    ("application_name", "frontdesk"),
];

pub(super) fn open(settings: &config::Database, clock: Arc<dyn Clock>) -> Result<Db, StoreError> {
    let url = settings.url.reveal();
    if url.starts_with("sqlite:") {
        let path = sqlite_path(url);
        let directory = Path::new(path).parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(|error| {
            StoreError::Unavailable(format!("{}: {error}", directory.display()))
        })?;
        let lane = |size| {
            let prepare = Prepare {
                clock: Arc::clone(&clock),
            };
            pool::<SqliteConnection>(path.to_owned(), size, Box::new(prepare)).map(Lane::new)
        };
        let write = lane(1)?;
        let renew = write.clone();
        return Ok(Db::Sqlite(Lanes {
            read: lane(settings.pool_size)?,
            write,
            renew,
        }));
    }
    let url = postgres_url(url);
    let lane = |size| {
        let nothing = Box::new(r2d2::NopConnectionCustomizer);
        pool::<PgConnection>(url.clone(), size, nothing).map(Lane::new)
    };
    let write = lane(settings.pool_size)?;
    Ok(Db::Postgres(Lanes {
        read: write.clone(),
        write,
        renew: lane(1)?,
    }))
}

/// The file that a `sqlite:` URL names.
pub(super) fn sqlite_path(url: &str) -> &str {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    path.strip_prefix("//").unwrap_or(path)
}

/// The URL with the defaults for what it does not say. libpq reads URLs that no other parser
/// does (several hosts, none), so only its query is looked at.
fn postgres_url(url: &str) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let is_given = |name: &str| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    };
    let missing = POSTGRES_DEFAULTS.iter().filter(|(name, _)| !is_given(name));
    missing.fold(url.to_owned(), |url, (name, value)| {
        let gap = if url.contains('?') { '&' } else { '?' };
        format!("{url}{gap}{name}={value}")
    })
}

type Customizer<C> = Box<dyn CustomizeConnection<C, r2d2::Error>>;

fn pool<C: R2D2Connection + 'static>(
    url: String,
    size: u32,
    customizer: Customizer<C>,
) -> Result<Pool<ConnectionManager<C>>, StoreError> {
    Ok(Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .connection_timeout(CONNECT)
        .test_on_check_out(true)
        .error_handler(Box::new(LogError))
        .connection_customizer(customizer)
        .build_unchecked(ConnectionManager::new(url)))
}

/// The pool's own failures, which no caller sees.
#[derive(Debug)]
struct LogError;

impl<E: std::error::Error> ::r2d2::HandleError<E> for LogError {
    fn handle_error(&self, error: E) {
        tracing::warn!(error.cause = %error, "database connection failed");
    }
}

/// Makes a fresh SQLite connection fit: durable, and with the clock that the statements use.
#[derive(Debug)]
struct Prepare {
    clock: Arc<dyn Clock>,
}

/// The clock's functions as the backend knows their types; `schema` declares them for queries.
#[diesel::declare_sql_function]
extern "SQL" {
    fn db_now() -> diesel::sql_types::BigInt;
    fn db_now_plus(milliseconds: diesel::sql_types::BigInt) -> diesel::sql_types::BigInt;
}

impl CustomizeConnection<SqliteConnection, r2d2::Error> for Prepare {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), r2d2::Error> {
        let prepare = |conn: &mut SqliteConnection| {
            conn.batch_execute(
                "pragma busy_timeout = 2000; pragma journal_mode = wal; \
                 pragma synchronous = full; pragma foreign_keys = on;",
            )?;
            let clock = std::panic::AssertUnwindSafe(Arc::clone(&self.clock));
            db_now_utils::register_nondeterministic_impl(conn, move || clock.now().0)?;
            let clock = std::panic::AssertUnwindSafe(Arc::clone(&self.clock));
            db_now_plus_utils::register_nondeterministic_impl(conn, move |milliseconds: i64| {
                clock
                    .now()
                    .0
                    .saturating_add(milliseconds.saturating_mul(1_000))
            })
        };
        prepare(conn).map_err(r2d2::Error::QueryError)
    }
}
