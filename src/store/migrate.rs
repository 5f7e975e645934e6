//! Bringing the schema up to date, safely when several instances start at once.

use std::time::Duration;

use diesel::{
    Connection, PgConnection, SqliteConnection,
    connection::SimpleConnection,
    migration::{Migration, MigrationSource},
    pg::Pg,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{StoreError, postgres::functions};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// How long a migration may take.
pub(super) const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// One transaction for all that is pending. Whoever creates or locks diesel's own table first
/// goes first; the others then find nothing to do. A lock on a table and not an advisory one,
/// which a transaction pooler breaks.
pub(super) fn postgres(conn: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let mut tries = 0;
    loop {
        let mut transaction = conn.build_transaction().read_committed();
        let migrated = transaction.run::<_, Failure, _>(|conn| {
            conn.batch_execute(
                "create table if not exists __diesel_schema_migrations \
                 (version varchar(50) primary key, run_on timestamp not null default current_timestamp); \
                 lock table __diesel_schema_migrations in share row exclusive mode;",
            )?;
            let applied = run(conn, POSTGRES)?;
            functions::create(conn)?;
            Ok(applied)
        });
        match migrated {
            // `if not exists` does not see a table that another transaction is creating.
            Err(Failure::Database(error)) if tries < 20 && is_race(&error) => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(failure) => return Err(failure.into()),
            Ok(done) => return Ok(done),
        }
    }
}

/// Drops what only other versions use. Not where a later version has migrated: its servers need what is theirs.
pub(super) fn finish(conn: &mut PgConnection) -> Result<usize, StoreError> {
    let known = MigrationSource::<Pg>::migrations(&POSTGRES).map_err(refused)?;
    let known: Vec<_> = known
        .iter()
        .map(|migration| migration.name().version())
        .collect();
    let applied = conn.applied_migrations().map_err(refused)?;
    if applied.iter().any(|version| !known.contains(version)) {
        let why =
            "a later version has migrated this database: run its `frontdesk migrate --finish`";
        return Err(StoreError::Refused(why.to_owned()));
    }
    Ok(conn.transaction(functions::drop_unused)?)
}

fn refused(error: impl std::fmt::Display) -> StoreError {
    StoreError::Refused(error.to_string())
}

pub(super) fn sqlite(conn: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    Ok(conn.immediate_transaction::<_, Failure, _>(|conn| run(conn, SQLITE))?)
}

fn run<C, DB>(conn: &mut C, migrations: EmbeddedMigrations) -> Result<Vec<String>, Failure>
where
    C: MigrationHarness<DB>,
    DB: diesel::backend::Backend,
{
    let done = conn
        .run_pending_migrations(migrations)
        .map_err(|error| match error.downcast() {
            Ok(error) => Failure::Database(*error),
            Err(error) => Failure::Migration(error.to_string()),
        })?;
    Ok(done.iter().map(ToString::to_string).collect())
}

enum Failure {
    Database(diesel::result::Error),
    Migration(String),
}

impl From<diesel::result::Error> for Failure {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Database(error) => error.into(),
            // What broke in the middle of one has no type any more.
            Failure::Migration(text) if Self::is_outage(&text) => Self::Away(text),
            Failure::Migration(text) => Self::Refused(format!("migration: {text}")),
        }
    }
}

fn is_race(error: &diesel::result::Error) -> bool {
    let text = error.to_string();
    text.contains("pg_type_typname_nsp_index") || text.contains("already exists")
}
