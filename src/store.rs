//! The database: PostgreSQL, or SQLite on a machine without a database server.
//!
//! The queries in `queries/` are compiled once for each database; what differs is in the `dialect` modules.
//! The types that queries take and return are in this folder, one file per noun: [`turns`], [`sessions`],
//! [`messages`]. Only this module may use diesel.
//!
//! One synchronous closure is one step, so no connection can be held during a call to a model.

pub mod adopt;
pub mod assignments;
pub mod audit;
mod batches;
pub mod begin;
pub mod budgets;
mod cached;
mod connect;
mod connection;
pub mod conversations;
pub mod data;
mod enums;
mod error;
pub mod evaluations;
pub mod experts;
mod ids;
pub mod jobs;
mod listen;
pub mod logs;
pub mod messages;
mod migrate;
mod pool;
mod pooler;
pub mod queue;
mod schema;
pub mod sessions;
mod settings;
pub mod steps;
#[cfg(test)]
mod tests;
pub mod turns;
mod types;
pub mod typing;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use diesel::{PgConnection, SqliteConnection, r2d2::R2D2Connection};

pub use error::StoreError;
pub use ids::{
    Attempt, AuditId, ConversationId, EvaluationId, ExpertId, Fence, FrameSeq, InstanceId, JobId,
    LimitKey, MessageId, MessageSeq, Owner, TurnId, UserId,
};
use listen::CHANNEL;

use crate::{clock::Clock, config};
use batches::Batches;
use pool::Pool;

/// Runs a block in a pool of the configured database: `$conn` is a connection, `$db` the module
/// with that database's queries.
macro_rules! on_db {
    ($store:expr, $pool:ident, |$conn:ident, $db:ident| $body:expr) => {
        match &*$store.db {
            $crate::store::Db::Postgres(pools) => {
                use $crate::store::postgres as $db;
                pools.$pool.run(move |$conn| $body).await
            }
            $crate::store::Db::Sqlite(pools) => {
                use $crate::store::sqlite as $db;
                pools.$pool.run(move |$conn| $body).await
            }
        }
    };
}
use on_db;

/// Like [`on_db`], for a thread that may block.
macro_rules! on_db_blocking {
    ($store:expr, $pool:ident, |$conn:ident, $db:ident| $body:expr) => {
        match &*$store.db {
            $crate::store::Db::Postgres(pools) => {
                use $crate::store::postgres as $db;
                pools.$pool.run_blocking(|$conn| $body)
            }
            $crate::store::Db::Sqlite(pools) => {
                use $crate::store::sqlite as $db;
                pools.$pool.run_blocking(|$conn| $body)
            }
        }
    };
}
use on_db_blocking;

#[expect(
    clippy::duplicate_mod,
    reason = "one source, compiled once per database"
)]
mod postgres {
    #[path = "../queries/adopt.rs"]
    pub mod adopt;
    #[path = "../queries/assignments.rs"]
    pub mod assignments;
    #[path = "../queries/audit.rs"]
    pub mod audit;
    pub mod batches;
    #[path = "../queries/begin.rs"]
    pub mod begin;
    #[path = "../queries/budgets.rs"]
    pub mod budgets;
    #[path = "../queries/columns.rs"]
    pub mod columns;
    #[path = "../queries/conversations.rs"]
    pub mod conversations;
    #[path = "../queries/data.rs"]
    pub mod data;
    #[path = "../queries/desk.rs"]
    pub mod desk;
    pub mod dialect;
    #[path = "../queries/evaluations.rs"]
    pub mod evaluations;
    #[path = "../queries/experts.rs"]
    pub mod experts;
    #[path = "../queries/fence.rs"]
    pub mod fence;
    pub mod functions;
    #[path = "../queries/idempotency.rs"]
    pub mod idempotency;
    #[path = "../queries/jobs.rs"]
    pub mod jobs;
    #[path = "../queries/locks.rs"]
    pub mod locks;
    #[path = "../queries/logs.rs"]
    pub mod logs;
    #[path = "../queries/messages.rs"]
    pub mod messages;
    #[path = "../queries/queue.rs"]
    pub mod queue;
    #[path = "../queries/sessions.rs"]
    pub mod sessions;
    #[path = "../queries/settings.rs"]
    pub mod settings;
    #[path = "../queries/steps.rs"]
    pub mod steps;
    #[path = "../queries/turns.rs"]
    pub mod turns;
    #[path = "../queries/typing.rs"]
    pub mod typing;
    #[path = "../queries/users.rs"]
    pub mod users;
    #[path = "../queries/windows.rs"]
    pub mod windows;
}

#[expect(
    clippy::duplicate_mod,
    reason = "one source, compiled once per database"
)]
mod sqlite {
    #[path = "../queries/adopt.rs"]
    pub mod adopt;
    #[path = "../queries/assignments.rs"]
    pub mod assignments;
    #[path = "../queries/audit.rs"]
    pub mod audit;
    pub mod batches;
    #[path = "../queries/begin.rs"]
    pub mod begin;
    #[path = "../queries/budgets.rs"]
    pub mod budgets;
    #[path = "../queries/columns.rs"]
    pub mod columns;
    #[path = "../queries/conversations.rs"]
    pub mod conversations;
    #[path = "../queries/data.rs"]
    pub mod data;
    #[path = "../queries/desk.rs"]
    pub mod desk;
    pub mod dialect;
    #[path = "../queries/evaluations.rs"]
    pub mod evaluations;
    #[path = "../queries/experts.rs"]
    pub mod experts;
    #[path = "../queries/fence.rs"]
    pub mod fence;
    #[path = "../queries/idempotency.rs"]
    pub mod idempotency;
    #[path = "../queries/jobs.rs"]
    pub mod jobs;
    #[path = "../queries/locks.rs"]
    pub mod locks;
    #[path = "../queries/logs.rs"]
    pub mod logs;
    #[path = "../queries/messages.rs"]
    pub mod messages;
    #[path = "../queries/queue.rs"]
    pub mod queue;
    #[path = "../queries/sessions.rs"]
    pub mod sessions;
    #[path = "../queries/settings.rs"]
    pub mod settings;
    #[path = "../queries/steps.rs"]
    pub mod steps;
    #[path = "../queries/turns.rs"]
    pub mod turns;
    #[path = "../queries/typing.rs"]
    pub mod typing;
    #[path = "../queries/users.rs"]
    pub mod users;
    #[path = "../queries/windows.rs"]
    pub mod windows;
}

/// How many batches of one kind may run at once. Steps that come meanwhile go into the next batch.
const BATCHES: usize = 1;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Arc<Db>,
    begins: Arc<Batches<begin::BeginTurn>>,
    finishes: Arc<Batches<turns::FinishTurn>>,
    url: config::Secret,
    listen_url: config::Secret,
    statement_cache: config::StatementCache,
}

enum Db {
    Postgres(Pools<PgConnection>),
    Sqlite(Pools<SqliteConnection>),
}

/// A database's pools, by kind of work; two of them may share connections.
struct Pools<C: R2D2Connection + 'static> {
    read: Pool<C>,
    /// Small writes that must not delay messages: typing signals, stop requests.
    side: Pool<C>,
    /// One connection on SQLite: several writers would only wait for each other, for seconds.
    write: Pool<C>,
    /// For leases and logs: its own connections on PostgreSQL, so that leases are renewed on time under load.
    renew: Pool<C>,
    /// Whether to assume a transaction pooler. Then no statement may stay prepared on a connection.
    pooled: Arc<AtomicBool>,
    /// Whether the default isolation of transactions is read committed.
    read_committed: Arc<AtomicBool>,
}

impl<C: R2D2Connection + 'static> Pools<C> {
    /// Whether to assume a transaction pooler: true until [`Store::adapt`] finds none.
    fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::Relaxed)
    }
}

impl Store {
    /// Prepares the pools. The first call connects, so a server can start while its database is
    /// away. Must be called on the main runtime: its blocking threads do the work.
    ///
    /// # Errors
    /// When SQLite's folder or file cannot be created or made private.
    pub fn open(
        settings: &config::DatabaseSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let db = connect::open(settings, clock)?;
        let most = match &db {
            Db::Postgres(_) => BATCHES,
            Db::Sqlite(_) => 1,
        };
        Ok(Self {
            begins: Batches::new(most),
            finishes: Batches::new(most),
            db: Arc::new(db),
            url: settings.url.clone(),
            listen_url: settings.listen_url.clone(),
            statement_cache: settings.statement_cache,
        })
    }

    /// A readable name of the database: its kind and address, without user and password.
    pub fn describe(&self) -> String {
        match &*self.db {
            Db::Sqlite(_) => format!("SQLite ({})", connect::sqlite_path(self.url.reveal())),
            Db::Postgres(_) => match url::Url::parse(self.url.reveal()) {
                Ok(url) => format!(
                    "PostgreSQL ({}{})",
                    url.host_str().unwrap_or("local"),
                    url.path()
                ),
                Err(_) => "PostgreSQL".to_owned(),
            },
        }
    }

    /// Whether the database has answered any step since this time, even with a refusal.
    pub fn has_answered_since(&self, since: tokio::time::Instant) -> bool {
        match &*self.db {
            Db::Postgres(pools) => pools.write.has_answered_since(since),
            Db::Sqlite(pools) => pools.write.has_answered_since(since),
        }
    }

    /// The number of open connections, and how many of them are idle.
    pub fn connections(&self) -> (u32, u32) {
        match &*self.db {
            Db::Postgres(pools) => pools.write.connections(),
            Db::Sqlite(pools) => {
                let (write, read) = (pools.write.connections(), pools.read.connections());
                (write.0 + read.0, write.1 + read.1)
            }
        }
    }

    /// Whether the default isolation is read committed on every connection made so far. If not, a batch costs
    /// two more round trips.
    pub fn is_read_committed(&self) -> bool {
        match &*self.db {
            Db::Postgres(pools) => pools.read_committed.load(Ordering::Relaxed),
            Db::Sqlite(_) => true,
        }
    }

    /// Whether only one instance can use this database.
    pub fn is_single_instance(&self) -> bool {
        matches!(&*self.db, Db::Sqlite(_))
    }

    /// Finds out whether connections go through a transaction pooler. If not, statements stay prepared
    /// from now on, and the server can [listen](Store::listen) to other instances.
    ///
    /// # Errors
    /// When the database is away; then nothing changes.
    pub async fn adapt(&self) -> Result<(), StoreError> {
        if let Db::Postgres(pools) = &*self.db
            && self.statement_cache == config::StatementCache::Auto
        {
            let pooled = self.is_behind_pooler().await?;
            pools.pooled.store(pooled, Ordering::Relaxed);
            tracing::debug!(pooled, "whether a transaction pooler stands between");
        }
        Ok(())
    }

    /// Whether connections to PostgreSQL go through a transaction pooler.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn is_behind_pooler(&self) -> Result<bool, StoreError> {
        match &*self.db {
            Db::Postgres(pools) => pooler::stands_between(pools).await,
            Db::Sqlite(_) => Ok(false),
        }
    }

    /// Whether the database answers and has the schema.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_db!(self, read, |conn, db| db::settings::get(conn, "").map(drop))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// A duration in milliseconds, the unit of the statements.
fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in seconds, the unit of the session locks.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
