//! What is to be done once, and tried again until it is: made in the transaction of what it is about.

use std::time::Duration;

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};
use serde_json::Value;

use super::{JobId, Store, StoreError, on_db, schema, types::Json};

/// Something to do.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::jobs, check_for_backend(Pg, Sqlite))]
pub struct Job {
    /// Its id: the same at every attempt.
    pub id: JobId,
    /// What: a word.
    pub kind: String,
    /// About what.
    #[diesel(deserialize_as = Json)]
    pub payload: Value,
    /// Which attempt this is, from 1.
    pub attempts: i32,
}

impl Store {
    /// Takes up to so many jobs that are due. Who has them for longer than the lease has lost them: somebody
    /// else tries.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_jobs(&self, limit: u32, lease: Duration) -> Result<Vec<Job>, StoreError> {
        on_db!(self, write, |conn, db| db::jobs::take(
            conn,
            limit.into(),
            lease
        ))
    }

    /// A job is done.
    ///
    /// # Errors
    /// When the database fails; then it is done once more.
    pub async fn job_done(&self, id: JobId) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::jobs::done(conn, id)
            .map(drop)
            .map_err(Into::into))
    }

    /// A job failed: it is tried again after so long; none: never.
    ///
    /// # Errors
    /// When the database fails; then it is tried again when its lease is over.
    pub async fn job_failed(
        &self,
        id: JobId,
        error: String,
        again: Option<Duration>,
    ) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::jobs::failed(
            conn, id, &error, again
        )
        .map(drop)
        .map_err(Into::into))
    }
}
