//! What is to be done once, and tried again until it is: made in the transaction of what it is about.

use std::time::Duration;

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{JobId, MessageId, Store, StoreError, on_db, schema, types::JsonColumn};

/// Something to do.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::jobs, check_for_backend(Pg, Sqlite))]
pub struct Job {
    /// Its id: the same at every attempt.
    pub id: JobId,
    /// What: a word.
    pub kind: String,
    /// About what.
    #[diesel(deserialize_as = JsonColumn)]
    pub payload: Value,
    /// Which attempt this is, from 1.
    pub attempts: i32,
}

/// An answer that is to be judged: the payload of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judging {
    /// The answer.
    pub message_id: MessageId,
    /// Whose it is.
    pub agent: String,
    /// By these judges.
    pub judges: Vec<String>,
}

impl Judging {
    /// The kind of such a job.
    pub const KIND: &str = "evaluate";
}

impl From<&Judging> for Value {
    fn from(judging: &Judging) -> Self {
        json!(judging)
    }
}

impl Store {
    /// Takes up to so many jobs of these kinds that are due. Who has them for longer than the lease has lost
    /// them: somebody else tries.
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

    /// A job is done.
    ///
    /// # Errors
    /// When the database fails; then it is done once more.
    pub async fn job_done(&self, id: JobId) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::jobs::done(conn, id)
            .map(drop)
            .map_err(Into::into))
    }

    /// An attempt at a job failed: it is tried again after so long; none: never. Whose lease is over, and
    /// whose job somebody else has taken up, changes nothing.
    ///
    /// # Errors
    /// When the database fails; then it is tried again when its lease is over.
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
