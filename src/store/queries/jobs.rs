//! Jobs. Compiled once for each database.

use std::time::Duration;

use diesel::{dsl::sql, prelude::*, sql_types::Bool};
use serde_json::Value;

use super::dialect::{Conn, skip_locked, write_tx};
use crate::store::{
    JobId, StoreError,
    jobs::Job,
    milliseconds,
    schema::{db_now, db_now_plus, jobs},
    types::JsonColumn,
};

/// Must run in the transaction of the change that the job is about.
pub fn add(conn: &mut Conn, kind: &str, payload: Value) -> QueryResult<usize> {
    diesel::insert_into(jobs::table)
        .values((
            jobs::id.eq(JobId::new()),
            jobs::kind.eq(kind),
            jobs::payload.eq(JsonColumn(payload)),
            jobs::run_at.eq(db_now()),
            jobs::attempts.eq(0),
            jobs::dead.eq(false),
            jobs::created_at.eq(db_now()),
        ))
        .execute(conn)
}

pub fn take(
    conn: &mut Conn,
    kinds: &[&str],
    limit: i64,
    lease: Duration,
) -> Result<Vec<Job>, StoreError> {
    write_tx(conn, |conn| {
        let due = jobs::table
            .filter(jobs::kind.eq_any(kinds.iter().copied()))
            .filter(jobs::run_at.le(db_now()))
            // A literal `not dead`: with a bind parameter the planner cannot use the partial index.
            .filter(sql::<Bool>("not dead"))
            .order(jobs::run_at)
            .limit(limit)
            .select(jobs::id);
        let due: Vec<JobId> = skip_locked!(due).load(conn)?;
        let mut taken = Vec::with_capacity(due.len());
        for id in due {
            let job = diesel::update(jobs::table.filter(jobs::id.eq(id)))
                .set((
                    jobs::run_at.eq(db_now_plus(milliseconds(lease))),
                    jobs::attempts.eq(jobs::attempts + 1),
                ))
                .returning(Job::as_returning())
                .get_result(conn)?;
            taken.push(job);
        }
        Ok(taken)
    })
}

pub fn done(conn: &mut Conn, id: JobId) -> QueryResult<usize> {
    diesel::delete(jobs::table.filter(jobs::id.eq(id))).execute(conn)
}

/// Changes nothing if another attempt has taken the job since.
pub fn failed(
    conn: &mut Conn,
    job: &Job,
    error: &str,
    again: Option<Duration>,
) -> QueryResult<usize> {
    let tried = jobs::table.filter(jobs::id.eq(job.id).and(jobs::attempts.eq(job.attempts)));
    diesel::update(tried)
        .set((
            jobs::run_at.eq(db_now_plus(milliseconds(again.unwrap_or_default()))),
            jobs::last_error.eq(error),
            jobs::dead.eq(again.is_none()),
        ))
        .execute(conn)
}
