//! Jobs: work that is retried until it succeeds or is given up. A job is stored in the transaction that causes it,
//! so a crash loses none.

use std::time::Duration;

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{JobId, MessageId, Store, StoreError, on_db, schema, types::JsonColumn};

/// A job.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::jobs, check_for_backend(Pg, Sqlite))]
pub struct Job {
    /// Its id, the same at every try.
    pub id: JobId,
    /// The kind of job, which selects its handler.
    pub kind: String,
    /// The job's data.
    #[diesel(deserialize_as = JsonColumn)]
    pub payload: Value,
    /// Which try this is, from 1.
    pub attempts: i32,
}

/// The payload of a job that has an answer judged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judging {
    /// The answer.
    pub message_id: MessageId,
    /// The agent that gave the answer.
    pub agent: String,
    /// The judges to ask.
    pub judges: Vec<String>,
}

impl Judging {
    /// The kind of these jobs.
    pub const KIND: &str = "evaluate";
}

impl From<&Judging> for Value {
    fn from(judging: &Judging) -> Self {
        json!(judging)
    }
}

impl Store {
    /// Takes up to `limit` jobs of these kinds that are due. A job that is not reported done or failed within
    /// the lease may be taken again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_jobs(
        &self,
        kinds: &'static [&'static str],
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Job>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        on_db!(self, write, |conn, db| db::jobs::take(
            conn, kinds, limit, lease
        ))
    }

    /// Deletes a job that is done.
    ///
    /// # Errors
    /// When the database fails; then the job runs again.
    pub async fn job_done(&self, id: JobId) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::jobs::done(conn, id)
            .map(drop)
            .map_err(Into::into))
    }

    /// Reports that a try failed: the job is tried again after `again`, or never if that is `None`. Changes
    /// nothing if the lease has expired and the job was taken again.
    ///
    /// # Errors
    /// When the database fails; then the job is tried again when its lease expires.
    pub async fn job_failed(
        &self,
        job: Job,
        error: String,
        again: Option<Duration>,
    ) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::jobs::failed(
            conn, &job, &error, again
        )
        .map(drop)
        .map_err(Into::into))
    }
}
