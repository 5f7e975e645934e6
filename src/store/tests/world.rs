//! A separate database for each path of a test, with a clock that the test moves.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection,
    connection::SimpleConnection as _, sql_query, sql_types::Text,
};
use serde_json::Value;
use uuid::Uuid;

use super::super::{connect, migrate};
use crate::clock::{Clock, Timestamp};

/// The tables to compare, each with the columns whose values differ between paths.
const COMPARED: [(&str, &[&str]); 10] = [
    ("users", &[]),
    ("conversations", &[]),
    ("session_locks", &[]),
    // A merged message's row gets a generated id, which no client sees.
    ("turns", &["id where merged"]),
    ("messages", &[]),
    ("turn_events", &[]),
    ("turn_pieces", &[]),
    ("experts", &[]),
    ("audit_log", &["id"]),
    ("jobs", &["id"]),
];

/// When the scripts begin: 2026-01-01, in microseconds since 1970.
const BEGINNING: i64 = 1_767_225_600_000_000;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct FixedClock(AtomicI64);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// The code path by which turns are begun and finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// PostgreSQL, several turns in a batch.
    PostgresBatch,
    /// PostgreSQL, one turn after the other.
    PostgresSingle,
    /// SQLite, several turns in a batch.
    Sqlite,
}

pub enum TestConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

pub struct World {
    pub path: Path,
    pub conn: TestConnection,
    clock: Arc<FixedClock>,
    /// The database to drop at the end, and the server's URL.
    database: Option<(String, String)>,
}

/// Runs a block on a world's connection: `$db` is the module with the queries.
macro_rules! on {
    ($world:expr, |$conn:ident, $db:ident| $body:expr) => {
        match &mut $world.conn {
            $crate::store::tests::world::TestConnection::Postgres($conn) => {
                use $crate::store::postgres as $db;
                $body
            }
            $crate::store::tests::world::TestConnection::Sqlite($conn) => {
                use $crate::store::sqlite as $db;
                $body
            }
        }
    };
}
pub(super) use on;

impl World {
    pub fn new(path: Path) -> Self {
        let clock = Arc::new(FixedClock(AtomicI64::new(BEGINNING)));
        match path {
            Path::Sqlite => {
                let mut conn = SqliteConnection::establish(":memory:").unwrap();
                let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
                connect::prepare_sqlite(&mut conn, &shared).unwrap();
                migrate::sqlite(&mut conn).unwrap();
                Self {
                    path,
                    conn: TestConnection::Sqlite(conn),
                    clock,
                    database: None,
                }
            }
            Path::PostgresBatch | Path::PostgresSingle => {
                let server = postgres_server();
                let name = format!("test_{}", Uuid::new_v4().simple());
                let mut admin = PgConnection::establish(&server).unwrap();
                admin
                    .batch_execute(&format!("create database {name}"))
                    .unwrap();
                let (base, _) = server.rsplit_once('/').unwrap();
                let mut conn = PgConnection::establish(&format!("{base}/{name}")).unwrap();
                migrate::postgres(&mut conn).unwrap();
                conn.batch_execute(
                    "create table test_clock (now timestamptz not null);
                     insert into test_clock values ('2026-01-01T00:00:00Z');
                     create or replace function db_now() returns timestamptz language sql stable as
                         'select now from test_clock'",
                )
                .unwrap();
                Self {
                    path,
                    conn: TestConnection::Postgres(conn),
                    clock,
                    database: Some((name, server)),
                }
            }
        }
    }

    /// Moves the clock.
    pub fn advance(&mut self, seconds: i64) {
        self.clock
            .0
            .fetch_add(seconds * 1_000_000, Ordering::SeqCst);
        if let TestConnection::Postgres(conn) = &mut self.conn {
            let sql = format!("update test_clock set now = now + interval '{seconds} s'");
            conn.batch_execute(&sql).unwrap();
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Every row of every compared table, in one form for both databases.
    pub fn rows(&mut self) -> Vec<(&'static str, Vec<Value>)> {
        COMPARED
            .iter()
            .map(|(table, own)| (*table, self.rows_of(table, own)))
            .collect()
    }

    fn rows_of(&mut self, table: &str, own: &[&str]) -> Vec<Value> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            row: String,
        }
        let columns = self.columns(table);
        let rows: Vec<Row> = match &mut self.conn {
            TestConnection::Postgres(conn) => {
                let pairs = columns.iter().map(|(name, kind)| {
                    let value = match kind.as_str() {
                        "uuid" => format!("replace({name}::text, '-', '')"),
                        "bytea" => format!("encode({name}, 'hex')"),
                        "timestamp with time zone" => {
                            format!("(extract(epoch from {name}) * 1000000)::bigint")
                        }
                        "boolean" => format!("{name}::int"),
                        _ => name.clone(),
                    };
                    format!("'{name}', {value}")
                });
                let pairs = pairs.collect::<Vec<_>>().join(", ");
                let sql = format!("select jsonb_build_object({pairs})::text as row from {table}");
                sql_query(sql).load(conn).unwrap()
            }
            TestConnection::Sqlite(conn) => {
                let pairs = columns.iter().map(|(name, kind)| match kind.as_str() {
                    "blob" => format!("'{name}', lower(hex({name}))"),
                    // What is `jsonb` in PostgreSQL is text here.
                    "text" if is_document(table, name) => format!("'{name}', json({name})"),
                    _ => format!("'{name}', {name}"),
                });
                let pairs = pairs.collect::<Vec<_>>().join(", ");
                let sql = format!("select json_object({pairs}) as row from {table}");
                sql_query(sql).load(conn).unwrap()
            }
        };
        let mut rows: Vec<Value> = rows
            .iter()
            .map(|row| without(serde_json::from_str(&row.row).unwrap(), own))
            .collect();
        rows.sort_by_key(ToString::to_string);
        rows
    }

    fn columns(&mut self, table: &str) -> Vec<(String, String)> {
        #[derive(QueryableByName)]
        struct Column {
            #[diesel(sql_type = Text)]
            name: String,
            #[diesel(sql_type = Text)]
            kind: String,
        }
        let columns: Vec<Column> = match &mut self.conn {
            TestConnection::Postgres(conn) => sql_query(format!(
                "select column_name::text as name, data_type as kind
                 from information_schema.columns where table_name = '{table}'"
            ))
            .load(conn)
            .unwrap(),
            TestConnection::Sqlite(conn) => sql_query(format!(
                "select name, lower(type) as kind from pragma_table_info('{table}')"
            ))
            .load(conn)
            .unwrap(),
        };
        columns
            .into_iter()
            .map(|column| (column.name, column.kind))
            .collect()
    }
}

/// Removes the columns that differ, and makes empty binary values null: SQLite's `hex` turns null into an empty
/// text, PostgreSQL's `encode` keeps it.
fn without(mut row: Value, own: &[&str]) -> Value {
    let members = row.as_object_mut().unwrap();
    let is_merged = members
        .get("merged_into")
        .is_some_and(|id| !id.is_null() && id != "");
    members.retain(|name, value| {
        if value == "" && is_binary(name) {
            *value = Value::Null;
        }
        !own.iter()
            .any(|own| match own.strip_suffix(" where merged") {
                Some(own) => is_merged && own == name,
                None => own == name,
            })
    });
    row
}

fn is_binary(column: &str) -> bool {
    column.ends_with("_id")
        || matches!(
            column,
            "answers" | "assigned_to" | "merged_into" | "owner" | "request_hash" | "running_turn"
        )
}

fn is_document(table: &str, column: &str) -> bool {
    matches!(
        (table, column),
        ("conversations", "state" | "context")
            | ("experts", "skills")
            | ("jobs", "payload")
            | (
                "messages",
                "media_urls" | "audio_urls" | "component_data" | "metadata"
            )
    )
}

/// The URL of the server that `FRONTDESK_TEST_POSTGRES` names, or that `scripts/postgres` runs.
fn postgres_server() -> String {
    let script = "echo \"${FRONTDESK_TEST_POSTGRES:-$(scripts/postgres start)}\"";
    let started = Command::new("bash")
        .args(["-c", script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    String::from_utf8(started.stdout).unwrap().trim().to_owned()
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((name, server)) = self.database.take()
            && let Ok(mut admin) = PgConnection::establish(&server)
        {
            let sql = format!("drop database if exists {name} with (force)");
            drop(admin.batch_execute(&sql));
        }
    }
}
