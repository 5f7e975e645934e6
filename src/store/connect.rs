//! Opens the configured database and prepares its connections.

use std::{
    fs::{DirBuilder, OpenOptions, Permissions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use diesel::{
    PgConnection, QueryResult, QueryableByName, RunQueryDsl, SqliteConnection,
    connection::SimpleConnection, sql_query, sql_types::Text,
};

use super::{Db, Pools, StoreError, connection::pool, pool::Pool};
use crate::{clock::Clock, config};

/// libpq parameters that apply unless the URL sets them: fail soon if the server is silent.
const POSTGRES_DEFAULTS: [(&str, &str); 6] = [
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "4000"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "2"),
    ("application_name", "frontdesk"),
];

pub(super) fn open(
    settings: &config::DatabaseSettings,
    clock: Arc<dyn Clock>,
) -> Result<Db, StoreError> {
    let url = settings.url.reveal();
    if url.starts_with("sqlite:") {
        let path = sqlite_path(url);
        private_file(Path::new(path))
            .map_err(|error| StoreError::Away(format!("{path}: {error}")))?;
        let direct = Arc::default();
        let pool = |size| {
            let clock = Arc::clone(&clock);
            let prepare = move |conn: &mut SqliteConnection| prepare_sqlite(conn, &clock);
            let pool = pool(path.to_owned(), size, prepare);
            pool.map(|pool| Pool::new(pool, &direct))
        };
        let write = pool(1)?;
        let renew = write.clone();
        return Ok(Db::Sqlite(Pools {
            read: pool(settings.pool_size)?,
            side: write.clone(),
            write,
            renew,
            pooled: direct,
            read_committed: Arc::new(AtomicBool::new(true)),
        }));
    }
    let url = postgres_url(url);
    let read_committed = Arc::new(AtomicBool::new(true));
    // Assume a pooler until `Store::adapt` finds none.
    let pooled = Arc::new(AtomicBool::new(true));
    let pool = |size| {
        let read_committed = Arc::clone(&read_committed);
        let prepare = move |conn: &mut PgConnection| note_isolation(conn, &read_committed);
        let pool = pool(url.clone(), size, prepare);
        pool.map(|pool| Pool::new(pool, &pooled))
    };
    let write = pool(settings.pool_size)?;
    // Reads and side writes use at most half of the connections, so that messages do not wait for them.
    let read = write.with_at_most(settings.pool_size.div_ceil(2));
    Ok(Db::Postgres(Pools {
        side: read.clone(),
        read,
        write,
        // Two connections, so that one that hangs does not block renewals.
        renew: pool(2)?,
        pooled,
        read_committed,
    }))
}

/// Records whether the default isolation is read committed: a role or a database can set another default.
fn note_isolation(conn: &mut PgConnection, read_committed: &AtomicBool) -> QueryResult<()> {
    #[derive(QueryableByName)]
    struct Isolation {
        #[diesel(sql_type = Text)]
        isolation: String,
    }
    let asked = sql_query("select current_setting('transaction_isolation') as isolation");
    let found: Isolation = asked.get_result(conn)?;
    if found.isolation != "read committed" {
        read_committed.store(false, Ordering::Relaxed);
    }
    Ok(())
}

/// Makes the database file and its folder accessible to the server's user only: the file holds conversations and
/// the site's secret. An existing folder keeps its mode, an existing file does not. SQLite gives the files that
/// it adds the same mode.
fn private_file(file: &Path) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file)?;
    opened.set_permissions(Permissions::from_mode(0o600))?;
    for ending in ["-wal", "-shm"] {
        let mut beside = file.as_os_str().to_owned();
        beside.push(ending);
        match std::fs::set_permissions(beside, Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The file that a `sqlite:` URL names.
pub(super) fn sqlite_path(url: &str) -> &str {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    path.strip_prefix("//").unwrap_or(path)
}

/// The URL with defaults for the parameters that it does not set. Only the query is parsed: libpq
/// accepts URLs that other parsers reject (several hosts, no host).
pub(super) fn postgres_url(url: &str) -> String {
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

/// The clock's functions with SQLite's own types; `schema` declares them for queries.
#[diesel::declare_sql_function]
extern "SQL" {
    fn db_now() -> diesel::sql_types::BigInt;
    fn db_now_plus(milliseconds: diesel::sql_types::BigInt) -> diesel::sql_types::BigInt;
}

/// Prepares a new SQLite connection: durable writes, and the clock functions that statements call.
pub(super) fn prepare_sqlite(
    conn: &mut SqliteConnection,
    clock: &Arc<dyn Clock>,
) -> QueryResult<()> {
    conn.batch_execute(
        "pragma busy_timeout = 2000; pragma journal_mode = wal; \
         pragma synchronous = full; pragma foreign_keys = on; \
         pragma secure_delete = on;",
    )?;
    let now = std::panic::AssertUnwindSafe(Arc::clone(clock));
    db_now_utils::register_nondeterministic_impl(conn, move || now.now().0)?;
    let now = std::panic::AssertUnwindSafe(Arc::clone(clock));
    db_now_plus_utils::register_nondeterministic_impl(conn, move |milliseconds: i64| {
        now.now()
            .0
            .saturating_add(milliseconds.saturating_mul(1_000))
    })
}
