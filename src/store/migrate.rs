//! Migrates the schema, safely when several instances start at once.

use std::time::Duration;

use diesel::{
    Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection,
    connection::SimpleConnection,
    migration::{Migration, MigrationSource},
    pg::Pg,
    sql_query,
    sql_types::{Array, Bool, Text},
    sqlite::Sqlite,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Db, Store, StoreError, postgres::functions};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The tables of this version, diesel's own included.
const TABLES: [&str; 16] = [
    "__diesel_schema_migrations",
    "audit_log",
    "budgets",
    "conversations",
    "evaluations",
    "experts",
    "jobs",
    "kept_windows",
    "messages",
    "reservations",
    "session_locks",
    "settings",
    "turn_events",
    "turn_pieces",
    "turns",
    "users",
];

/// Bounds one run of all pending migrations, including the wait for other instances.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

impl Store {
    /// Brings the schema up to date and returns the applied migrations. Any number of instances may do so at once.
    ///
    /// # Errors
    /// When the database is away, or a migration fails; then nothing has changed.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        match &*self.db {
            Db::Postgres(pools) => pools.write.run_for(MIGRATION_TIMEOUT, postgres).await,
            Db::Sqlite(pools) => pools.write.run_for(MIGRATION_TIMEOUT, sqlite).await,
        }
    }

    /// Finishes an upgrade: drops the database functions of other versions. No server of an earlier version
    /// may run any more. Returns how many were dropped.
    ///
    /// # Errors
    /// When the database is away or refuses.
    pub async fn finish_migration(&self) -> Result<usize, StoreError> {
        match &*self.db {
            Db::Postgres(pools) => pools.write.run(finish).await,
            Db::Sqlite(_) => Ok(0),
        }
    }

    /// Counts the database functions of other versions.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn unused_functions(&self) -> Result<usize, StoreError> {
        match &*self.db {
            Db::Postgres(pools) => {
                let count = |conn: &mut PgConnection| Ok(functions::unused(conn)?.len());
                pools.read.run(count).await
            }
            Db::Sqlite(_) => Ok(0),
        }
    }
}

/// A later version may have written data that this one cannot read.
const LATER_VERSION: &str =
    "a later version of frontdesk has migrated this database; start that version, or one after it";

/// Checks the state first: on a complete schema, a role that may only read and write rows must succeed.
pub(super) fn postgres(conn: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let applied = match state(conn)? {
        SchemaState::Later => return Err(StoreError::Refused(LATER_VERSION.to_owned())),
        SchemaState::UpToDate => Vec::new(),
        SchemaState::Earlier => migrate(conn)?,
    };
    check_rights(conn)?;
    Ok(applied)
}

/// The database's schema compared with this version's.
enum SchemaState {
    /// A migration or function of this version is missing.
    Earlier,
    /// Every migration and function of this version is there.
    UpToDate,
    /// There are migrations that this version does not know.
    Later,
}

fn state(conn: &mut PgConnection) -> Result<SchemaState, StoreError> {
    #[derive(QueryableByName)]
    struct SchemaTable {
        #[diesel(sql_type = Bool)]
        is_known: bool,
    }
    let known = sql_query(
        "select to_regclass(quote_ident(current_schema()) || '.__diesel_schema_migrations') is not null as is_known",
    );
    let known: SchemaTable = known.get_result(conn)?;
    if !known.is_known {
        return Ok(SchemaState::Earlier);
    }
    let (applied, own) = (applied(conn)?, own()?);
    if applied.iter().any(|version| !own.contains(version)) {
        return Ok(SchemaState::Later);
    }
    let has_all = own.iter().all(|version| applied.contains(version));
    Ok(match has_all && functions::all_known(conn)? {
        true => SchemaState::UpToDate,
        false => SchemaState::Earlier,
    })
}

/// The versions of this build's migrations.
fn own() -> Result<Vec<String>, StoreError> {
    let own = MigrationSource::<Pg>::migrations(&POSTGRES).map_err(refused)?;
    let versions = own.iter().map(|migration| migration.name().version());
    Ok(versions.map(|version| version.to_string()).collect())
}

/// The versions of the applied migrations. Plain SQL, because diesel creates its table even to read it.
fn applied(conn: &mut PgConnection) -> diesel::QueryResult<Vec<String>> {
    #[derive(QueryableByName)]
    struct Applied {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let applied = sql_query("select version::text as version from __diesel_schema_migrations");
    let applied: Vec<Applied> = applied.load(conn)?;
    Ok(applied.into_iter().map(|applied| applied.version).collect())
}

/// Fails with the table privileges that the role lacks; otherwise only some requests would fail, later.
fn check_rights(conn: &mut PgConnection) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Missing {
        #[diesel(sql_type = Text)]
        missing: String,
    }
    // The audit log is append-only.
    let missing = sql_query(
        "select coalesce(string_agg(wanted || ' on ' || name, ', '), '') as missing \
         from (select c.oid, c.relname::text as name from pg_class as c \
               where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r') as tables, \
              unnest(case \
                  when name = '__diesel_schema_migrations' then array['select'] \
                  when name = 'audit_log' then array['select', 'insert'] \
                  else array['select', 'insert', 'update', 'delete'] end) as wanted \
         where name = any($1) and not has_table_privilege(oid, wanted)",
    );
    let missing: Missing = missing
        .bind::<Array<Text>, _>(TABLES.as_slice())
        .get_result(conn)?;
    match missing.missing.as_str() {
        "" => Ok(()),
        missing => Err(StoreError::Refused(format!(
            "the database role lacks rights: {missing}; docs/deploy.md has the grants"
        ))),
    }
}

/// Runs all pending migrations in one transaction. The first instance to create or lock diesel's table migrates;
/// the others wait for it and find nothing to do. A table lock, because a transaction pooler breaks advisory locks.
fn migrate(conn: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let own = own()?;
    let mut tries = 0;
    loop {
        let mut transaction = conn.build_transaction().read_committed();
        let migrated = transaction.run::<_, MigrationFailure, _>(|conn| {
            conn.batch_execute(
                "create table if not exists __diesel_schema_migrations \
                 (version varchar(50) primary key, run_on timestamp not null default current_timestamp); \
                 lock table __diesel_schema_migrations in share row exclusive mode;",
            )?;
            // Another instance may have migrated while this one waited for the lock.
            if applied(conn)?.iter().any(|version| !own.contains(version)) {
                return Err(MigrationFailure::Later);
            }
            let done = run(conn, POSTGRES)?;
            functions::create(conn)?;
            Ok(done)
        });
        match migrated {
            // `if not exists` does not see a table that another transaction is creating.
            Err(MigrationFailure::Database(error)) if tries < 20 && is_race(&error) => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(failure) => return Err(named(failure.into())),
            Ok(done) => return Ok(done),
        }
    }
}

/// Drops the functions of other versions. Refused if a later version has migrated: its servers need theirs.
fn finish(conn: &mut PgConnection) -> Result<usize, StoreError> {
    let own = own()?;
    if applied(conn)?.iter().any(|version| !own.contains(version)) {
        let why =
            "a later version has migrated this database: run its `frontdesk migrate --finish`";
        return Err(StoreError::Refused(why.to_owned()));
    }
    Ok(conn.transaction(functions::drop_unused)?)
}

/// Adds the remedy to the error of a role that may not change the schema.
fn named(error: StoreError) -> StoreError {
    match error {
        StoreError::Refused(text) if text.contains("permission denied") => {
            StoreError::Refused(format!(
                "{text}: this role may not change the schema; run `frontdesk migrate` as the role that owns it"
            ))
        }
        error => error,
    }
}

fn refused(error: impl std::fmt::Display) -> StoreError {
    StoreError::Refused(error.to_string())
}

pub(super) fn sqlite(conn: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let own = MigrationSource::<Sqlite>::migrations(&SQLITE).map_err(refused)?;
    let own: Vec<_> = own.iter().map(|own| own.name().version()).collect();
    Ok(
        conn.immediate_transaction::<_, MigrationFailure, _>(|conn| {
            let applied = conn.applied_migrations();
            let applied =
                applied.map_err(|error| MigrationFailure::Migration(error.to_string()))?;
            if applied.iter().any(|version| !own.contains(version)) {
                return Err(MigrationFailure::Later);
            }
            run(conn, SQLITE)
        })?,
    )
}

fn run<C, DB>(conn: &mut C, migrations: EmbeddedMigrations) -> Result<Vec<String>, MigrationFailure>
where
    C: MigrationHarness<DB>,
    DB: diesel::backend::Backend,
{
    let done = conn
        .run_pending_migrations(migrations)
        .map_err(|error| match error.downcast() {
            Ok(error) => MigrationFailure::Database(*error),
            Err(error) => MigrationFailure::Migration(error.to_string()),
        })?;
    Ok(done.iter().map(ToString::to_string).collect())
}

enum MigrationFailure {
    /// A later version has migrated this database.
    Later,
    Database(diesel::result::Error),
    Migration(String),
}

impl From<diesel::result::Error> for MigrationFailure {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

impl From<MigrationFailure> for StoreError {
    fn from(failure: MigrationFailure) -> Self {
        match failure {
            MigrationFailure::Later => Self::Refused(LATER_VERSION.to_owned()),
            MigrationFailure::Database(error) => error.into(),
            // diesel reduces an error inside a migration to its text.
            MigrationFailure::Migration(text) if Self::is_outage(&text) => Self::Away(text),
            MigrationFailure::Migration(text) if Self::is_wait(&text) => Self::Busy(text),
            MigrationFailure::Migration(text) => Self::Refused(format!("migration: {text}")),
        }
    }
}

fn is_race(error: &diesel::result::Error) -> bool {
    let text = error.to_string();
    text.contains("pg_type_typname_nsp_index") || text.contains("already exists")
}
