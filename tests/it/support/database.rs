//! A database for each test: cloned from a migrated template, or a file.

use std::{process::Command, sync::Arc};

use diesel::{
    Connection, PgConnection, RunQueryDsl, connection::SimpleConnection, sql_query, sql_types::Bool,
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

    /// A database without anything.
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

    pub fn settings(&self) -> config::Database {
        settings(&self.url)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // Its connections may still be open; whoever cleans up does not wait for them.
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
        Some(path) => diesel::SqliteConnection::establish(path)
            .unwrap()
            .batch_execute(&sql)
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

/// A database with the schema, made once in a run.
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
            // A template may have no connections; the store's pool goes with the store, later.
            let terminate = format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
            );
            admin(terminate).await;
            while busy(name.clone()).await {}
            name
        })
        .await
}

async fn busy(name: String) -> bool {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        busy: bool,
    }
    let sql =
        format!("select exists (select from pg_stat_activity where datname = '{name}') as busy");
    tokio::task::spawn_blocking(move || {
        let mut conn = PgConnection::establish(cluster()).unwrap();
        sql_query(sql).get_result::<Row>(&mut conn).unwrap().busy
    })
    .await
    .unwrap()
}

fn settings(url: &str) -> config::Database {
    config::Database {
        url: Secret::new(url),
        pool_size: 4,
        on_outage: OnOutage::Answer,
    }
}
