//! A database for each test: cloned from a migrated template, or a file.

use std::{process::Command, sync::Arc};

use diesel::{
    Connection, PgConnection, RunQueryDsl, SqliteConnection,
    connection::SimpleConnection,
    sql_query,
    sql_types::{BigInt, Text},
};
use frontdesk::{
    clock::SystemClock,
    config::{self, OnOutage, Secret},
    store::Store,
};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Db {
    Postgres,
    Sqlite,
}

/// A database that is dropped with its test.
pub struct Database {
    pub url: String,
    _directory: Option<tempfile::TempDir>,
    name: Option<String>,
}

impl Database {
    /// A database with the schema.
    pub async fn migrated(db: Db) -> Self {
        match db {
            Db::Sqlite => Self::empty(db).await,
            Db::Postgres => Self::create(Some(template().await)).await,
        }
    }

    /// An empty database.
    pub async fn empty(db: Db) -> Self {
        match db {
            Db::Postgres => Self::create(None).await,
            Db::Sqlite => {
                let directory = tempfile::tempdir().unwrap();
                let url = format!("sqlite:{}/frontdesk.db", directory.path().display());
                Self {
                    url,
                    _directory: Some(directory),
                    name: None,
                }
            }
        }
    }

    async fn create(template: Option<&'static str>) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let template = template
            .map(|name| format!("template {name}"))
            .unwrap_or_default();
        admin(format!("create database {name} {template}")).await;
        Self {
            url: url_of(&name),
            _directory: None,
            name: Some(name),
        }
    }

    /// Runs SQL in the database.
    pub async fn execute(&self, sql: impl Into<String>) {
        execute(self.url.clone(), sql.into()).await;
    }

    /// Ends the connections that match a condition. Runs in another database, so that calls do not end each other.
    pub async fn terminate(&self, which: &str) {
        let name = self.name.as_deref().unwrap();
        admin(format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}' and {which}"
        ))
        .await;
    }

    /// The number of rows in a table; a condition may follow the table's name.
    pub async fn count(&self, table: String) -> i64 {
        self.number(format!("select count(*) as value from {table}"))
            .await
    }

    async fn number(&self, sql: String) -> i64 {
        let url = self.url.clone();
        let found = tokio::task::spawn_blocking(move || match url.strip_prefix("sqlite:") {
            Some(path) => {
                sql_query(sql).get_result::<Number>(&mut SqliteConnection::establish(path).unwrap())
            }
            None => {
                sql_query(sql).get_result::<Number>(&mut PgConnection::establish(&url).unwrap())
            }
        });
        found.await.unwrap().unwrap().value
    }

    /// When the lease of the only running turn expires, in microseconds since 1970.
    pub async fn lease_until(&self) -> i64 {
        let of = "from conversations where lease_until is not null";
        self.number(match self.url.starts_with("sqlite:") {
            true => format!("select lease_until as value {of}"),
            false => {
                format!("select (extract(epoch from lease_until) * 1000000)::bigint as value {of}")
            }
        })
        .await
    }

    /// The columns of a table with their types, sorted by name.
    pub async fn columns(&self, table: &str) -> Vec<(String, String)> {
        #[derive(diesel::QueryableByName)]
        struct Column {
            #[diesel(sql_type = Text)]
            name: String,
            #[diesel(sql_type = Text)]
            kind: String,
        }
        let (url, table) = (self.url.clone(), table.to_owned());
        let columns = tokio::task::spawn_blocking(move || {
            match url.strip_prefix("sqlite:") {
            Some(path) => sql_query(format!(
                "select name, lower(type) || iif(\"notnull\" or pk, '', ' null') as kind from pragma_table_info('{table}') order by 1"
            ))
            .load::<Column>(&mut SqliteConnection::establish(path).unwrap()),
            None => sql_query(format!(
                "select column_name::text as name, data_type || case is_nullable when 'YES' then ' null' else '' end as kind
                 from information_schema.columns where table_name = '{table}' order by 1"
            ))
            .load::<Column>(&mut PgConnection::establish(&url).unwrap()),
        }
        });
        columns
            .await
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|column| (column.name, column.kind))
            .collect()
    }

    /// Starts to count this PostgreSQL database's statements, except those that only begin or end
    /// transactions, test connections or read these statistics.
    pub async fn count_statements(&self) {
        let reset = "create extension if not exists pg_stat_statements; \
            select pg_stat_statements_reset(0, (select oid from pg_database where datname = current_database()), 0)";
        self.execute(reset).await;
    }

    /// The statements since `count_statements`.
    pub async fn statements(&self) -> Vec<String> {
        #[derive(diesel::QueryableByName)]
        struct Statement {
            #[diesel(sql_type = Text)]
            query: String,
        }
        let sql = r"select query from pg_stat_statements, generate_series(1, calls)
            where dbid = (select oid from pg_database where datname = current_database())
            and query !~* '^(begin|commit|rollback|set |select 1$|select pg_stat_statements|create extension)'";
        let url = self.url.clone();
        let seen = tokio::task::spawn_blocking(move || {
            sql_query(sql).load::<Statement>(&mut PgConnection::establish(&url).unwrap())
        });
        seen.await
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|statement| statement.query)
            .collect()
    }

    /// The URL of a PostgreSQL that does not exist.
    pub fn nowhere() -> Self {
        Self {
            url: "postgres://frontdesk@127.0.0.1:9/nowhere".into(),
            _directory: None,
            name: None,
        }
    }

    /// An empty PostgreSQL database that is created when the future is awaited.
    pub async fn later() -> (Self, impl Future<Output = ()>) {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let create = admin(format!("create database {name}"));
        (
            Self {
                url: url_of(&name),
                _directory: None,
                name: Some(name),
            },
            create,
        )
    }

    pub fn settings(&self) -> config::DatabaseSettings {
        settings(&self.url)
    }
}

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // Connections may still be open, so the database is dropped in the background.
            std::thread::spawn(move || {
                let mut conn = PgConnection::establish(cluster()).ok()?;
                conn.batch_execute(&format!("drop database if exists {name} with (force)"))
                    .ok()
            });
        }
    }
}

/// Runs SQL in a database of either kind.
async fn execute(url: String, sql: String) {
    tokio::task::spawn_blocking(move || match url.strip_prefix("sqlite:") {
        Some(path) => SqliteConnection::establish(path)
            .unwrap()
            // The server may be writing at this moment.
            .batch_execute(&format!("pragma busy_timeout = 10000; {sql}"))
            .unwrap(),
        None => PgConnection::establish(&url)
            .unwrap()
            .batch_execute(&sql)
            .unwrap(),
    })
    .await
    .unwrap();
}

async fn admin(sql: String) {
    execute(cluster().to_owned(), sql).await;
}

/// The cluster that `FRONTDESK_TEST_POSTGRES` names, or the one that `scripts/postgres` runs.
fn cluster() -> &'static str {
    static URL: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    URL.get_or_init(|| {
        std::env::var("FRONTDESK_TEST_POSTGRES").unwrap_or_else(|_| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres");
            let started = Command::new(script).arg("start").output().unwrap();
            assert!(
                started.status.success(),
                "{}",
                String::from_utf8_lossy(&started.stderr)
            );
            String::from_utf8(started.stdout).unwrap().trim().to_owned()
        })
    })
}

fn url_of(name: &str) -> String {
    let (server, _) = cluster().rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// A database with the schema, created once per run.
async fn template() -> &'static str {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            let name = format!("template_{}", Uuid::new_v4().simple());
            admin(format!("create database {name}")).await;
            let url = url_of(&name);
            Store::open(&settings(&url), Arc::new(SystemClock))
                .unwrap()
                .migrate()
                .await
                .unwrap();
            // A template must have no connections, and the store's pool closes its own only later.
            let terminate = format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
            );
            admin(terminate).await;
            let connected = format!("pg_stat_activity where datname = '{name}'");
            let admin = Database {
                url: cluster().to_owned(),
                _directory: None,
                name: None,
            };
            while admin.count(connected.clone()).await > 0 {}
            name
        })
        .await
}

fn settings(url: &str) -> config::DatabaseSettings {
    config::DatabaseSettings {
        statement_cache: config::StatementCache::Auto,
        url: Secret::new(url),
        listen_url: Secret::default(),
        pool_size: 4,
        on_outage: OnOutage::Answer,
    }
}
